//! Figures for docs/performance.md, not checks:
//! `cargo test --release --test journal figures -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use dmapi::journal::{Control, Journal, Priority, Replica, Sizes, Start, State};
use dmapi::model::{
    Entry, Event, EventBody, EventType, FsId, Handle, Model, Origin, Record, Sequence, Serial,
    SessionId, Token,
};

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!(
        "{what}: {} times, p50 {:?}, p99 {:?}, max {:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    println!("{what}: {:?}", begun.elapsed());
    result
}

fn session(number: u32) -> Entry {
    Entry {
        records: vec![Record::SessionCreated {
            session: SessionId(number),
            info: vec![b'x'; 100],
        }],
        reply: None,
    }
}

fn event(number: u32) -> Entry {
    let fs = FsId(7);
    Entry {
        records: vec![Record::EventQueued {
            session: Some(SessionId(1 + number % 1000)),
            fs: Some(fs),
            event: Event {
                sequence: Sequence(u64::from(number)),
                token: Some(Token(number)),
                kind: EventType::Read,
                body: EventBody::Data {
                    handle: Handle::Object {
                        fs,
                        inode: u64::from(number),
                        generation: 1,
                    },
                    offset: 0,
                    length: 4096,
                    mapped: None,
                },
                origin: Origin::Source(Serial(u64::from(number))),
                pid: 1,
                made_ms: 1,
            },
        }],
        reply: None,
    }
}

#[test]
#[ignore = "prints figures; takes long in a debug build"]
fn figures() {
    let dir = tempfile::tempdir().expect("a directory");
    let sizes = Sizes::default();
    let open = |start| Journal::open_in::<Model>(dir.path(), "n1", start, &sizes).expect("opened");
    let mut opened = timed("first start, 32 MiB made", || open(Start::Daemon));
    let page = dir.path().join("control");
    opened
        .journal
        .publish_on(Control::create(&page).expect("made"))
        .expect("published");
    let syncer = opened.journal.syncer();

    let body = vec![1; 256];
    let mut appends = Vec::new();
    let mut syncs = Vec::new();
    for _ in 0..2000 {
        let begun = Instant::now();
        let lsn = opened
            .journal
            .append(&body, Priority::Normal)
            .expect("room");
        appends.push(begun.elapsed());
        syncer.sync_to(lsn).expect("synced");
        syncs.push(begun.elapsed());
    }
    report("append 256 B", appends);
    report("append 256 B and fdatasync", syncs);
    let begun = Instant::now();
    for _ in 0..50 {
        let mut last = opened.journal.lsn();
        for _ in 0..50 {
            last = opened
                .journal
                .append(&body, Priority::Normal)
                .expect("room");
        }
        syncer.sync_to(last).expect("synced");
    }
    let rate = 2500.0 / begun.elapsed().as_secs_f64();
    println!("50 records per fdatasync: {rate:.0} records/s");

    // These were no entries: begin with an empty state again.
    opened
        .journal
        .checkpoint(&Model::default().encode())
        .expect("made");
    let entries = (1..=1000).map(session).chain((1..=10_000).map(event));
    for entry in entries {
        opened
            .journal
            .append_entry(&entry, Priority::Normal)
            .expect("room");
        opened.state.apply_entry(&entry).expect("it follows");
    }
    println!(
        "1000 sessions, 10000 events: {} bytes of log",
        opened.journal.log_used()
    );
    let mut replica = Replica::<Model>::open(&page).expect("opened");
    timed("a reader's first look", || replica.catch_up()).expect("read");
    let mut looks = Vec::new();
    for number in 10_001..11_001 {
        opened
            .journal
            .append_entry(&event(number), Priority::Normal)
            .expect("room");
        let begun = Instant::now();
        replica.catch_up().expect("read");
        looks.push(begun.elapsed());
    }
    report("a reader's look at one new record", looks);
    drop(opened);
    let mut opened = timed("a worker recovers from the log", || open(Start::Worker));
    let encoded = opened.state.encode();
    println!("checkpoint of {} bytes", encoded.len());
    timed("checkpoint", || opened.journal.checkpoint(&encoded)).expect("made");
    drop(opened);
    let opened = timed("a worker recovers from the checkpoint", || {
        open(Start::Worker)
    });
    drop(opened);
    timed("a daemon starts and adopts", || open(Start::Daemon));
}
