//! What goes on when the worker, or the supervisor, dies or is replaced.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};

use dmapi::model::{Answer, DmError};
use dmapi::proto::{Reply, Request};
use dmapi::sys::process;
use nix::sys::signal::Signal;

use crate::support::{Client, Daemon, get, kill, until};
use crate::text;

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
