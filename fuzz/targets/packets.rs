//! Packets of the control socket, and what the engine makes of calls that no client of ours would send.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use dmapi::engine::{Config, Engine, Outlet};
use dmapi::journal::Start;
use dmapi::model::file::{FuseMount, FuseOptions, Kinds};
use dmapi::model::{
    Answer, ClientId, DmError, EventSet, FsId, Handle, RequestId, Right, Sequence, SessionId, Token,
};
use dmapi::proto::{self, Back, Call, Inspection, OpenFor, Reply, Request, Target as On};

use super::stand_in::{FILE, FS, NoHost, StandIn, mount, prepare, served};
use super::{Target, join, pieces};

/// The targets of this module.
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "call",
            run: |bytes| round_trip::<Call>(bytes),
            seeds: call_seeds,
            slice: 20_000,
        },
        Target {
            name: "back",
            run: |bytes| round_trip::<Back>(bytes),
            seeds: back_seeds,
            slice: 20_000,
        },
        Target {
            name: "engine",
            run: engine,
            seeds: engine_seeds,
            slice: 400,
        },
    ]
}

/// What is taken as a message is the same after another way over the socket.
fn round_trip<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Some(message) = proto::decode::<T>(bytes) {
        let again = proto::encode(&message);
        assert_eq!(proto::decode::<T>(&again), Some(message));
    }
}

fn requests() -> Vec<Request> {
    let session = SessionId(1);
    let token = Token(1);
    let on = |handle, token| On {
        session,
        handle,
        token,
    };
    let target = on(FILE, None);
    let held = on(FILE, Some(token));
    let on_fs = on(Handle::Fs(FS), None);
    let name = *b"attrname";
    vec![
        Request::CreateSession {
            old: None,
            info: b"fuzz".to_vec(),
        },
        Request::CreateUserEvent {
            session,
            data: b"mine".to_vec(),
        },
        Request::RequestRight {
            target: held,
            wait: false,
            right: Right::Exclusive,
        },
        Request::QueryRight { target: held },
        Request::DowngradeRight { target: held },
        Request::UpgradeRight { target: held },
        Request::Hold { target: held },
        Request::QueryHold { target: held },
        Request::Release { target: held },
        Request::ReleaseRight { target: held },
        Request::SetDisposition {
            target: on_fs,
            events: EventSet(1 << 16),
            mask: EventSet(u64::MAX),
            answers_destroy: false,
        },
        Request::SetEventList {
            target: on_fs,
            events: EventSet(1 << 20),
            mask: EventSet(u64::MAX),
            extra_on_fs: EventSet(0),
        },
        Request::GetEventList { target: on_fs },
        Request::SetReturnOnDestroy {
            target: on_fs,
            name,
            enable: true,
            answers_destroy: true,
        },
        Request::SetInherit {
            target: on_fs,
            name,
            mode: 0o100_000,
        },
        Request::GetAllInherit { target: on_fs },
        Request::ClearInherit {
            target: on_fs,
            name,
        },
        Request::SendMessage {
            session,
            synchronous: false,
            data: b"hello".to_vec(),
        },
        Request::SendMessage {
            session,
            synchronous: true,
            data: b"well?".to_vec(),
        },
        Request::GetEvents {
            session,
            count_max: 0,
            bytes_max: 1 << 16,
            wait: false,
        },
        Request::Commit {
            session,
            sequences: vec![Sequence(1), Sequence(2)],
        },
        Request::GetEvents {
            session,
            count_max: 1,
            bytes_max: u64::MAX,
            wait: true,
        },
        Request::Pending {
            session,
            token,
            delay_ms: 1,
        },
        Request::FindEvent { session, token },
        Request::GetAllTokens { session },
        Request::MoveEvent {
            from: session,
            token,
            to: session,
        },
        Request::RespondEvent {
            session,
            token,
            answer: Answer::Abort(5),
        },
        Request::Enter {
            target,
            right: Right::Shared,
            kinds: Kinds(7),
            open: OpenFor::Look,
        },
        Request::Look {
            handle: FILE,
            kinds: Kinds(7),
            open: OpenFor::Look,
        },
        Request::IsOpen { target },
        Request::SetRegions {
            target,
            regions: Vec::new(),
            sync: false,
        },
        Request::PunchHole {
            target,
            offset: 0,
            length: u64::MAX,
        },
        Request::SetAttribute {
            target,
            name,
            set_dtime: true,
            value: vec![1; 9],
            sync: true,
        },
        Request::RemoveAttribute {
            target,
            name,
            set_dtime: false,
            sync: false,
        },
        Request::SyncFile { target },
        Request::Inspect {
            target,
            what: Inspection::Attribute(name),
        },
        Request::Inspect {
            target,
            what: Inspection::Stat {
                mask: u32::MAX,
                dtime_alone: true,
            },
        },
        Request::GetMountInfo { target: on_fs },
        Request::FileSystems,
        Request::Mount {
            path: b"/nowhere".to_vec(),
            device: b"/dev/none".to_vec(),
            read_only: true,
            manage: false,
            force: false,
        },
        Request::MountFuse {
            path: b"/nowhere".to_vec(),
            backing: b"/none".to_vec(),
            device: 50,
            fuse: FuseMount {
                options: FuseOptions::CACHED.with(FuseOptions::SHARED),
                attributes: 1,
            },
        },
        Request::PrepareUnmount {
            fs: FsId(3),
            forced: false,
        },
        Request::Unmounted {
            fs: FsId(3),
            errno: 0,
            forced: true,
        },
        Request::QuerySession { session },
        Request::GetAllSessions,
        Request::Status,
        Request::RenameSession {
            session,
            info: b"other".to_vec(),
        },
        Request::CreateSession {
            old: Some(session),
            info: b"again".to_vec(),
        },
        Request::DestroySession {
            session: SessionId(2),
        },
    ]
}

