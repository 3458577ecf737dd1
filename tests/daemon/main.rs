//! A real dmapid without file systems: sessions, messages, and every way to die.

mod deaths;
mod start;
#[path = "../support/mod.rs"]
mod support;

use dmapi::model::{Answer, DmError, EventBody};
use dmapi::proto::{Back, Call, Reply, Request};
use support::{Client, Daemon, get, until};

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
fn the_longest_packet_fits_a_socket() {
    use std::os::fd::AsFd;
    let (left, right) = dmapi::sys::socket::pair().expect("socketpair");
    let packet = vec![7; dmapi::proto::PACKET_BYTES_MAX];
    dmapi::sys::socket::send(left.as_fd(), &packet, &[], false).expect("it does not wait");
    let mut buffer = vec![0; packet.len()];
    let (bytes, _) = dmapi::sys::socket::receive(right.as_fd(), &mut buffer).expect("received");
    assert_eq!(bytes, packet.len());
}
