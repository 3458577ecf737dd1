//! What only a fake worker can do at the right moment: die at each point of an exchange.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::thread::JoinHandle;

use nix::sys::signal::Signal;

use super::*;
use crate::model::SessionId;
use crate::sys::signal::tests::{Thread, handle};

const WAIT_MS: u64 = 60_000;

/// A worker's end of one connection, after the greeting.
struct Worker {
    fd: OwnedFd,
}

type Script = Box<dyn FnOnce(&Worker) + Send>;

/// Each connection goes to the next worker; when there is none, nobody serves.
#[derive(Default)]
struct Workers {
    scripts: Mutex<VecDeque<Script>>,
    running: Mutex<Vec<JoinHandle<()>>>,
    patience_ms: u64,
    /// While no worker is known.
    stranger_patience_ms: Option<u64>,
    /// So many workers die before they have heard the greeting.
    deaf: Mutex<usize>,
}

impl Workers {
    fn then(self, script: impl FnOnce(&Worker) + Send + 'static) -> Self {
        self.scripts
            .lock()
            .expect("scripts")
            .push_back(Box::new(script));
        self
    }

    fn finish(self) {
        let running = self.running.into_inner().expect("threads");
        for thread in running {
            thread.join().expect("a worker's checks hold");
        }
        assert!(
            self.scripts.into_inner().expect("scripts").is_empty(),
            "a worker was never asked"
        );
    }
}

impl Way for Workers {
    fn connect(&self) -> io::Result<Socket> {
        let mut deaf = self.deaf.lock().expect("deaf");
        if *deaf > 0 {
            *deaf -= 1;
            let (ours, _) = socket::pair()?;
            return Socket::adopt(ours);
        }
        let script = self.scripts.lock().expect("scripts").pop_front();
        let script = script.ok_or(io::ErrorKind::NotFound)?;
        let (ours, theirs) = socket::pair()?;
        let worker = Worker { fd: theirs };
        let thread = std::thread::spawn(move || {
            let Call::Hello { .. } = worker.hear() else {
                panic!("no greeting");
            };
            worker.say(&Back::Welcome { generation: 1 });
            script(&worker);
        });
        self.running.lock().expect("threads").push(thread);
        Socket::adopt(ours)
    }
    fn close(&self, socket: Socket) {
        socket.close();
    }
    fn patience_ms(&self, known: bool) -> u64 {
        match self.stranger_patience_ms {
            Some(patience_ms) if !known => patience_ms,
            _ => self.patience_ms,
        }
    }
    fn served(&self) {}
    fn is_forked(&self) -> bool {
        false
    }
}

impl Worker {
    fn hear(&self) -> Call {
        let mut buffer = vec![0; proto::PACKET_BYTES_MAX];
        let (length, _) = socket::receive(self.fd.as_fd(), &mut buffer).expect("a packet");
        proto::decode(&buffer[..length]).expect("a call")
    }

    fn say(&self, back: &Back) {
        socket::send(self.fd.as_fd(), &proto::encode(back), &[], true).expect("said");
    }

    /// The next request: its number and whether it was sent before.
    fn request(&self) -> (u64, bool, Request) {
        match self.hear() {
            Call::Do { id, again, request } => (id.number, again, request),
            other => panic!("not a request: {other:?}"),
        }
    }

    fn done(&self, number: u64, outcome: Result<Reply, DmError>) {
        self.say(&Back::Done { number, outcome });
    }

    /// Waits until the client has let go.
    fn until_the_end(&self) {
        let mut buffer = vec![0; proto::PACKET_BYTES_MAX];
        while socket::receive(self.fd.as_fd(), &mut buffer).is_ok_and(|(length, _)| length > 0) {}
    }
}

fn workers() -> Workers {
    Workers {
        patience_ms: WAIT_MS,
        ..Workers::default()
    }
}

fn ask(slot: &mut Slot, workers: &Workers, request: &Request) -> Result<Reply, DmError> {
    let quiet = Quiet::begin();
    Ok(slot.ask(workers, &quiet, request, &[])?.reply)
}

fn end(mut slot: Slot, workers: Workers) {
    slot.unlink(&workers);
    workers.finish();
}

const QUESTION: Request = Request::GetAllSessions;

fn answer() -> Result<Reply, DmError> {
    Ok(Reply::Sessions(vec![SessionId(7)]))
}

