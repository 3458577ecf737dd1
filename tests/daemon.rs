//! A real dmapid without file systems: sessions, messages, and every way to die.

mod support;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use dmapi::model::{Answer, DmError, EventBody};
use dmapi::proto::{Back, Call, Reply, Request};
use dmapi::sys::process;
use nix::sys::signal::Signal;
use support::{Client, Daemon, get, is_dead, kill, until};

fn text(body: &EventBody) -> String {
    match body {
        EventBody::User(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sessions_and_messages_work() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    assert_eq!(client.ask(Request::Ping), Ok(Reply::Nothing));
    assert!(client.sessions().is_empty());
    let session = client.create_session("one");
    assert_eq!(
        client.ask(Request::QuerySession { session }),
        Ok(Reply::Info(b"one".to_vec()))
    );
    assert_eq!(client.ask(get(session, false)), Err(DmError::Again));
    client.send_async(session, b"hello");
    assert_eq!(
        client.ask(Request::DestroySession { session }),
        Err(DmError::Busy)
    );
    let events = client.get_events(session, true).expect("a message");
    assert_eq!(events.len(), 1);
    assert_eq!(text(&events[0].body), "hello");
    assert_eq!(
        client.ask(Request::DestroySession { session }),
        Ok(Reply::Nothing)
    );
    assert_eq!(
        client.ask(Request::QuerySession { session }),
        Err(DmError::Invalid)
    );
}

#[test]
fn a_reservation_goes_back_with_its_connection() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("one");
    client.send_async(session, b"kept");
    let mut getter = daemon.client();
    assert!(
        matches!(getter.ask(get(session, true)), Ok(Reply::Events(events)) if events.len() == 1)
    );
    assert_eq!(client.ask(get(session, false)), Err(DmError::Again));
    drop(getter);
    let events = client.get_events(session, true).expect("it came back");
    assert_eq!(text(&events[0].body), "kept");
}

#[test]
fn a_synchronous_message_waits_for_its_answer() {
    let daemon = Daemon::start();
    let mut handler = daemon.client();
    let session = handler.create_session("one");
    let mut sender = daemon.client();
    let request = Request::SendMessage {
        session,
        synchronous: true,
        data: b"do it".to_vec(),
    };
    let number = sender.begin(request);
    let events = handler.get_events(session, true).expect("a message");
    let token = events[0].token.expect("it is synchronous");
    let answer = Answer::Abort(28);
    let respond = Request::RespondEvent {
        session,
        token,
        answer,
    };
    assert_eq!(handler.ask(respond.clone()), Ok(Reply::Nothing));
    assert_eq!(sender.end(number), Some(Ok(Reply::Answered(answer))));
    assert_eq!(handler.ask(respond), Err(DmError::TokenGone));
}

#[test]
fn a_wait_can_be_given_up() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("one");
    let number = client.begin(get(session, true));
    until("the wait", || {
        let waiting = daemon.client().status().waiting;
        waiting
            .iter()
            .find(|(_, what)| what.contains("messages"))
            .map(drop)
    });
    assert_eq!(
        daemon.client().ask(Request::DestroySession { session }),
        Err(DmError::Busy)
    );
    client.send(&Call::GiveUp { number }).expect("sent");
    assert_eq!(client.end(number), Some(Err(DmError::Interrupted)));
    assert_eq!(
        client.ask(Request::DestroySession { session }),
        Ok(Reply::Nothing)
    );
}

#[test]
fn state_survives_the_death_of_the_worker() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("stays");
    client.send_async(session, b"one");
    let token = client.create_user_event(session, b"mine");
    let mut pids = vec![daemon.status().worker_pid];
    for _ in 0..4 {
        daemon.kill_worker();
        let pid = client.status().worker_pid;
        assert!(!pids.contains(&pid), "a new worker");
        pids.push(pid);
        assert_eq!(client.sessions(), vec![session]);
        assert_eq!(
            client.ask(Request::GetAllTokens { session }),
            Ok(Reply::Tokens(vec![token]))
        );
    }
    let events = client.get_events(session, true).expect("a message");
    assert_eq!(text(&events[0].body), "one");
}

#[test]
fn a_request_sent_again_is_not_carried_out_twice() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let create = Request::CreateSession {
        old: None,
        info: b"once".to_vec(),
    };
    let number = client.begin(create.clone());
    let first = client.end(number).expect("an answer");
    daemon.kill_worker();
    assert_eq!(client.again(number, create), Some(first));
    assert_eq!(client.sessions().len(), 1);
}

#[test]
fn requests_go_on_over_the_death_of_workers() {
    const MESSAGES: usize = 200;
    let daemon = Daemon::start();
    let session = daemon.client().create_session("busy");
    let path = daemon.socket();
    let sender = std::thread::spawn({
        let path = path.clone();
        move || {
            let mut client = Client::new(&path);
            for number in 0..MESSAGES {
                client.send_async(session, number.to_string().as_bytes());
            }
        }
    });
    let getter = std::thread::spawn(move || {
        let mut client = Client::new(&path);
        let mut got = Vec::new();
        while got.len() < MESSAGES {
            let events = client.get_events(session, true).expect("messages");
            got.extend(events.iter().map(|event| text(&event.body)));
        }
        got
    });
    for _ in 0..5 {
        daemon.kill_worker();
    }
    sender.join().expect("the sender ends");
    let got = getter.join().expect("the getter ends");
    let wanted: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(got, wanted, "each message once, in order");
}

