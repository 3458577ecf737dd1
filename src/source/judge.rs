//! Which event an operation makes, given the file's regions. Pure rules (reference 3.4, 7.8, 7.9).

use crate::fs::ObjectState;
use crate::model::file::READ_FLAGS as READ;
use crate::model::{EventSet, EventType, Region};

/// Flag of a region.
pub const WRITE: u32 = 2;
const TRUNCATE: u32 = 4;

/// What a waiting thread is about to do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, or execute.
    Read,
    /// Write, or change the allocation.
    Write,
    /// A mapping that can be read or is private.
    MapRead,
    /// A shared mapping that can be written.
    MapWrite,
    /// Set the size to the offset; also by O_TRUNC.
    Truncate,
    /// An open that truncates nothing.
    Open,
    /// Could not be told (io_uring, another pid namespace, a kernel thread): as much as it could be.
    Unknown,
    /// An open that might truncate.
    UnknownOpen,
}

/// An operation with its bytes; `length` is at most up to the end of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub access: Access,
    /// First byte, or the new size.
    pub offset: u64,
    /// Bytes; 0 for a truncation.
    pub length: u64,
}

/// The event that is to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// READ, WRITE or TRUNCATE.
    pub kind: EventType,
    /// `de_offset`.
    pub offset: u64,
    /// `de_length`.
    pub length: u64,
    /// It is a mapping that is made.
    pub is_mapping: bool,
}

/// The end of a region, `None`: without end.
pub fn end_of(region: &Region) -> Option<u64> {
    (region.size != 0).then(|| region.offset.saturating_add(region.size))
}

/// Do the region and `[offset, offset + length)` share a byte?
pub fn meets(region: &Region, offset: u64, length: u64) -> bool {
    length != 0
        && region.offset < offset.saturating_add(length)
        && end_of(region).is_none_or(|end| offset < end)
}

/// The state that counts where the list of the file system has READ, WRITE or TRUNCATE: a file without regions
/// of its own has one of these events, all of it.
pub fn under_list(mut state: ObjectState, list: EventSet) -> ObjectState {
    let flags = data_flags(list);
    if flags != 0 && state.regions.is_empty() {
        state.regions.push(Region {
            offset: 0,
            size: 0,
            flags,
            opaque: 0,
        });
    }
    state
}

/// The flags of a region that the events of data in a list stand for.
pub fn data_flags(list: EventSet) -> u32 {
    let of = |kind, flag| if list.has(kind) { flag } else { 0 };
    of(EventType::Read, 1) | of(EventType::Write, WRITE) | of(EventType::Truncate, TRUNCATE)
}

/// Can any operation on a file with these regions make an event?
pub fn is_guarded(state: &ObjectState) -> bool {
    state
        .regions
        .iter()
        .any(|region| region.flags & (READ | WRITE | TRUNCATE) != 0)
}

/// Can reading or writing make an event?
pub fn guards_data(state: &ObjectState) -> bool {
    let mut regions = state.regions.iter();
    regions.any(|region| region.flags & (READ | WRITE) != 0)
}

/// Can an open make an event? Only by truncating.
pub fn guards_truncation(state: &ObjectState) -> bool {
    state
        .regions
        .iter()
        .any(|region| region.flags & TRUNCATE != 0)
}

fn is_punched(state: &ObjectState) -> bool {
    state.changes != 0 || state.punched_from.is_some()
}

/// The event that the operation makes on a file of that state and size.
pub fn judge(operation: Operation, state: &ObjectState, size: u64) -> Option<Wanted> {
    let Operation {
        access,
        offset,
        length,
    } = operation;
    let hit = |flag: u32| {
        state
            .regions
            .iter()
            .any(|region| region.flags & flag != 0 && meets(region, offset, length))
    };
    let has = |flag: u32| state.regions.iter().any(|region| region.flags & flag != 0);
    let is_mapping = matches!(access, Access::MapRead | Access::MapWrite);
    let event = |kind| {
        Some(Wanted {
            kind,
            offset,
            length,
            is_mapping,
        })
    };
    let whole = |kind| {
        Some(Wanted {
            kind,
            offset: 0,
            length: size.max(offset.saturating_add(length)),
            is_mapping,
        })
    };
    match access {
        Access::Read if offset < size && hit(READ) => event(EventType::Read),
        Access::Write if hit(WRITE) => event(EventType::Write),
        // A mapping of a punched file can grow by mremap(2) without an event: all of the file.
        Access::MapRead if is_punched(state) && has(READ) => whole(EventType::Read),
        Access::MapRead if hit(READ) => event(EventType::Read),
        Access::MapWrite if is_punched(state) && has(WRITE) => whole(EventType::Write),
        Access::MapWrite if is_punched(state) && has(READ) => whole(EventType::Read),
        Access::MapWrite if hit(WRITE) => event(EventType::Write),
        Access::Truncate if truncates(state, offset) => truncation(offset),
        Access::Unknown if length == 0 && truncates(state, offset) => truncation(offset),
        Access::Unknown if hit(WRITE) => event(EventType::Write),
        Access::Unknown if offset < size && hit(READ) => event(EventType::Read),
        // Telling an application that a file was cut which only might be could make it drop data.
        Access::UnknownOpen if truncates(state, 0) && has(WRITE) => whole(EventType::Write),
        Access::UnknownOpen if truncates(state, 0) => truncation(0),
        _ => None,
    }
}

