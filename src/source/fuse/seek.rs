//! SEEK_DATA and SEEK_HOLE on a file of which parts may be elsewhere.

use nix::errno::Errno;
use nix::unistd::Whence;

use crate::fs::ObjectState;
use crate::model::Region;
use crate::model::file::READ_FLAGS;
use crate::source::judge;

/// The answer; `below` asks the backing file.
pub fn seek(
    state: &ObjectState,
    size: u64,
    offset: u64,
    whence: u32,
    below: &dyn Fn(u64, Whence) -> nix::Result<u64>,
) -> nix::Result<u64> {
    match i32::try_from(whence) {
        Ok(libc::SEEK_DATA) => data(state, size, offset, below),
        Ok(libc::SEEK_HOLE) => hole(state, size, offset, below),
        _ => Err(Errno::EINVAL),
    }
}

fn guarded(state: &ObjectState) -> impl Iterator<Item = &Region> {
    let each = state.regions.iter();
    each.filter(|region| region.flags & READ_FLAGS != 0)
}

/// The first guarded byte at or behind the offset.
fn first_guarded(state: &ObjectState, size: u64, offset: u64) -> Option<u64> {
    let reaching =
        guarded(state).filter(|region| judge::end_of(region).is_none_or(|end| end > offset));
    let first = reaching.map(|region| region.offset.max(offset)).min()?;
    (first < size).then_some(first)
}

fn data(
    state: &ObjectState,
    size: u64,
    offset: u64,
    below: &dyn Fn(u64, Whence) -> nix::Result<u64>,
) -> nix::Result<u64> {
    let guarded = first_guarded(state, size, offset);
    match (below(offset, Whence::SeekData), guarded) {
        (Ok(found), Some(guarded)) => Ok(found.min(guarded)),
        (Err(Errno::ENXIO), Some(guarded)) => Ok(guarded),
        (found, _) => found,
    }
}

fn hole(
    state: &ObjectState,
    size: u64,
    offset: u64,
    below: &dyn Fn(u64, Whence) -> nix::Result<u64>,
) -> nix::Result<u64> {
    let mut at = offset;
    loop {
        at = below(at, Whence::SeekHole)?;
        // Out of all regions that lie over the hole's begin; each step goes forward.
        let covering = guarded(state)
            .filter(|region| judge::meets(region, at, 1))
            .map(|region| judge::end_of(region).unwrap_or(size))
            .max();
        match covering {
            Some(end) if end < size => at = end,
            Some(_) => return Ok(size),
            None => return Ok(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1000;

    /// Data in [200, 300) only.
    fn below(from: u64, whence: Whence) -> nix::Result<u64> {
        if from >= SIZE {
            return Err(Errno::ENXIO);
        }
        match whence {
            Whence::SeekData if from < 300 => Ok(from.max(200)),
            Whence::SeekData => Err(Errno::ENXIO),
            _ if (200..300).contains(&from) => Ok(300),
            _ => Ok(from),
        }
    }

    fn of(regions: &[(u64, u64, u32)]) -> ObjectState {
        let region = |&(offset, size, flags): &(u64, u64, u32)| Region {
            offset,
            size,
            flags,
            opaque: 0,
        };
        ObjectState {
            regions: regions.iter().map(region).collect(),
            ..ObjectState::default()
        }
    }

    fn find(state: &ObjectState, offset: u64, whence: i32) -> nix::Result<u64> {
        seek(state, SIZE, offset, whence as u32, &below)
    }

    #[test]
    fn without_regions_it_is_the_backing_file() {
        let none = of(&[(0, 0, 2)]);
        assert_eq!(find(&none, 0, libc::SEEK_DATA), Ok(200));
        assert_eq!(find(&none, 0, libc::SEEK_HOLE), Ok(0));
        assert_eq!(find(&none, 250, libc::SEEK_HOLE), Ok(300));
        assert_eq!(find(&none, 400, libc::SEEK_DATA), Err(Errno::ENXIO));
        assert_eq!(find(&none, 0, 17), Err(Errno::EINVAL));
    }

    #[test]
    fn a_stub_is_all_data() {
        let stub = of(&[(0, 0, 7)]);
        assert_eq!(find(&stub, 0, libc::SEEK_DATA), Ok(0));
        assert_eq!(find(&stub, 999, libc::SEEK_DATA), Ok(999));
        assert_eq!(find(&stub, 0, libc::SEEK_HOLE), Ok(SIZE));
        assert_eq!(find(&stub, SIZE, libc::SEEK_DATA), Err(Errno::ENXIO));
    }

    #[test]
    fn only_what_is_guarded_is_data() {
        let part = of(&[(100, 50, 1), (300, 100, 8), (500, 100, 2)]);
        assert_eq!(find(&part, 0, libc::SEEK_DATA), Ok(100));
        assert_eq!(find(&part, 150, libc::SEEK_DATA), Ok(200));
        assert_eq!(find(&part, 100, libc::SEEK_HOLE), Ok(150));
        assert_eq!(find(&part, 200, libc::SEEK_HOLE), Ok(400));
        assert_eq!(find(&part, 400, libc::SEEK_DATA), Err(Errno::ENXIO));
    }
}
