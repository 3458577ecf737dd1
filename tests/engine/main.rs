//! The engine in process, with a source that only remembers what it was told.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use dmapi::engine::{Config, ConnId, Engine, Outlet};
use dmapi::journal::Start;
use dmapi::model::{
    Answer, ClientId, DmError, Event, EventBody, EventSet, EventType, FsId, Handle, Record,
    RequestId, Serial, SessionId,
};
use dmapi::proto::{Back, Reply, Request, Target};
use dmapi::source::{EventSink, EventSource};

#[path = "../support/stand_in.rs"]
mod stand_in;
mod views;

use stand_in::{FILE, FS, NoHost, StandIn, Told, bring_read, served};

const LIMIT: Duration = Duration::from_secs(60);

struct Channel(Sender<Back>);

impl Outlet for Channel {
    fn send(&self, back: &Back, _fd: Option<BorrowedFd<'_>>) {
        let _ = self.0.send(back.clone());
    }
    fn close(&self) {}
}

/// An engine and one client of it.
struct Bench {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    source: Arc<StandIn>,
    client: Client,
}

struct Client {
    engine: Arc<Engine>,
    conn: ConnId,
    id: ClientId,
    number: u64,
    backs: Receiver<Back>,
}

impl Client {
    fn new(engine: &Arc<Engine>, id: u64) -> Self {
        let (sender, backs) = channel();
        let id = ClientId(id);
        Self {
            engine: Arc::clone(engine),
            conn: engine.connect(id, 1, Arc::new(Channel(sender))),
            id,
            number: 0,
            backs,
        }
    }

    fn begin(&mut self, request: Request) -> u64 {
        self.number += 1;
        let (client, number) = (self.id, self.number);
        let id = RequestId { client, number };
        self.engine.call(self.conn, id, false, request, Vec::new());
        number
    }

