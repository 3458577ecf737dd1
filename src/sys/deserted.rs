//! Requests of a FUSE mount that nobody is left to serve: they fail.
//!
//! For a process that shares the memory of a dead one; see `plain`.

use std::os::fd::RawFd;

use super::plain;

/// `FUSE_NOTIFY_RESEND`: what the dead had read comes again.
const RESEND: i32 = 7;
/// More than any request: a WRITE has 1 MiB at most. Untouched pages cost nothing.
const REQUEST_BYTES: usize = 2 << 20;

/// The header of an answer or notice, which is all of it.
fn frame(code: i32, unique: u64) -> [u8; 16] {
    let mut frame = [0; 16];
    frame[..4].copy_from_slice(&16_u32.to_ne_bytes());
    frame[4..8].copy_from_slice(&code.to_ne_bytes());
    frame[8..].copy_from_slice(&unique.to_ne_bytes());
    frame
}

/// The number of a request.
fn unique(request: &[u8]) -> Option<u64> {
    let (_, rest) = request.split_at_checked(8)?;
    rest.first_chunk().copied().map(u64::from_ne_bytes)
}

/// Answers every request of a channel with ENOTCONN, until `done` is readable. Others may do the same meanwhile.
pub fn refuse_all(channel: RawFd, done: RawFd) {
    let wait = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [wait(done), wait(channel)];
    let buffer = plain::memory(REQUEST_BYTES);
    let (Some(buffer), Ok(())) = (buffer, plain::set_nonblocking(channel)) else {
        return;
    };
    // A kernel that does not know it lets those wait that were read; others can still be refused.
    let _ = plain::write(channel, &frame(RESEND, 0));
    loop {
        if plain::poll(&mut fds).is_err() {
            continue;
        }
        match fds.map(|fd| fd.revents != 0) {
            [true, _] => return,
            // The mount is gone, or was aborted: `done` comes.
            [false, true] if !refuse_one(channel, buffer) => fds[1].fd = -1,
            _ => {}
        }
    }
}

/// `false`: there will be none any more.
fn refuse_one(channel: RawFd, buffer: &mut [u8]) -> bool {
    match plain::read(channel, buffer) {
        Ok(length) => {
            if let Some(unique) = buffer.get(..length).and_then(unique) {
                // FORGET expects no answer, and this is refused then.
                let _ = plain::write(channel, &frame(-libc::ENOTCONN, unique));
            }
            true
        }
        // Another was faster, or it vanished on its way.
        Err(libc::EAGAIN | libc::EINTR | libc::ENOENT) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_code_and_number() {
        let frame = frame(-libc::ENOTCONN, 1 << 63 | 7);
        assert_eq!(unique(&frame), Some(1 << 63 | 7));
        assert_eq!(frame[..8], [16, 0, 0, 0, 0x95, 0xff, 0xff, 0xff]);
        assert_eq!(unique(&frame[..15]), None);
    }
}
