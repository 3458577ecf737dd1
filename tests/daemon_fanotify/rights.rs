//! Calls and tokens stand in one line for a file.

use dmapi::model::{Answer, DmError, Handle, Kinds, OpenFor, Right, Token};
use dmapi::proto::{Call, Reply, Request};

use crate::common::Deadline;
use crate::service::{Service, serial};
use crate::support::until;

fn enter(service: &Service, handle: Handle, token: Option<Token>, right: Right) -> Request {
    Request::Enter {
        target: service.target_with(handle, token),
        right,
        kinds: Kinds::REGULAR,
        open: OpenFor::Read,
    }
}

fn entered() -> Result<Reply, DmError> {
    let kind = Kinds::REGULAR;
    Ok(Reply::Entered { kind })
}

/// So many requests wait for a right.
fn waiting(service: &Service, count: usize) {
    until("requests that wait", || {
        let waiting = service.daemon.status().waiting;
        let waits = waiting.iter().filter(|(_, what)| what.contains("right on"));
        (waits.count() == count).then_some(())
    });
}

fn attribute(service: &Service, handle: Handle, token: Option<Token>, value: &[u8]) -> Request {
    Request::SetAttribute {
        target: service.target_with(handle, token),
        name: *b"test\0\0\0\0",
        set_dtime: false,
        value: value.to_vec(),
        sync: false,
    }
}

#[test]
fn a_change_waits_for_those_who_look() {
    let _one = serial();
    let _deadline = Deadline::new("a_change_waits_for_those_who_look", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.file("file");
    let mut first = service.daemon.client();
    let mut second = service.daemon.client();
    assert_eq!(
        first.ask(enter(&service, file, None, Right::Shared)),
        entered()
    );
    assert_eq!(
        second.ask(enter(&service, file, None, Right::Shared)),
        entered()
    );
    let mut writer = service.daemon.client();
    let number = writer.begin(attribute(&service, file, None, b"x"));
    waiting(&service, 1);
    // Who comes later does not overtake.
    let mut late = service.daemon.client();
    let late_number = late.begin(enter(&service, file, None, Right::Shared));
    waiting(&service, 2);
    first.send(&Call::Leave).expect("sent");
    // The end of a connection is as good.
    drop(second);
    assert_eq!(writer.end(number), Some(Ok(Reply::Nothing)));
    assert_eq!(late.end(late_number), Some(entered()));
    drop((first, late));
    service.end();
}

#[test]
fn who_gives_up_lets_the_next_one_go() {
    let _one = serial();
    let _deadline = Deadline::new("who_gives_up_lets_the_next_one_go", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.file("file");
    let mut holder = service.daemon.client();
    assert_eq!(
        holder.ask(enter(&service, file, None, Right::Shared)),
        entered()
    );
    let mut writer = service.daemon.client();
    let number = writer.begin(attribute(&service, file, None, b"x"));
    waiting(&service, 1);
    let mut reader = service.daemon.client();
    let reader_number = reader.begin(enter(&service, file, None, Right::Shared));
    waiting(&service, 2);
    writer.send(&Call::GiveUp { number }).expect("sent");
    assert_eq!(writer.end(number), Some(Err(DmError::Interrupted)));
    assert_eq!(reader.end(reader_number), Some(entered()));
    drop((holder, reader));
    service.end();
}

#[test]
fn a_token_keeps_calls_out_and_works_itself() {
    let _one = serial();
    let _deadline = Deadline::new("a_token_keeps_calls_out_and_works_itself", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.file("file");
    let session = service.session;
    let token = Some(service.client.create_user_event(session, b""));
    let set = attribute(&service, file, token, b"by token");
    assert_eq!(service.client.ask(set.clone()), Err(DmError::NoRight));
    let right = |right| Request::RequestRight {
        target: service.target_with(file, token),
        wait: true,
        right,
    };
    let (shared, exclusive) = (right(Right::Shared), right(Right::Exclusive));
    assert_eq!(service.client.ask(shared), Ok(Reply::Nothing));
    assert_eq!(service.client.ask(set.clone()), Err(DmError::NoRight));
    assert_eq!(
        service.client.ask(exclusive),
        Err(DmError::NoRight),
        "it would wait for itself"
    );
    let upgrade = Request::UpgradeRight {
        target: service.target_with(file, token),
    };
    assert_eq!(service.client.ask(upgrade), Ok(Reply::Nothing));
    assert_eq!(service.client.ask(set), Ok(Reply::Nothing));
    let mut other = service.daemon.client();
    let number = other.begin(enter(&service, file, None, Right::Shared));
    waiting(&service, 1);
    // Another token waits in the same line.
    let second = Some(service.client.create_user_event(session, b""));
    let mut asker = service.daemon.client();
    let asked = asker.begin(Request::RequestRight {
        target: service.target_with(file, second),
        wait: true,
        right: Right::Exclusive,
    });
    waiting(&service, 2);
    let respond = |token: Option<Token>| Request::RespondEvent {
        session,
        token: token.expect("it has one"),
        answer: Answer::Continue,
    };
    assert_eq!(service.client.ask(respond(token)), Ok(Reply::Nothing));
    assert_eq!(other.end(number), Some(entered()));
    waiting(&service, 1);
    other.send(&Call::Leave).expect("sent");
    assert_eq!(asker.end(asked), Some(Ok(Reply::Nothing)));
    let query = Request::QueryRight {
        target: service.target_with(file, second),
    };
    assert_eq!(
        service.client.ask(query),
        Ok(Reply::Right(Right::Exclusive))
    );
    assert_eq!(service.client.ask(respond(second)), Ok(Reply::Nothing));
    service.end();
}

#[test]
fn a_wait_for_a_right_goes_on_with_the_next_worker() {
    let _one = serial();
    let _deadline = Deadline::new("a_wait_for_a_right_goes_on_with_the_next_worker", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.file("file");
    let session = service.session;
    let token = service.client.create_user_event(session, b"");
    let right = Request::RequestRight {
        target: service.target_with(file, Some(token)),
        wait: false,
        right: Right::Exclusive,
    };
    assert_eq!(service.client.ask(right), Ok(Reply::Nothing));
    let mut writer = service.daemon.client();
    let set = attribute(&service, file, None, b"x");
    let number = writer.begin(set.clone());
    waiting(&service, 1);
    service.daemon.kill_worker();
    let waits = std::thread::spawn(move || writer.again(number, set));
    waiting(&service, 1);
    let respond = Request::RespondEvent {
        session,
        token,
        answer: Answer::Continue,
    };
    assert_eq!(service.client.ask(respond), Ok(Reply::Nothing));
    assert_eq!(waits.join().expect("it ends"), Some(Ok(Reply::Nothing)));
    service.end();
}
