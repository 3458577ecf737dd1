//! One connection slot: a request goes to the worker and its answer comes back, whatever happens to the worker.
//!
//! The slot's id and the number of the request name it for good. When the worker dies the slot connects
//! to the next one and sends the request again under the same name, so it is carried out once. A signal makes
//! the slot give the wait up, but the answer is always awaited: `Interrupted` comes only if nothing happened.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::model::{ClientId, DmError, RequestId};
use crate::proto;
use crate::proto::{Back, Call, Reply, Request};
use crate::sys::clock;
use crate::sys::guest::Socket;
use crate::sys::signal::{Quiet, Woken};
use crate::sys::socket;

/// The longest pause between two attempts to connect.
const PAUSE_MS_MAX: u64 = 50;
const EMFILE: i32 = 24;

/// How a slot gets connections; the pool of the process, or a test.
pub(super) trait Way {
    /// A new connection.
    fn connect(&self) -> io::Result<Socket>;
    /// The slot is done with this one.
    fn close(&self, socket: Socket);
    /// How long to try while nobody serves; `known`: some worker was there for this request.
    fn patience_ms(&self, known: bool) -> u64;
    /// A worker welcomed us.
    fn served(&self);
    /// Is this a child that a signal handler made in the middle of the parent's call?
    fn is_forked(&self) -> bool;
}

/// A reply and the descriptor beside it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) reply: Reply,
    pub(super) descriptor: Option<OwnedFd>,
}

/// A connection slot; whoever holds it has it alone.
#[derive(Debug)]
pub(super) struct Slot {
    client: ClientId,
    number: u64,
    link: Option<Socket>,
    buffer: Vec<u8>,
}

/// What is known of the request on its way.
struct Errand<'a> {
    request: &'a Request,
    beside: &'a [BorrowedFd<'a>],
    /// Some worker may have seen it.
    sent: bool,
    /// A signal came.
    given_up: bool,
    /// A worker took a connection for it and died over it: there is somebody to wait for.
    met: bool,
    /// When patience with missing workers began.
    alone_since_ms: Option<u64>,
}

/// The worker is gone; try the next.
struct Lost;

impl Slot {
    pub(super) fn new(client: ClientId) -> Self {
        Self {
            client,
            number: 0,
            link: None,
            buffer: vec![0; proto::PACKET_BYTES_MAX],
        }
    }