fn numbered() -> Vec<Call> {
    let of = |(at, request)| Call::Do {
        id: RequestId {
            client: ClientId(1),
            number: at as u64 + 1,
        },
        again: false,
        request,
    };
    requests().into_iter().enumerate().map(of).collect()
}

fn call_seeds() -> Vec<Vec<u8>> {
    let mut calls = numbered();
    calls.push(Call::Hello {
        version: 1,
        client: ClientId(u64::MAX),
    });
    calls.push(Call::GiveUp { number: 7 });
    calls.push(Call::Leave);
    calls.iter().map(proto::encode).collect()
}

fn back_seeds() -> Vec<Vec<u8>> {
    let outcomes = vec![
        Ok(Reply::Nothing),
        Ok(Reply::Sessions(vec![SessionId(1), SessionId(2)])),
        Ok(Reply::Info(b"info".to_vec())),
        Ok(Reply::MountInfo(mount())),
        Ok(Reply::Dispositions(vec![(FS, EventSet(9))])),
        Ok(Reply::Status(Box::default())),
        Err(DmError::Again),
    ];
    let done = outcomes
        .into_iter()
        .map(|outcome| Back::Done { number: 3, outcome });
    let mut backs: Vec<_> = done.collect();
    backs.push(Back::Welcome { generation: 1 });
    backs.push(Back::Refused {
        reason: "no".into(),
    });
    backs.iter().map(proto::encode).collect()
}

/// Replies are what a client can read.
struct Reader;

impl Outlet for Reader {
    fn send(&self, back: &Back, _: Option<BorrowedFd<'_>>) {
        assert_eq!(
            proto::decode::<Back>(&proto::encode(back)).as_ref(),
            Some(back)
        );
    }
    fn close(&self) {}
}

static ENGINE: LazyLock<(Arc<Engine>, tempfile::TempDir)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state");
    prepare(&state, "fuzz", served());
    let config = Config {
        state,
        node: "fuzz".into(),
        control: dir.path().join("control"),
        start: Start::Worker,
    };
    let engine = Engine::open(
        config,
        Arc::new(StandIn::new(Vec::new(), None, &[])),
        Arc::new(NoHost),
    );
    (engine.expect("the engine starts"), dir)
});

/// Two connections, to which the packets of the input go in turn by their number; both end.
fn engine(bytes: &[u8]) {
    static CLIENTS: AtomicU64 = AtomicU64::new(1);
    let engine = &ENGINE.0;
    let both = [(); 2].map(|()| {
        let client = ClientId(CLIENTS.fetch_add(1, Ordering::Relaxed));
        (
            client,
            engine.connect(client, std::process::id(), Arc::new(Reader)),
        )
    });
    for packet in pieces(bytes).into_iter().take(64) {
        let Some((which, packet)) = packet.split_first() else {
            continue;
        };
        let (client, conn) = both[usize::from(which & 1)];
        match proto::decode::<Call>(packet) {
            Some(Call::Do { id, again, request }) => {
                let number = id.number;
                engine.call(
                    conn,
                    RequestId { client, number },
                    again,
                    request,
                    Vec::new(),
                );
            }
            Some(Call::GiveUp { number }) => engine.give_up(conn, number),
            Some(Call::Leave) => engine.leave(conn),
            Some(Call::Hello { .. }) | None => {}
        }
    }
    for (_, conn) in both {
        engine.closed(conn);
    }
}

fn engine_seeds() -> Vec<Vec<u8>> {
    let mut packets: Vec<Vec<u8>> = Vec::new();
    for (at, call) in numbered().iter().enumerate() {
        packets.push([vec![0], proto::encode(call)].concat());
        if at % 4 == 3 {
            packets.push([vec![0], proto::encode(&Call::Leave)].concat());
        }
    }
    let halves = packets.chunks(packets.len().div_ceil(2)).map(join);
    let mut seeds: Vec<_> = halves.collect();
    seeds.push(join(&packets));
    for pair in packets.chunks(3) {
        seeds.push(join(&[&packets[..3], pair].concat()));
    }
    seeds
}