#[test]
fn a_parked_send_is_answered_by_the_next_worker() {
    let daemon = Daemon::start();
    let mut handler = daemon.client();
    let session = handler.create_session("one");
    let mut sender = daemon.client();
    let request = Request::SendMessage {
        session,
        synchronous: true,
        data: b"do it".to_vec(),
    };
    let number = sender.begin(request.clone());
    let events = handler.get_events(session, true).expect("a message");
    daemon.kill_worker();
    let path = daemon.socket();
    let waits = std::thread::spawn(move || sender.again(number, request));
    let token = events[0].token.expect("it is synchronous");
    let answer = Answer::Continue;
    assert_eq!(
        handler.ask(Request::RespondEvent {
            session,
            token,
            answer
        }),
        Ok(Reply::Nothing)
    );
    let outcome = waits.join().expect("the sender ends");
    assert_eq!(outcome, Some(Ok(Reply::Answered(answer))));
    assert_eq!(
        Client::new(&path).ask(get(session, false)),
        Err(DmError::Again)
    );
}

#[test]
fn the_worker_takes_the_place_of_a_dead_supervisor() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("stays");
    for _ in 0..3 {
        let before = daemon.status();
        kill(before.supervisor_pid);
        let after = until("a new supervisor", || {
            let now = daemon.status();
            (now.supervisor_pid != before.supervisor_pid).then_some(now)
        });
        assert_eq!(after.supervisor_pid, before.worker_pid);
        assert_eq!(client.sessions(), vec![session]);
    }
}

#[test]
fn an_upgrade_keeps_everything() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("stays");
    let before = daemon.status();
    let mut waiter = daemon.client();
    let wait = get(session, true);
    let number = waiter.begin(wait.clone());
    assert_eq!(client.ask(Request::Upgrade), Ok(Reply::Nothing));
    let after = until("the next worker", || {
        let now = daemon.status();
        (now.worker_pid != before.worker_pid).then_some(now)
    });
    assert_eq!(after.supervisor_pid, before.supervisor_pid);
    assert!(after.generation > before.generation);
    assert_eq!(waiter.end(number), None, "the library asks the next worker");
    let waits = std::thread::spawn(move || waiter.again(number, wait));
    client.send_async(session, b"after");
    let events = waits.join().expect("the waiter ends");
    assert!(matches!(events, Some(Ok(Reply::Events(events))) if events.len() == 1));
}

#[test]
fn what_a_worker_tells_while_it_is_replaced_ends_nobody() {
    let mut daemon = Daemon::start();
    let before = daemon.status();
    let upgraded = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As workers do whenever there is something to look at; one is on its way at each moment of the upgrade.
        scope.spawn(|| {
            while !upgraded.load(Ordering::Acquire) {
                let _ = process::signal(before.supervisor_pid, Signal::SIGUSR1);
                std::thread::yield_now();
            }
        });
        let asked = daemon.client().ask(Request::Upgrade);
        let next = catch_unwind(|| {
            until("the next worker", || {
                let now = Client::try_new(&daemon.socket())?.status();
                (now.worker_pid != before.worker_pid).then_some(now)
            })
        });
        upgraded.store(true, Ordering::Release);
        assert_eq!(asked, Ok(Reply::Nothing));
        let next = next.expect("a worker");
        assert_eq!(next.supervisor_pid, before.supervisor_pid);
    });
    assert_eq!(daemon.child.try_wait().expect("it is ours"), None);
}

#[test]
fn a_stopped_client_holds_up_nobody() {
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("one");
    // It reads nothing: its buffer fills up, its connection ends.
    let stopped = daemon.client();
    let big = vec![7; 3000];
    for _ in 0..10 {
        client.send_async(session, &big);
    }
    let mut number = 0;
    until("the end of the connection", || {
        number += 1;
        let id = dmapi::model::RequestId {
            client: dmapi::model::ClientId(1),
            number,
        };
        let request = get(session, false);
        let again = false;
        let call = Call::Do { id, again, request };
        let sent = stopped
            .send(&call)
            .and_then(|()| stopped.send(&Call::Leave));
        sent.is_none().then_some(())
    });
    assert_eq!(client.ask(Request::Ping), Ok(Reply::Nothing));
    assert!(daemon.status().worker_pid > 0);
}

