//! What systemd is told: readiness, and descriptors for its store. Without systemd nothing happens.

use std::os::fd::BorrowedFd;

use crate::sys::socket;

/// The service manager of this process, if it has one.
#[derive(Debug, Default)]
pub struct Notify {
    address: Option<String>,
}

impl Notify {
    /// From `$NOTIFY_SOCKET`.
    pub fn from_environment() -> Self {
        Self {
            address: std::env::var("NOTIFY_SOCKET")
                .ok()
                .filter(|address| !address.is_empty()),
        }
    }

    /// Is anybody told?
    pub fn is_there(&self) -> bool {
        self.address.is_some()
    }

    /// Tells a state, as sd_notify(3) does. `false`: it was not taken.
    pub fn tell(&self, state: &str) -> bool {
        self.send(state, &[])
    }

    /// Puts a descriptor into the store. It comes back under this name at the next start.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> bool {
        // Without FDPOLL=0 systemd would drop a descriptor whose poll(2) reports an error or hang-up.
        self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), &[fd])
    }

    /// Takes a descriptor out of the store. `false`: it was not told.
    pub fn forget(&self, name: &str) -> bool {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])
    }

    fn send(&self, state: &str, fds: &[BorrowedFd<'_>]) -> bool {
        let Some(address) = &self.address else {
            return false;
        };
        match socket::send_datagram(address, state.as_bytes(), fds) {
            Ok(()) => true,
            // It has much to do; it is told again.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::warn!(%error, address, "the service manager could not be told");
                false
            }
        }
    }
}