    /// Asks, and waits for the answer. A handler that runs meanwhile gives the wait up.
    pub(super) fn ask(
        &mut self,
        way: &dyn Way,
        quiet: &Quiet,
        request: &Request,
        beside: &[BorrowedFd<'_>],
    ) -> Result<Answered, DmError> {
        self.number += 1;
        let mut errand = Errand {
            request,
            beside,
            sent: false,
            given_up: false,
            met: false,
            alone_since_ms: None,
        };
        loop {
            self.join(way, quiet, &mut errand)?;
            match self.go(way, quiet, &mut errand) {
                Ok(outcome) => return outcome,
                Err(Lost) => self.unlink(way),
            }
        }
    }

    /// Tells the worker that what was entered or reserved is done with. Without a worker it is anyway.
    pub(super) fn leave(&mut self, way: &dyn Way) {
        if self.say(&Call::Leave, &[]).is_err() {
            self.unlink(way);
        }
    }

    /// Is the connection gone, or about to be? (Nothing comes unasked, so anything to read is its end.)
    pub(super) fn is_cut(&self, quiet: &Quiet) -> bool {
        let Some(fd) = self.link.as_ref().and_then(Socket::borrow) else {
            return true;
        };
        !matches!(
            quiet.wait(Some(fd), false, Some(0)),
            Ok(Woken::Timeout | Woken::Signal)
        )
    }

    /// Drops the connection.
    pub(super) fn unlink(&mut self, way: &dyn Way) {
        if let Some(socket) = self.link.take() {
            way.close(socket);
        }
    }

    fn say(&self, call: &Call, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        let fd = self.link.as_ref().and_then(Socket::borrow);
        let fd = fd.ok_or(io::ErrorKind::NotConnected)?;
        let packet = proto::encode(call);
        socket::send(fd, &packet, beside, false)
    }

    /// Sends the request and waits for its outcome.
    fn go(
        &mut self,
        way: &dyn Way,
        quiet: &Quiet,
        errand: &mut Errand<'_>,
    ) -> Result<Result<Answered, DmError>, Lost> {
        let call = Call::Do {
            id: RequestId {
                client: self.client,
                number: self.number,
            },
            again: errand.sent,
            request: errand.request.clone(),
        };
        // One request is on its way at a time, so the buffer has room; a packet that never fits is too big.
        match self.say(&call, errand.beside) {
            Ok(()) => errand.sent = true,
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                return Ok(Err(DmError::TooBig { need: None }));
            }
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                return Ok(Err(DmError::NoMemory));
            }
            Err(_) => return Err(Lost),
        }
        if errand.given_up {
            self.give_up()?;
        }
        loop {
            match self.next(quiet, None)? {
                Next::Signal if way.is_forked() => {
                    self.link = None; // The conversation is the parent's.
                    return Ok(Err(DmError::Interrupted));
                }
                Next::Signal if errand.given_up => {}
                Next::Signal => {
                    errand.given_up = true;
                    self.give_up()?;
                }
                Next::Timeout => {}
                Next::Back(Back::Done { number, outcome }, descriptor) if number == self.number => {
                    return Ok(outcome.map(|reply| Answered { reply, descriptor }));
                }
                // The answer to a request of an earlier life of the connection.
                Next::Back(Back::Done { .. }, _) => {}
                Next::Back(..) => return Err(Lost),
                Next::DescriptorLost => {
                    let _ = self.say(&Call::Leave, &[]); // If it cannot be said, there is no worker to tell.
                    return Ok(Err(DmError::Os(EMFILE)));
                }
            }
        }
    }

    fn give_up(&self) -> Result<(), Lost> {
        let number = self.number;
        self.say(&Call::GiveUp { number }, &[]).map_err(|_| Lost)
    }

    /// Makes sure that a worker has welcomed this slot.
    fn join(
        &mut self,
        way: &dyn Way,
        quiet: &Quiet,
        errand: &mut Errand<'_>,
    ) -> Result<(), DmError> {
        if self.link.as_ref().is_some_and(Socket::is_ours) {
            return Ok(());
        }
        self.unlink(way);
        let mut pause_ms = 1;
        loop {
            match self.try_join(way, quiet, errand) {
                Err(DmError::NoService) => {}
                joined => return joined,
            }
            let left_ms = errand.patience_left_ms(way);
            if left_ms == 0 {
                return Err(DmError::NoService);
            }
            let woken = quiet.wait(None, false, Some(pause_ms.min(left_ms)))?;
            errand.note(woken)?;
            pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
        }
    }

    fn try_join(
        &mut self,
        way: &dyn Way,
        quiet: &Quiet,
        errand: &mut Errand<'_>,
    ) -> Result<(), DmError> {
        let socket = way.connect().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::WouldBlock => DmError::NoService,
            io::ErrorKind::PermissionDenied => DmError::NotPermitted,
            _ => DmError::from(error),
        })?;
        self.link = Some(socket);
        let joined = self.greet(quiet, errand, way);
        if joined.is_err() {
            self.unlink(way);
        }
        joined
    }

    fn greet(
        &mut self,
        quiet: &Quiet,
        errand: &mut Errand<'_>,
        way: &dyn Way,
    ) -> Result<(), DmError> {
        let hello = Call::Hello {
            version: proto::VERSION,
            client: self.client,
        };
        let said = self.say(&hello, &[]);
        errand.met |= said.is_err();
        said.map_err(|_| DmError::NoService)?;
        loop {
            // A listener whose worker is being replaced takes connections but does not answer yet.
            let left_ms = errand.patience_left_ms(way).max(GREETING_MS_MIN);
            let next = self.next(quiet, Some(left_ms));
            errand.met |= next.is_err();
            match next.map_err(|Lost| DmError::NoService)? {
                Next::Signal => errand.note(Woken::Signal)?,
                Next::Timeout => return Err(DmError::NoService),
                Next::Back(Back::Welcome { .. }, _) => {
                    way.served();
                    errand.alone_since_ms = None;
                    return Ok(());
                }
                Next::Back(Back::Refused { .. }, _) => return Err(DmError::NotPermitted),
                Next::Back(..) | Next::DescriptorLost => return Err(DmError::NoService),
            }
        }
    }

    /// What comes next on the connection.
    fn next(&mut self, quiet: &Quiet, timeout_ms: Option<u64>) -> Result<Next, Lost> {
        let fd = self.link.as_ref().and_then(Socket::borrow);
        let fd = fd.ok_or(Lost)?;
        match quiet.wait(Some(fd), false, timeout_ms) {
            Ok(Woken::Ready) => {}
            Ok(Woken::Signal) => return Ok(Next::Signal),
            Ok(Woken::Timeout) => return Ok(Next::Timeout),
            Err(_) => return Err(Lost),
        }
        // A handler may have closed the number meanwhile.
        let fd = self.link.as_ref().and_then(Socket::borrow);
        let fd = fd.ok_or(Lost)?;
        let (length, descriptors) = match socket::receive(fd, &mut self.buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Timeout),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Ok(Next::DescriptorLost);
            }
            Err(_) => return Err(Lost),
        };
        let packet = self.buffer.get(..length).unwrap_or_default();
        let back = proto::decode::<Back>(packet).ok_or(Lost)?;
        Ok(Next::Back(back, descriptors.into_iter().next()))
    }
}

/// A worker that took the connection gets that long to answer, however little patience is left.
const GREETING_MS_MIN: u64 = 5_000;

enum Next {
    Back(Back, Option<OwnedFd>),
    Signal,
    Timeout,
    DescriptorLost,
}

impl Errand<'_> {
    fn patience_left_ms(&mut self, way: &dyn Way) -> u64 {
        let now_ms = clock::boottime_ms();
        let since_ms = *self.alone_since_ms.get_or_insert(now_ms);
        way.patience_ms(self.sent || self.met)
            .saturating_sub(now_ms.saturating_sub(since_ms))
    }

    /// A handler ran while there was no worker: a request that nobody has seen ends here; one that may
    /// have been carried out must learn its fate first.
    fn note(&mut self, woken: Woken) -> Result<(), DmError> {
        if woken != Woken::Signal {
            return Ok(());
        }
        if !self.sent {
            return Err(DmError::Interrupted);
        }
        self.given_up = true;
        Ok(())
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
