//! Random bytes of the kernel.

use std::io;

/// Fills the buffer; at most 256 bytes, so that it is never cut short.
pub fn fill(buffer: &mut [u8]) -> io::Result<()> {
    let length = buffer.len().min(256);
    loop {
        // SAFETY: the buffer is valid for writes of `length` bytes, which is not more than it has.
        let filled = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), length, 0) };
        match usize::try_from(filled) {
            Ok(filled) if filled == buffer.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::InvalidInput.into()),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        let mut draws = [[0; 16]; 2];
        for draw in &mut draws {
            super::fill(draw).expect("getrandom");
        }
        assert_ne!(draws[0], draws[1]);
    }
}
