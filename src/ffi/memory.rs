//! The caller's memory by address: read, probed and written without ever touching a bad page ourselves.
//!
//! process_vm_readv(2) and process_vm_writev(2) on the own process need no privilege and report a bad page
//! by a short count. Where a sandbox forbids them, a pipe does the same, slower.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_void, iovec};

use crate::model::DmError;

/// The smallest unit that is mapped or not; the real page is a multiple of it.
pub(super) const PAGE_BYTES: usize = 4096;
/// Pieces per system call; the kernel takes no more than 1024.
const PIECES_MAX: usize = 512;
/// What a pipe takes in one go without blocking.
const PIPE_BYTES: usize = 4096;

/// The sandbox refused process_vm_readv or process_vm_writev once.
static BY_PIPE: AtomicBool = AtomicBool::new(false);

fn piece(address: usize, count: usize) -> iovec {
    iovec {
        iov_base: std::ptr::without_provenance_mut::<c_void>(address),
        iov_len: count,
    }
}

/// `EFAULT` for a range that wraps round the address space.
fn check_range(address: usize, count: usize) -> Result<(), DmError> {
    match address.checked_add(count) {
        Some(_) => Ok(()),
        None => Err(DmError::BadAddress),
    }
}

fn last_error() -> DmError {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => DmError::NotImplemented,
        Some(libc::ENOMEM) => DmError::NoMemory,
        _ => DmError::BadAddress,
    }
}

/// One transfer between pieces of our own and pieces at any address; all of it or `EFAULT`.
fn transfer(ours: &[iovec], theirs: &[iovec], write: bool) -> Result<(), DmError> {
    let total: usize = theirs.iter().map(|piece| piece.iov_len).sum();
    let call = if write {
        libc::process_vm_writev
    } else {
        libc::process_vm_readv
    };
    let pid = std::process::id().cast_signed();
    // SAFETY: both lists live during the call; the memory of `ours` is borrowed by our callers, that of
    // `theirs` is checked by the kernel.
    let moved = unsafe {
        call(
            pid,
            ours.as_ptr(),
            ours.len() as libc::c_ulong,
            theirs.as_ptr(),
            theirs.len() as libc::c_ulong,
            0,
        )
    };
    if moved < 0 {
        return Err(last_error());
    }
    if moved.unsigned_abs() == total {
        Ok(())
    } else {
        Err(DmError::BadAddress)
    }
}

fn by_pipe_from_now(error: DmError) -> bool {
    let refused = error == DmError::NotImplemented;
    if refused {
        BY_PIPE.store(true, Ordering::Relaxed);
    }
    refused
}

/// Copies from any address into `to`.
pub(super) fn read(address: usize, to: &mut [u8]) -> Result<(), DmError> {
    if to.is_empty() {
        return Ok(());
    }
    check_range(address, to.len())?;
    if !BY_PIPE.load(Ordering::Relaxed) {
        let ours = [piece(to.as_mut_ptr().addr(), to.len())];
        to.as_mut_ptr().expose_provenance();
        match transfer(&ours, &[piece(address, to.len())], false) {
            Err(error) if by_pipe_from_now(error) => {}
            outcome => return outcome,
        }
    }
    pipe_read(address, to)
}

/// Copies `from` to any address. [`probe`] comes first, so that it is done whole or not at all.
pub(super) fn write(address: usize, from: &[u8]) -> Result<(), DmError> {
    if from.is_empty() {
        return Ok(());
    }
    check_range(address, from.len())?;
    if !BY_PIPE.load(Ordering::Relaxed) {
        let ours = [piece(from.as_ptr().expose_provenance(), from.len())];
        match transfer(&ours, &[piece(address, from.len())], true) {
            Err(error) if by_pipe_from_now(error) => {}
            outcome => return outcome,
        }
    }
    pipe_write(address, from)
}