#[test]
fn who_says_nothing_or_nonsense_is_sent_away() {
    use std::os::fd::AsFd;
    let daemon = Daemon::start();
    let fd = dmapi::sys::socket::connect(&daemon.socket()).expect("connects");
    dmapi::sys::socket::send(fd.as_fd(), b"nonsense", &[], true).expect("sent");
    let mut buffer = [0; 100];
    let ended = dmapi::sys::socket::receive(fd.as_fd(), &mut buffer);
    assert!(matches!(ended, Ok((0, _)) | Err(_)), "closed");
    let mut client = daemon.client();
    client.send(&Call::Hello {
        version: 0,
        client: dmapi::model::ClientId(1),
    });
    assert_eq!(client.receive(), None, "Hello comes once");
    let fd = dmapi::sys::socket::connect(&daemon.socket()).expect("connects");
    let hello = Call::Hello {
        version: 0,
        client: dmapi::model::ClientId(1),
    };
    let hello = dmapi::proto::encode(&hello);
    dmapi::sys::socket::send(fd.as_fd(), &hello, &[], true).expect("sent");
    let mut buffer = [0; 4096];
    let (bytes, _) = dmapi::sys::socket::receive(fd.as_fd(), &mut buffer).expect("a reason");
    let back = dmapi::proto::decode(&buffer[..bytes]);
    assert!(matches!(back, Some(Back::Refused { reason }) if reason.contains("version")));
}

#[test]
fn many_clients_at_once() {
    const CLIENTS: usize = 64;
    let daemon = Daemon::start();
    let session = daemon.client().create_session("shared");
    let path = daemon.socket();
    let getters: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut client = Client::new(&path);
                let request = Request::GetEvents {
                    session,
                    count_max: 1,
                    bytes_max: 4096,
                    wait: true,
                };
                match client.ask(request) {
                    Ok(Reply::Events(events)) => {
                        let sequences = events.iter().map(|event| event.sequence).collect();
                        let commit = Request::Commit { session, sequences };
                        assert_eq!(client.ask(commit), Ok(Reply::Nothing));
                        text(&events[0].body)
                    }
                    other => panic!("{other:?}"),
                }
            })
        })
        .collect();
    let mut client = daemon.client();
    for number in 0..CLIENTS {
        client.send_async(session, number.to_string().as_bytes());
    }
    let mut got: Vec<usize> = getters
        .into_iter()
        .map(|getter| getter.join().expect("a message").parse().expect("a number"))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..CLIENTS).collect::<Vec<_>>());
}

#[test]
fn a_second_daemon_is_refused_with_a_reason() {
    let daemon = Daemon::start();
    let output = support::command(&support::program(), daemon.dir.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("served by another dmapid"), "{said}");
}

#[test]
fn sigterm_stops_it_and_the_state_stays() {
    let mut daemon = Daemon::start();
    let session = daemon.client().create_session("stays");
    let worker = daemon.status().worker_pid;
    dmapi::sys::process::signal(daemon.child.id(), Signal::SIGTERM).expect("it lives");
    assert!(daemon.child.wait().expect("it ends").success());
    assert!(is_dead(worker));
    assert!(!daemon.socket().exists());
    let child = support::command(&support::program(), daemon.dir.path())
        .spawn()
        .expect("dmapid starts");
    daemon.child = child;
    assert_eq!(daemon.client().sessions(), vec![session]);
}

#[test]
fn stop_by_request() {
    let mut daemon = Daemon::start();
    let stop = Request::Stop { force: false };
    assert_eq!(daemon.client().ask(stop), Ok(Reply::Nothing));
    assert!(daemon.child.wait().expect("it ends").success());
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(dir.path().join("state"), b"a file").expect("write");
    let output = support::command(&support::program(), dir.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("state/nodes/local") && said.contains("DMAPI_STATE"),
        "{said}"
    );
}

#[test]
fn in_the_background_it_returns_when_it_serves() {
    let dir = tempfile::tempdir().expect("tempdir");
    let status = std::process::Command::new(support::program())
        .arg("--state")
        .arg(dir.path().join("state"))
        .arg("--socket")
        .arg(dir.path().join("run/socket"))
        .env_remove("NOTIFY_SOCKET")
        .status()
        .expect("it runs");
    assert!(status.success());
    let mut client = Client::try_new(&dir.path().join("run/socket")).expect("it serves");
    assert_eq!(client.ask(Request::Ping), Ok(Reply::Nothing));
    let supervisor = client.status().supervisor_pid;
    assert_eq!(
        client.ask(Request::Stop { force: false }),
        Ok(Reply::Nothing)
    );
    until("the end of the daemon", || {
        is_dead(supervisor).then_some(())
    });
}

#[test]
fn the_longest_packet_fits_a_socket() {
    use std::os::fd::AsFd;
    let (left, right) = dmapi::sys::socket::pair().expect("socketpair");
    let packet = vec![7; dmapi::proto::PACKET_BYTES_MAX];
    dmapi::sys::socket::send(left.as_fd(), &packet, &[], false).expect("it does not wait");
    let mut buffer = vec![0; packet.len()];
    let (bytes, _) = dmapi::sys::socket::receive(right.as_fd(), &mut buffer).expect("received");
    assert_eq!(bytes, packet.len());
}