fn truncates(state: &ObjectState, new_size: u64) -> bool {
    state.regions.iter().any(|region| {
        region.flags & TRUNCATE != 0 && end_of(region).is_none_or(|end| end > new_size)
    })
}

fn truncation(new_size: u64) -> Option<Wanted> {
    Some(Wanted {
        kind: EventType::Truncate,
        offset: new_size,
        length: 0,
        is_mapping: false,
    })
}

/// Does `new` guard bytes that `old` does not? (Then a mapping made before would miss events.)
pub fn guards_more(old: &[Region], new: &[Region]) -> Vec<Region> {
    new.iter()
        .filter(|region| region.flags & (READ | WRITE) != 0)
        .filter(|region| {
            !old.iter().any(|before| {
                before.flags & region.flags & (READ | WRITE) == region.flags & (READ | WRITE)
                    && before.offset <= region.offset
                    && match (end_of(before), end_of(region)) {
                        (None, _) => true,
                        (Some(_), None) => false,
                        (Some(before), Some(end)) => end <= before,
                    }
            })
        })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 10_000;

    fn region(offset: u64, size: u64, flags: u32) -> Region {
        Region {
            offset,
            size,
            flags,
            opaque: 0,
        }
    }

    fn state(regions: &[Region]) -> ObjectState {
        ObjectState {
            regions: regions.to_vec(),
            ..ObjectState::default()
        }
    }

    fn punched(regions: &[Region]) -> ObjectState {
        ObjectState {
            changes: 1,
            ..state(regions)
        }
    }

    fn kind(state: &ObjectState, access: Access, offset: u64, length: u64) -> Option<EventType> {
        let operation = Operation {
            access,
            offset,
            length,
        };
        judge(operation, state, SIZE).map(|wanted| wanted.kind)
    }

    #[test]
    fn edges_are_exact_to_the_byte() {
        let read = state(&[region(1000, 500, READ)]);
        let fires = |offset, length| kind(&read, Access::Read, offset, length).is_some();
        assert!(!fires(900, 100));
        assert!(fires(900, 101));
        assert!(fires(1499, 1));
        assert!(!fires(1500, 1));
        assert!(fires(1499, 4096));
        assert!(fires(0, 9999));
        assert!(!fires(1200, 0));
    }

    #[test]
    fn a_region_without_end_reaches_everything_behind() {
        let write = state(&[region(4096, 0, WRITE)]);
        assert_eq!(
            kind(&write, Access::Write, u64::MAX - 10, 5),
            Some(EventType::Write)
        );
        assert_eq!(kind(&write, Access::Write, 0, 4096), None);
        let bounded = state(&[region(0, SIZE, WRITE)]);
        assert_eq!(kind(&bounded, Access::Write, SIZE, 10), None);
    }

    #[test]
    fn each_kind_has_its_own_regions() {
        let read = state(&[region(0, 0, READ)]);
        let write = state(&[region(0, 0, WRITE)]);
        let nothing = state(&[region(0, 0, 0)]);
        assert_eq!(kind(&read, Access::Write, 0, 10), None);
        assert_eq!(kind(&write, Access::Read, 0, 10), None);
        assert_eq!(kind(&nothing, Access::Read, 0, 10), None);
        assert!(!is_guarded(&nothing));
        assert!(is_guarded(&read));
    }

    #[test]
    fn reading_behind_the_end_makes_no_event() {
        let read = state(&[region(0, 0, READ)]);
        assert_eq!(kind(&read, Access::Read, SIZE, 10), None);
        assert_eq!(
            kind(&read, Access::Read, SIZE - 1, 10),
            Some(EventType::Read)
        );
    }

    #[test]
    fn truncation_fires_iff_a_region_ends_behind_the_new_size() {
        let bounded = state(&[region(1000, 500, TRUNCATE)]);
        let fires = |state: &ObjectState, size| kind(state, Access::Truncate, size, 0).is_some();
        assert!(fires(&bounded, 0) && fires(&bounded, 1499));
        assert!(!fires(&bounded, 1500) && !fires(&bounded, 20_000));
        assert!(fires(&state(&[region(0, 0, TRUNCATE)]), u64::MAX - 1));
        let wanted = judge(
            Operation {
                access: Access::Truncate,
                offset: 7,
                length: 0,
            },
            &bounded,
            SIZE,
        );
        assert_eq!(
            wanted.map(|wanted| (wanted.offset, wanted.length)),
            Some((7, 0))
        );
    }

    #[test]
    fn mappings_of_a_whole_file_see_their_own_range_only() {
        let read = state(&[region(8192, 4096, READ)]);
        assert_eq!(kind(&read, Access::MapRead, 0, 8192), None);
        assert_eq!(kind(&read, Access::MapRead, 0, 8193), Some(EventType::Read));
        assert_eq!(kind(&read, Access::MapWrite, 0, 100_000), None);
        let write = state(&[region(0, 0, WRITE)]);
        assert_eq!(kind(&write, Access::MapRead, 0, 4096), None);
        assert_eq!(
            kind(&write, Access::MapWrite, 0, 4096),
            Some(EventType::Write)
        );
        let truncate = state(&[region(0, 0, TRUNCATE)]);
        assert_eq!(kind(&truncate, Access::MapWrite, 0, 4096), None);
    }

    #[test]
    fn a_mapping_of_a_punched_file_is_an_access_to_all_of_it() {
        let read = punched(&[region(8192, 0, READ)]);
        let wanted = judge(
            Operation {
                access: Access::MapRead,
                offset: 0,
                length: 4096,
            },
            &read,
            SIZE,
        );
        let all = Wanted {
            kind: EventType::Read,
            offset: 0,
            length: SIZE,
            is_mapping: true,
        };
        assert_eq!(wanted, Some(all));
        assert_eq!(
            kind(&read, Access::MapWrite, 0, 4096),
            Some(EventType::Read)
        );
    }

    #[test]
    fn what_cannot_be_told_fires_when_in_doubt() {
        let read = state(&[region(0, 0, READ)]);
        let write = state(&[region(0, 0, WRITE | READ)]);
        let truncate = state(&[region(0, 0, TRUNCATE)]);
        let all = state(&[region(0, 0, READ | WRITE | TRUNCATE)]);
        assert_eq!(kind(&read, Access::Unknown, 0, 4096), Some(EventType::Read));
        assert_eq!(
            kind(&write, Access::Unknown, 0, 4096),
            Some(EventType::Write)
        );
        assert_eq!(
            kind(&truncate, Access::Unknown, 5, 0),
            Some(EventType::Truncate)
        );
        assert_eq!(
            kind(&truncate, Access::UnknownOpen, 0, 0),
            Some(EventType::Truncate)
        );
        assert_eq!(
            kind(&all, Access::UnknownOpen, 0, 0),
            Some(EventType::Write)
        );
        assert_eq!(kind(&read, Access::UnknownOpen, 0, 0), None);
        assert_eq!(kind(&all, Access::Open, 0, 0), None);
    }

    #[test]
    fn the_list_of_the_file_system_is_for_files_without_regions() {
        let list = EventSet::of(&[EventType::Read, EventType::Truncate, EventType::Attribute]);
        let listed = under_list(state(&[]), list);
        assert_eq!(kind(&listed, Access::Read, 0, 10), Some(EventType::Read));
        assert_eq!(
            kind(&listed, Access::Truncate, 5, 0),
            Some(EventType::Truncate)
        );
        assert_eq!(kind(&listed, Access::Write, 0, 10), None);
        let own = under_list(state(&[region(0, 0, WRITE)]), list);
        assert_eq!(kind(&own, Access::Read, 0, 10), None);
        assert_eq!(kind(&own, Access::Write, 0, 10), Some(EventType::Write));
        assert!(!is_guarded(&under_list(state(&[region(0, 0, 0)]), list)));
        assert!(!is_guarded(&under_list(
            state(&[]),
            EventSet::of(&[EventType::Attribute, EventType::Debut])
        )));
    }

    #[test]
    fn only_regions_that_guard_more_are_new() {
        let old = [region(0, 8192, READ | WRITE)];
        assert!(guards_more(&old, &[region(4096, 4096, READ)]).is_empty());
        assert!(guards_more(&old, &[]).is_empty());
        assert_eq!(guards_more(&old, &[region(4096, 0, READ)]).len(), 1);
        assert_eq!(
            guards_more(&[region(0, 0, READ)], &[region(0, 10, WRITE)]).len(),
            1
        );
        assert!(guards_more(&[], &[region(0, 0, TRUNCATE)]).is_empty());
    }
}