/// Copies two pieces to two addresses; the second was probed. Whole or not at all.
pub(super) fn write_two(first: (usize, &[u8]), second: (usize, &[u8])) -> Result<(), DmError> {
    let (address, bytes) = first;
    // One page is written whole or not at all.
    if address % PAGE_BYTES + bytes.len() > PAGE_BYTES {
        probe(address, bytes.len())?;
    }
    check_range(address, bytes.len())?;
    check_range(second.0, second.1.len())?;
    if !bytes.is_empty() && !BY_PIPE.load(Ordering::Relaxed) {
        let ours =
            [bytes, second.1].map(|bytes| piece(bytes.as_ptr().expose_provenance(), bytes.len()));
        let theirs = [piece(address, bytes.len()), piece(second.0, second.1.len())];
        match transfer(&ours, &theirs, true) {
            Err(error) if by_pipe_from_now(error) => {}
            outcome => return outcome,
        }
    }
    probe(address, bytes.len())?;
    write(address, bytes)?;
    write(second.0, second.1)
}

/// From this size on one madvise(2) is cheaper than a byte of each page.
const POPULATE_BYTES_MIN: usize = 16 * PAGE_BYTES;

/// Prefaults whole pages as an access would, without one. `None`: the kernel cannot tell for this kind of memory.
fn populate(address: usize, count: usize, advice: libc::c_int) -> Option<Result<(), DmError>> {
    let start = address - address % PAGE_BYTES;
    let pages = std::ptr::without_provenance_mut::<c_void>(start);
    // SAFETY: these two advices change no byte and unmap nothing; the kernel checks the range.
    let done = unsafe { libc::madvise(pages, address + count - start, advice) };
    if done == 0 {
        return Some(Ok(()));
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EFAULT | libc::ENOMEM) => Some(Err(DmError::BadAddress)),
        _ => None,
    }
}

/// Can all bytes be read?
pub(super) fn probe_input(address: usize, count: usize) -> Result<(), DmError> {
    if count == 0 {
        return Ok(());
    }
    check_range(address, count)?;
    if count >= POPULATE_BYTES_MIN
        && let Some(outcome) = populate(address, count, libc::MADV_POPULATE_READ)
    {
        return outcome;
    }
    probe_pages(address, count, false)
}

/// Can all bytes be written? One byte of each page is written with what it holds already: it belongs to a
/// buffer that the caller gave us to fill, so nobody else is writing it.
pub(super) fn probe(address: usize, count: usize) -> Result<(), DmError> {
    if count == 0 {
        return Ok(());
    }
    check_range(address, count)?;
    if count >= POPULATE_BYTES_MIN
        && let Some(outcome) = populate(address, count, libc::MADV_POPULATE_WRITE)
    {
        return outcome;
    }
    probe_pages(address, count, true)
}

fn probe_pages(address: usize, count: usize, write: bool) -> Result<(), DmError> {
    let last = address + (count - 1);
    let first_pages = (address / PAGE_BYTES..=last / PAGE_BYTES).map(|page| page * PAGE_BYTES);
    let mut addresses = first_pages.map(|page| page.max(address));
    loop {
        let some: Vec<usize> = addresses.by_ref().take(PIECES_MAX).collect();
        if some.is_empty() {
            return Ok(());
        }
        probe_bytes(&some, write)?;
    }
}

fn probe_bytes(addresses: &[usize], write: bool) -> Result<(), DmError> {
    let mut held = vec![0u8; addresses.len()];
    if !BY_PIPE.load(Ordering::Relaxed) {
        let ours = [piece(held.as_mut_ptr().expose_provenance(), held.len())];
        let theirs: Vec<iovec> = addresses.iter().map(|at| piece(*at, 1)).collect();
        let outcome = transfer(&ours, &theirs, false).and_then(|()| match write {
            true => transfer(&ours, &theirs, true),
            false => Ok(()),
        });
        match outcome {
            Err(error) if by_pipe_from_now(error) => {}
            outcome => return outcome,
        }
    }
    for address in addresses {
        let mut byte = [0];
        pipe_read(*address, &mut byte)?;
        if write {
            pipe_write(*address, &byte)?;
        }
    }
    Ok(())
}

fn pipe() -> Result<(OwnedFd, OwnedFd), DmError> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map_err(|errno| DmError::from_errno(errno as i32))
}