    fn end(&self, number: u64) -> Result<Reply, DmError> {
        match self.backs.recv_timeout(LIMIT).expect("a reply") {
            Back::Done {
                number: of,
                outcome,
            } if of == number => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Reply, DmError> {
        let number = self.begin(request);
        self.end(number)
    }

    fn session(&mut self) -> SessionId {
        let info = b"engine".to_vec();
        match self.ask(Request::CreateSession { old: None, info }) {
            Ok(Reply::Session(session)) => session,
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, session: SessionId, events: &[EventType]) {
        let target = Target {
            session,
            handle: Handle::Fs(FS),
            token: None,
        };
        let request = Request::SetDisposition {
            target,
            events: EventSet::of(events),
            mask: EventSet((1 << 23) - 1),
            answers_destroy: false,
        };
        assert_eq!(self.ask(request), Ok(Reply::Nothing));
    }

    fn receive(&mut self, session: SessionId) -> Result<Vec<Event>, DmError> {
        let get = Request::GetEvents {
            session,
            count_max: 0,
            bytes_max: 1 << 17,
            wait: false,
        };
        match self.ask(get)? {
            Reply::Events(events) => {
                let sequences = events.iter().map(|event| event.sequence).collect();
                let commit = Request::Commit { session, sequences };
                assert_eq!(self.ask(commit), Ok(Reply::Nothing));
                Ok(events)
            }
            other => panic!("{other:?}"),
        }
    }
}

fn config(dir: &Path, start: Start) -> Config {
    Config {
        state: dir.join("state"),
        node: "test".into(),
        control: dir.join("control"),
        start,
    }
}

/// A journal in which the file system is served.
fn prepare(dir: &Path) {
    prepare_with(dir, served());
}

fn prepare_with(dir: &Path, records: Vec<Record>) {
    stand_in::prepare(&dir.join("state"), "test", records);
}

fn open(dir: &Path, start: Start, blocked: Vec<Serial>) -> (Arc<Engine>, Arc<StandIn>) {
    open_with(dir, start, blocked, None, &[])
}

fn open_with(
    dir: &Path,
    start: Start,
    blocked: Vec<Serial>,
    late: Option<Serial>,
    views: &[u64],
) -> (Arc<Engine>, Arc<StandIn>) {
    let source = Arc::new(StandIn::new(blocked, late, views));
    // The housekeeping thread of the engine before may hold that for a moment more, with the journal's lock.
    let deadline = Instant::now() + LIMIT;
    loop {
        let as_source = Arc::clone(&source) as Arc<dyn EventSource>;
        match Engine::open(config(dir, start), as_source, Arc::new(NoHost)) {
            Ok(engine) => return (engine, source),
            Err(problem) => assert!(Instant::now() < deadline, "{problem}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        prepare(dir.path());
        let (engine, source) = open(dir.path(), Start::Worker, Vec::new());
        let client = Client::new(&engine, 1);
        Self {
            dir,
            engine,
            source,
            client,
        }
    }

    /// The worker ends; what it wrote stays.
    fn down(self) -> tempfile::TempDir {
        let Self {
            dir,
            engine,
            source,
            client,
        } = self;
        drop((engine, source, client));
        dir
    }

    /// The next worker, whose source still holds these operations.
    fn restart(self, blocked: Vec<Serial>) -> Self {
        let dir = self.down();
        let (engine, source) = open(dir.path(), Start::Worker, blocked);
        let client = Client::new(&engine, 2);
        Self {
            dir,
            engine,
            source,
            client,
        }
    }

    fn read_event(&self, serial: u64) {
        bring_read(self.engine.as_ref(), Serial(serial));
    }
}

#[test]
fn an_answer_is_recorded_before_it_is_given() {
    let mut bench = Bench::new();
    let session = bench.client.session();
    bench.client.take(session, &[EventType::Read]);
    bench.read_event(3);
    // Brought again, as after a restart: it is there already.
    bench.read_event(3);
    let events = bench.client.receive(session).expect("an event");
    assert_eq!(events.len(), 1);
    let token = events[0].token.expect("it is synchronous");
    let answer = Answer::Abort(5);
    let respond = Request::RespondEvent {
        session,
        token,
        answer,
    };
    assert_eq!(bench.client.ask(respond), Ok(Reply::Nothing));
    let told = bench.source.told();
    let about: Vec<&Told> = told
        .iter()
        .filter(|told| !matches!(told, Told::ListChanged(_)))
        .collect();
    let serial = Serial(3);
    assert_eq!(
        about,
        [&Told::Intend(serial, answer), &Told::Answer(serial, answer)]
    );
    assert!(told.contains(&Told::ListChanged(FS)));
    assert!(!bench.engine.knows(serial));
}

#[test]
fn events_without_a_session_wait_and_unwanted_ones_are_dropped() {
    let mut bench = Bench::new();
    bench.read_event(1);
    let destroyed = EventBody::Destroy {
        handle: FILE,
        copy: None,
    };
    bench
        .engine
        .queue(FS, EventType::Destroy, destroyed, None, 9);
    let session = bench.client.session();
    bench
        .client
        .take(session, &[EventType::Read, EventType::Destroy]);
    let events = bench.client.receive(session).expect("an event");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].kind, EventType::Read);
}

#[test]
fn operations_that_are_gone_wait_for_nothing() {
    let mut bench = Bench::new();
    let session = bench.client.session();
    bench.client.take(session, &[EventType::Read]);
    for serial in 1..=3 {
        bench.read_event(serial);
    }
    bench.engine.withdraw(Serial(1));
    let mut bench = bench.restart(vec![Serial(3)]);
    assert!(!bench.engine.knows(Serial(1)));
    assert!(!bench.engine.knows(Serial(2)));
    assert!(bench.engine.knows(Serial(3)));
    let events = bench.client.receive(session).expect("an event");
    assert_eq!(events.len(), 1);
}

/// The source reads events while the engine still compares what both have.
#[test]
fn an_event_that_comes_while_lost_ones_are_looked_for_is_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    prepare(dir.path());
    let late = Serial(4);
    let (engine, _source) = open_with(dir.path(), Start::Worker, Vec::new(), Some(late), &[]);
    assert!(engine.knows(late));
}

#[test]
fn an_event_of_a_file_system_that_is_not_served_fails_closed() {
    let bench = Bench::new();
    let body = EventBody::Data {
        handle: FILE,
        offset: 0,
        length: 1,
        mapped: None,
    };
    let serial = Serial(8);
    bench
        .engine
        .queue(FsId(78), EventType::Read, body, Some(serial), 9);
    let told = bench.source.told();
    assert!(told.contains(&Told::Answer(serial, Answer::Abort(5))));
}

#[test]
fn a_full_queue_holds_sources_and_lets_answers_through() {
    let mut bench = Bench::new();
    let session = bench.client.session();
    bench.client.take(session, &[EventType::Read]);
    let message = |data: Vec<u8>| Request::SendMessage {
        session,
        synchronous: false,
        data,
    };
    let mut sent = 0;
    let full = loop {
        match bench.client.ask(message(vec![7; 3960])) {
            Ok(Reply::Nothing) => sent += 1,
            other => break other,
        }
        assert!(sent < 10_000);
    };
    assert_eq!(full, Err(DmError::NoMemory));
    // The operation of a user is not refused: it waits.
    let engine = Arc::clone(&bench.engine);
    let is_in = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_in);
    let source = std::thread::spawn(move || {
        let body = EventBody::Data {
            handle: FILE,
            offset: 0,
            length: 1,
            mapped: None,
        };
        engine.queue(FS, EventType::Read, body, Some(Serial(1)), 9);
        seen.store(true, Ordering::Release);
    });
    let mut got = 0;
    let mut was_early = is_in.load(Ordering::Acquire);
    let deadline = Instant::now() + LIMIT;
    let read = loop {
        assert!(Instant::now() < deadline, "the event never came");
        match bench.client.receive(session) {
            Ok(events) => {
                was_early |= got == 0 && events.iter().any(|event| event.kind == EventType::Read);
                got += events.len();
                if let Some(event) = events.iter().find(|event| event.kind == EventType::Read) {
                    break event.clone();
                }
            }
            Err(DmError::Again) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    };
    assert!(!was_early, "it was queued although there was no room");
    assert!(read.token.is_some());
    source.join().expect("it ends");
    // Everything is there after a restart, too: the journal was never too small.
    let mut bench = bench.restart(vec![Serial(1)]);
    while let Ok(events) = bench.client.receive(session) {
        got += events.len();
    }
    assert_eq!(got, sent + 1);
    let tokens = bench.client.ask(Request::GetAllTokens { session });
    assert_eq!(tokens, Ok(Reply::Tokens(vec![read.token.expect("seen")])));
}

#[test]
fn a_message_given_to_one_caller_is_not_given_to_another() {
    let mut bench = Bench::new();
    let session = bench.client.session();
    let message = Request::SendMessage {
        session,
        synchronous: false,
        data: b"one".to_vec(),
    };
    assert_eq!(bench.client.ask(message), Ok(Reply::Nothing));
    let get = Request::GetEvents {
        session,
        count_max: 0,
        bytes_max: 4096,
        wait: false,
    };
    let first = bench.client.ask(get.clone());
    let Ok(Reply::Events(events)) = &first else {
        panic!("{first:?}");
    };
    let mut other = Client::new(&bench.engine, 50);
    assert_eq!(other.ask(get.clone()), Err(DmError::Again));
    let sequences = vec![events[0].sequence];
    let commit = Request::Commit { session, sequences };
    assert_eq!(other.ask(commit.clone()), Err(DmError::Again));
    // Given back, it is at the front again.
    bench.engine.leave(bench.client.conn);
    assert_eq!(other.ask(get), first);
    assert_eq!(bench.client.ask(commit.clone()), Err(DmError::Again));
    assert_eq!(other.ask(commit), Ok(Reply::Nothing));
}

#[test]
fn a_session_under_a_new_id_keeps_its_waiters() {
    let mut bench = Bench::new();
    let session = bench.client.session();
    let mut waiter = Client::new(&bench.engine, 60);
    let number = waiter.begin(Request::GetEvents {
        session,
        count_max: 0,
        bytes_max: 4096,
        wait: true,
    });
    let assume = Request::CreateSession {
        old: Some(session),
        info: b"heir".to_vec(),
    };
    let Ok(Reply::Session(new)) = bench.client.ask(assume) else {
        panic!("not assumed");
    };
    let message = Request::SendMessage {
        session: new,
        synchronous: false,
        data: b"one".to_vec(),
    };
    assert_eq!(bench.client.ask(message), Ok(Reply::Nothing));
    assert!(matches!(waiter.end(number), Ok(Reply::Events(events)) if events.len() == 1));
}
