//! The control socket: one thread for each connection, which reads calls and hands them to the engine.
//! Whoever finishes a request sends its reply, without ever waiting for the client.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::worker::Worker;
use crate::engine::{ConnId, Outlet};
use crate::model::DmError;
use crate::proto::{self, Back, Call, PACKET_BYTES_MAX};
use crate::sys::process;
use crate::sys::socket::{self, Peer};

/// Connections at one time; each is a thread. A process uses one for each call that it makes at once.
const CONNECTIONS_MAX: usize = 4096;
/// What the deepest call needs, many times over. Only what is touched costs memory.
const STACK_BYTES: usize = 512 * 1024;
/// Who connects and says nothing is no client.
const HELLO_LIMIT_MS: u32 = 10_000;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection, as the engine sees it.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
    peer: Peer,
    /// The process that connected. Its death ends the connection, also if a child of it, which has a copy of
    /// its end, lives on: nobody would ever read what is sent there.
    process: Option<OwnedFd>,
}

impl Outlet for Connection {
    fn send(&self, back: &Back, fd: Option<BorrowedFd<'_>>) {
        let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
        if let Err(error) = socket::send(self.fd.as_fd(), &packet(back), &fds, false) {
            // A client that is stopped must not hold up others. It comes back with a new connection
            // and sends the request again.
            if error.kind() == io::ErrorKind::WouldBlock {
                tracing::warn!(
                    pid = self.peer.pid,
                    "client does not read its replies; its connection is closed"
                );
            }
            self.close();
        }
    }

    fn close(&self) {
        socket::shut(self.fd.as_fd());
    }
}

/// The bytes of a packet. A reply that is longer than one can be is an error for who asked, not for the connection.
fn packet(back: &Back) -> Vec<u8> {
    let bytes = proto::encode(back);
    match back {
        Back::Done { number, .. } if bytes.len() > PACKET_BYTES_MAX => {
            tracing::error!(bytes = bytes.len(), "a reply is longer than a packet");
            proto::encode(&Back::Done {
                number: *number,
                outcome: Err(DmError::TooBig { need: None }),
            })
        }
        _ => bytes,
    }
}

/// Accepts connections for ever.
pub fn serve(worker: &Arc<Worker>, listener: BorrowedFd<'_>) -> ! {
    loop {
        match socket::accept(listener) {
            Ok(fd) => admit(worker, fd),
            Err(error) => {
                // Out of descriptors or memory. The clients wait in the queue of the socket.
                tracing::error!(%error, "a connection could not be accepted; trying again");
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// One of [`CONNECTIONS_MAX`].
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::AcqRel);
        let place = Self(Arc::clone(count));
        (before < CONNECTIONS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn admit(worker: &Arc<Worker>, fd: OwnedFd) {
    let peer = match socket::peer(fd.as_fd()) {
        Ok(peer) if peer.uid == 0 || peer.uid == process::user() => peer,
        Ok(peer) => {
            let reason = format!(
                "user {} may not use dmapid: it serves root and its own user only",
                peer.uid
            );
            return refuse(&fd, peer, reason);
        }
        Err(_) => return, // It is gone already.
    };
    let Some(place) = Place::take(&worker.connections) else {
        let reason = format!("dmapid has {CONNECTIONS_MAX} connections already; close some");
        return refuse(&fd, peer, reason);
    };
    // None: it is dead already, or there are no descriptors left; then the connection's own end must do.
    let process = process::pidfd(peer.pid).ok();
    let connection = Arc::new(Connection { fd, peer, process });
    let worker = Arc::clone(worker);
    let thread = std::thread::Builder::new()
        .name("connection".into())
        .stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let _place = place;
        converse(&worker, &connection);
    });
    // The closure is dropped, and with it the connection: the client tries again.
    if let Err(error) = started {
        tracing::error!(%error, pid = peer.pid, "no thread for a connection; it is closed");
    }
}

fn refuse(fd: &OwnedFd, peer: Peer, reason: String) {
    tracing::warn!(pid = peer.pid, uid = peer.uid, reason, "refused");
    let packet = proto::encode(&Back::Refused { reason });
    // If it does not even read this, closing says the same.
    let _ = socket::send(fd.as_fd(), &packet, &[], false);
}

fn converse(worker: &Arc<Worker>, connection: &Arc<Connection>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let Some(id) = greet(worker, connection, &mut buffer) else {
        return;
    };
    while has_call(connection) {
        let Some((call, fds)) = next_call(connection, &mut buffer) else {
            break;
        };
        match call {
            Call::Hello { .. } => {
                tracing::warn!(pid = connection.peer.pid, "said Hello twice; closed");
                break;
            }
            Call::Do {
                id: request_id,
                again,
                request,
            } => worker.engine.call(id, request_id, again, request, fds),
            Call::GiveUp { number } => worker.engine.give_up(id, number),
            Call::Leave => worker.engine.leave(id),
        }
    }
    connection.close();
    worker.engine.closed(id);
}

fn greet(worker: &Worker, connection: &Arc<Connection>, buffer: &mut [u8]) -> Option<ConnId> {
    socket::set_receive_limit(connection.fd.as_fd(), Some(HELLO_LIMIT_MS)).ok()?;
    let (call, _) = next_call(connection, buffer)?;
    let Call::Hello { version, client } = call else {
        tracing::warn!(
            pid = connection.peer.pid,
            "did not begin with Hello; closed"
        );
        return None;
    };
    if version != proto::VERSION {
        let reason = format!(
            "the library speaks version {version} of the protocol and this dmapid {}; install the two from one release",
            proto::VERSION
        );
        tracing::warn!(pid = connection.peer.pid, reason, "refused");
        connection.send(&Back::Refused { reason }, None);
        return None;
    }
    socket::set_receive_limit(connection.fd.as_fd(), None).ok()?;
    let outlet: Arc<dyn Outlet> = Arc::clone(connection) as Arc<dyn Outlet>;
    let id = worker.engine.connect(client, connection.peer.pid, outlet);
    let welcome = Back::Welcome {
        generation: worker.generation,
    };
    connection.send(&welcome, None);
    Some(id)
}

/// Waits for the next call, or the end. `false`: the process is dead and left no call behind.
fn has_call(connection: &Connection) -> bool {
    match &connection.process {
        // An error of poll is one of the connection as well: receiving tells it.
        Some(process) => {
            process::wait_readable_or(connection.fd.as_fd(), process.as_fd()).unwrap_or(true)
        }
        None => true,
    }
}

fn next_call(connection: &Connection, buffer: &mut [u8]) -> Option<(Call, Vec<OwnedFd>)> {
    loop {
        let (bytes, fds) = match socket::receive(connection.fd.as_fd(), buffer) {
            Ok((0, _)) => return None,
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                tracing::debug!(pid = connection.peer.pid, %error, "connection ends");
                return None;
            }
        };
        let call = proto::decode(&buffer[..bytes]);
        if call.is_none() {
            tracing::warn!(
                pid = connection.peer.pid,
                bytes,
                "no call of the protocol; closed"
            );
        }
        return call.map(|call| (call, fds));
    }
}
