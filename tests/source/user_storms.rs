//! Users that read, write and map without a pause.
#![allow(clippy::multiple_unsafe_ops_per_block)] // A run of plain system calls.

use std::ffi::CString;
use std::time::Duration;

use super::{Done, compared, patterns, plain};

pub fn storm(fd: i32, size: u64, milliseconds: u64) -> Done {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    let mut all = plain(0);
    let mut buffer = vec![0; 4096];
    let mut at = u64::from(std::process::id()) * 4096;
    while std::time::Instant::now() < end {
        at = (at + 12_288 + 7) % (size - 4096);
        // SAFETY: a live buffer.
        let got = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), 4096, at as i64) };
        let one = compared(got as i64, &buffer, at);
        if one.result != 4096 {
            return one;
        }
        all.result += 1;
        all.zeros += one.zeros;
        all.wrong += one.wrong;
    }
    all
}

fn whole(fd: i32, size: u64) -> Option<&'static [u8]> {
    // SAFETY: a fresh mapping.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size as usize,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            0,
        )
    };
    // SAFETY: readable, and as long as the file, which nobody cuts.
    (base != libc::MAP_FAILED)
        .then(|| unsafe { std::slice::from_raw_parts(base.cast::<u8>(), size as usize) })
}

pub fn faults(fd: i32, size: u64, milliseconds: u64) -> Done {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    let Some(bytes) = whole(fd, size) else {
        return plain(-1);
    };
    let mut all = plain(0);
    let mut at = 0;
    while std::time::Instant::now() < end {
        at = (at + 12_288 + 7) % (size as usize - 64);
        let one = if all.result % 2 == 0 {
            // The compiler must not believe that it knows the bytes.
            let seen = std::hint::black_box(bytes)[at..at + 64].to_vec();
            compared(64, &seen, at as u64)
        } else {
            let mut seen = [0; 64];
            // SAFETY: a live buffer.
            let got = unsafe { libc::pread(fd, seen.as_mut_ptr().cast(), 64, at as i64) };
            compared(got as i64, &seen, at as u64)
        };
        if one.result < 0 {
            return one;
        }
        all.result += 1;
        all.zeros += one.zeros;
        all.wrong += one.wrong;
        if all.result % 16 == 0 {
            // A file that somebody always waits for is never migrated.
            std::thread::sleep(Duration::from_millis(all.result as u64 * 37 % 40));
        }
    }
    all
}

pub fn churn(path: &CString, size: u64, milliseconds: u64, seed: u64) -> Done {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    let mut all = plain(0);
    let mut round = seed;
    while std::time::Instant::now() < end {
        round += 1;
        // SAFETY: a live path.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR) };
        if fd < 0 {
            return plain(-1);
        }
        let one = once(fd, size, round);
        if one.result < 0 {
            return one;
        }
        all.result += 1;
        all.zeros += one.zeros;
        all.wrong += one.wrong;
        // Closed for a while: only then it can be migrated.
        std::thread::sleep(Duration::from_micros(round * 37 % 3000));
    }
    all
}

/// One access, by turns of another kind. Closes the descriptor.
fn once(fd: i32, size: u64, round: u64) -> Done {
    let at = (round * 8199) % (size - 4096);
    let mut buffer = vec![0; 4096];
    // SAFETY: live buffers of the length that is told; the descriptor is ours.
    unsafe {
        match round % 3 {
            0 => {
                let got = libc::pread(fd, buffer.as_mut_ptr().cast(), 4096, at as i64);
                let done = compared(got as i64, &buffer, at);
                libc::close(fd);
                done
            }
            1 => {
                let bytes = patterns(at, 4096);
                let done = plain(libc::pwrite(fd, bytes.as_ptr().cast(), 4096, at as i64) as i64);
                libc::close(fd);
                done
            }
            _ => {
                let Some(bytes) = whole(fd, size) else {
                    let done = plain(-1);
                    libc::close(fd);
                    return done;
                };
                libc::close(fd);
                std::thread::sleep(Duration::from_micros(round * 5303 % 30_000));
                let at = at as usize;
                let seen = std::hint::black_box(bytes)[at..at + 4096].to_vec();
                libc::munmap(bytes.as_ptr().cast_mut().cast(), size as usize);
                compared(4096, &seen, at as u64)
            }
        }
    }
}

pub fn reopen(path: &CString, size: u64, milliseconds: u64) -> Done {
    let end = std::time::Instant::now() + Duration::from_millis(milliseconds);
    let mut all = plain(0);
    while std::time::Instant::now() < end {
        // SAFETY: a live path.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) };
        if fd < 0 {
            return plain(-1);
        }
        let one = storm(fd, size, 0);
        // One read at least: the time of the inner storm is over at once.
        let mut buffer = vec![0; 4096];
        let at = (all.result as u64 * 8192) % (size - 4096);
        // SAFETY: a live buffer.
        let got = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), 4096, at as i64) };
        let read = compared(got as i64, &buffer, at);
        // SAFETY: ours.
        unsafe { libc::close(fd) };
        if read.result != 4096 {
            return read;
        }
        all.result += 1;
        all.zeros += one.zeros + read.zeros;
        all.wrong += one.wrong + read.wrong;
        // Closed for a while: only then it can be migrated.
        std::thread::sleep(Duration::from_micros(all.result as u64 * 37 % 2000));
    }
    all
}