#[test]
fn a_worker_that_died_before_the_request_has_not_seen_it() {
    let workers = workers()
        .then(|worker| {
            let (number, _, _) = worker.request();
            worker.done(number, Ok(Reply::Nothing));
        })
        .then(|worker| {
            let (number, again, _) = worker.request();
            assert_eq!((number, again), (2, false));
            worker.done(number, answer());
            worker.until_the_end();
        });
    let mut slot = Slot::new(ClientId(1));
    ask(&mut slot, &workers, &Request::Ping).expect("pinged");
    // The first worker ends with its script; only then may the next request go out.
    let first = workers.running.lock().expect("threads").remove(0);
    first.join().expect("its checks hold");
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

#[test]
fn a_request_that_a_dead_worker_saw_is_sent_again_as_such() {
    let workers = workers()
        .then(|worker| {
            let (number, again, _) = worker.request();
            assert_eq!((number, again), (1, false));
            // Dies, having carried it out or not.
        })
        .then(|worker| {
            let (number, again, request) = worker.request();
            assert_eq!((number, again, request), (1, true, QUESTION));
            worker.done(number, answer());
            worker.until_the_end();
        });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

#[test]
fn two_workers_may_die_on_one_request() {
    let dies = |worker: &Worker| {
        worker.request();
    };
    let workers = workers().then(dies).then(dies).then(|worker| {
        let (number, again, _) = worker.request();
        assert!(again);
        worker.done(number, answer());
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

#[test]
fn without_a_next_worker_the_call_ends() {
    let workers = Workers {
        patience_ms: 1,
        ..Workers::default()
    }
    .then(|worker| {
        worker.request();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), Err(DmError::NoService));
    end(slot, workers);
}

#[test]
fn a_worker_that_dies_over_the_greeting_tells_that_there_is_a_service() {
    let nobody = Workers {
        stranger_patience_ms: Some(0),
        ..workers()
    };
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &nobody, &QUESTION), Err(DmError::NoService));
    end(slot, nobody);
    let workers = Workers {
        stranger_patience_ms: Some(0),
        deaf: Mutex::new(2),
        ..workers()
    }
    .then(|worker| {
        let (number, again, _) = worker.request();
        assert!(!again);
        worker.done(number, answer());
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

#[test]
fn an_old_answer_is_not_taken_for_the_new_one() {
    let workers = workers().then(|worker| {
        let (number, _, _) = worker.request();
        worker.done(number - 1, Ok(Reply::Nothing));
        worker.done(number, answer());
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

/// Sends a signal to the thread until the worker hears that it gave up.
fn interrupt(worker: &Worker, thread: Thread, number: u64) {
    thread.signal(Signal::SIGURG);
    assert_eq!(worker.hear(), Call::GiveUp { number });
}

#[test]
fn a_signal_gives_the_wait_up() {
    handle(Signal::SIGURG);
    let thread = Thread::this();
    let workers = workers().then(move |worker| {
        let (number, _, _) = worker.request();
        interrupt(worker, thread, number);
        worker.done(number, Err(DmError::Interrupted));
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(
        ask(&mut slot, &workers, &QUESTION),
        Err(DmError::Interrupted)
    );
    end(slot, workers);
}

#[test]
fn what_happened_before_the_signal_counts() {
    handle(Signal::SIGURG);
    let thread = Thread::this();
    let workers = workers().then(move |worker| {
        let (number, _, _) = worker.request();
        interrupt(worker, thread, number);
        worker.done(number, answer());
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(ask(&mut slot, &workers, &QUESTION), answer());
    end(slot, workers);
}

#[test]
fn a_wait_that_was_given_up_is_given_up_with_the_next_worker_too() {
    handle(Signal::SIGURG);
    let thread = Thread::this();
    let workers = workers()
        .then(move |worker| {
            let (number, _, _) = worker.request();
            interrupt(worker, thread, number);
        })
        .then(|worker| {
            let (number, again, _) = worker.request();
            assert!(again);
            assert_eq!(worker.hear(), Call::GiveUp { number });
            worker.done(number, Err(DmError::Interrupted));
            worker.until_the_end();
        });
    let mut slot = Slot::new(ClientId(1));
    assert_eq!(
        ask(&mut slot, &workers, &QUESTION),
        Err(DmError::Interrupted)
    );
    end(slot, workers);
}

#[test]
fn a_descriptor_comes_with_the_answer() {
    let workers = workers().then(|worker| {
        let (number, _, _) = worker.request();
        let back = Back::Done {
            number,
            outcome: Ok(Reply::Nothing),
        };
        let file = tempfile::tempfile().expect("a file");
        socket::send(
            worker.fd.as_fd(),
            &proto::encode(&back),
            &[file.as_fd()],
            true,
        )
        .expect("sent");
        assert_eq!(worker.hear(), Call::Leave);
        worker.until_the_end();
    });
    let mut slot = Slot::new(ClientId(1));
    let quiet = Quiet::begin();
    let answered = slot
        .ask(&workers, &quiet, &QUESTION, &[])
        .expect("answered");
    assert!(answered.descriptor.is_some());
    assert!(!slot.is_cut(&quiet));
    slot.leave(&workers);
    end(slot, workers);
}