/// The kernel copies out of a bad page with `EFAULT`, or a short count.
fn pipe_read(address: usize, to: &mut [u8]) -> Result<(), DmError> {
    let (out, into) = pipe()?;
    for (index, part) in to.chunks_mut(PIPE_BYTES).enumerate() {
        let from = std::ptr::without_provenance::<c_void>(address + index * PIPE_BYTES);
        // SAFETY: the kernel checks the address; the pipe is empty, so the call does not block.
        let moved = unsafe { libc::write(into.as_raw_fd(), from, part.len()) };
        if moved < 0 || moved.unsigned_abs() != part.len() {
            return Err(DmError::BadAddress);
        }
        // SAFETY: `part` is ours and that long.
        let moved = unsafe { libc::read(out.as_raw_fd(), part.as_mut_ptr().cast(), part.len()) };
        if moved < 0 || moved.unsigned_abs() != part.len() {
            return Err(DmError::Io);
        }
    }
    Ok(())
}

/// The kernel copies into a bad page with `EFAULT`, or a short count.
fn pipe_write(address: usize, from: &[u8]) -> Result<(), DmError> {
    let (out, into) = pipe()?;
    for (index, part) in from.chunks(PIPE_BYTES).enumerate() {
        let to = std::ptr::without_provenance_mut::<c_void>(address + index * PIPE_BYTES);
        // SAFETY: `part` is ours and that long; the pipe is empty, so the call does not block.
        let moved = unsafe { libc::write(into.as_raw_fd(), part.as_ptr().cast(), part.len()) };
        if moved < 0 || moved.unsigned_abs() != part.len() {
            return Err(DmError::Io);
        }
        // SAFETY: the kernel checks the address.
        let moved = unsafe { libc::read(out.as_raw_fd(), to, part.len()) };
        if moved < 0 || moved.unsigned_abs() != part.len() {
            return Err(DmError::BadAddress);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pages, the second with other protection.
    fn pages(second: libc::c_int) -> usize {
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping; it is leaked, which a test may.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), 2 * PAGE_BYTES, both, flags, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        // SAFETY: the second page of the mapping above; nobody has a reference into it.
        let changed =
            unsafe { libc::mprotect(map.wrapping_byte_add(PAGE_BYTES), PAGE_BYTES, second) };
        assert_eq!(changed, 0);
        map.addr()
    }

    fn check_pages() {
        let at = pages(libc::PROT_NONE);
        write(at + PAGE_BYTES - 4, &[1, 2, 3, 4]).expect("the first page is writable");
        let mut four = [0; 4];
        read(at + PAGE_BYTES - 4, &mut four).expect("the first page is readable");
        assert_eq!(four, [1, 2, 3, 4]);
        assert_eq!(
            read(at + PAGE_BYTES - 3, &mut four),
            Err(DmError::BadAddress)
        );
        assert_eq!(probe(at, 2 * PAGE_BYTES), Err(DmError::BadAddress));
        assert_eq!(probe(at, PAGE_BYTES), Ok(()));
        assert_eq!(probe_input(at, PAGE_BYTES), Ok(()));
        assert_eq!(probe_input(at, PAGE_BYTES + 1), Err(DmError::BadAddress));
        assert_eq!(probe_input(at, 64 * PAGE_BYTES), Err(DmError::BadAddress));
        assert_eq!(probe(at, 64 * PAGE_BYTES), Err(DmError::BadAddress));
        let length = at;
        write(length, &[5]).expect("the first page is writable");
        for bad in [at + PAGE_BYTES - 1, at + PAGE_BYTES, 0] {
            let outcome = write_two((bad, &[1, 2]), (length, &[6]));
            assert_eq!(outcome, Err(DmError::BadAddress));
        }
        let mut one = [0];
        read(length, &mut one).expect("the first page is readable");
        assert_eq!(one, [5]);
        assert_eq!(write_two((at + 1, &[1, 2]), (length, &[6])), Ok(()));
        assert_eq!(write_two((0, &[]), (length + 3, &[7])), Ok(()));
        let mut four = [0; 4];
        read(length, &mut four).expect("the first page is readable");
        assert_eq!(four, [6, 1, 2, 7]);
        let at = pages(libc::PROT_READ);
        let mut all = vec![0; 2 * PAGE_BYTES];
        assert_eq!(read(at, &mut all), Ok(()));
        assert_eq!(probe(at, PAGE_BYTES + 1), Err(DmError::BadAddress));
    }

    #[test]
    fn partly_mapped_and_read_only_pages_are_refused() {
        check_pages();
        BY_PIPE.store(true, Ordering::Relaxed);
        check_pages();
        BY_PIPE.store(false, Ordering::Relaxed);
    }
}
