//! One read by io_uring, with raw system calls.
#![allow(clippy::multiple_unsafe_ops_per_block)] // A run of plain system calls.

use super::user::{Done, pattern};

const OP_READ: u8 = 22;
const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    rest: [u32; 6],
}

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    rest: [u32; 7],
    sq: Offsets,
    cq: Offsets,
}

fn failed() -> Done {
    Done {
        result: -1,
        errno: std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        zeros: 0,
        wrong: 0,
    }
}

/// Reads; errno ENOSYS or EPERM says that io_uring is not to be had.
pub fn read(fd: i32, offset: u64, length: usize) -> Done {
    let mut params = Params::default();
    // SAFETY: a live structure of the kernel's layout (120 bytes).
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, &raw mut params) } as i32;
    if ring < 0 {
        return failed();
    }
    let map = |bytes: usize, at: i64| -> *mut u8 {
        // SAFETY: a fresh mapping of the ring.
        unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                ring,
                at,
            )
        }
        .cast()
    };
    let (sq, cq, sqes) = (
        map(4096, OFF_SQ_RING),
        map(4096, OFF_CQ_RING),
        map(4096, OFF_SQES),
    );
    let mut buffer = vec![0u8; length];
    // SAFETY: the mappings have a page each, which holds four entries and their rings.
    unsafe {
        sqes.write(OP_READ);
        sqes.add(4).cast::<i32>().write(fd);
        sqes.add(8).cast::<u64>().write(offset);
        sqes.add(16).cast::<u64>().write(buffer.as_mut_ptr() as u64);
        sqes.add(24).cast::<u32>().write(length as u32);
        // sq.rest[2] is the offset of the index array.
        sq.add(params.sq.rest[2] as usize).cast::<u32>().write(0);
        sq.add(params.sq.tail as usize)
            .cast::<u32>()
            .write_volatile(1);
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    // SAFETY: integers only.
    let entered =
        unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, 1, 1, ENTER_GETEVENTS, 0, 0) };
    if entered < 0 {
        return failed();
    }
    // cq.rest[1] is the offset of the completions: user data u64, result i32.
    // SAFETY: within the page, and the kernel has written one completion.
    let result = unsafe {
        cq.add(params.cq.rest[1] as usize + 8)
            .cast::<i32>()
            .read_volatile()
    };
    let got = &buffer[..result.max(0) as usize];
    let bad = |zero: bool| {
        got.iter()
            .enumerate()
            .filter(|(index, byte)| {
                **byte != pattern(offset + *index as u64) && (**byte == 0) == zero
            })
            .count()
    };
    Done {
        result: if result < 0 { -1 } else { i64::from(result) },
        errno: if result < 0 { -result } else { 0 },
        zeros: bad(true),
        wrong: bad(false),
    }
}
