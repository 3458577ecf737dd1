//! Lists, dispositions that come late, attributes of destroyed objects.

use dmapi::model::{Answer, DmError, EventBody, EventSet, EventType, Handle, Kinds};
use dmapi::proto::{Reply, Request};

use crate::common::Deadline;
use crate::service::{Service, serial};
use crate::support::until;

const ALL: EventSet = EventSet((1 << 23) - 1);

#[test]
fn an_access_waits_for_the_session_that_will_handle_it() {
    let _one = serial();
    let _deadline = Deadline::new("an_access_waits_for_the_session_that_will_handle_it", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    service.take(&[]);
    let mut reader = service.reader("file");
    until("the event", || {
        let status = service.daemon.status();
        (status.events_blocked == 1).then_some(())
    });
    service.daemon.kill_worker();
    service.daemon.status();
    reader.is_blocked();
    service.take(&[EventType::Read]);
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    service.end();
}

#[test]
fn lists_of_objects_and_file_systems_are_kept() {
    let _one = serial();
    let _deadline = Deadline::new("lists_of_objects_and_file_systems_are_kept", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.stub("file");
    let on_fs = Handle::Fs(service.id);
    let set = |service: &Service, handle, events: &[EventType]| Request::SetEventList {
        target: service.target(handle),
        events: EventSet::of(events),
        mask: ALL,
        extra_on_fs: EventSet(0),
    };
    let get = |service: &Service, handle| Request::GetEventList {
        target: service.target(handle),
    };
    let request = set(&service, file, &[EventType::Attribute]);
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    let request = set(&service, file, &[EventType::PreUnmount]);
    assert_eq!(service.client.ask(request), Err(DmError::Invalid));
    let request = set(&service, on_fs, &[EventType::PostCreate]);
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    for _ in 0..2 {
        // With what the regions enable.
        let list = [
            EventType::Attribute,
            EventType::Read,
            EventType::Write,
            EventType::Truncate,
        ];
        let request = get(&service, file);
        assert_eq!(
            service.client.ask(request),
            Ok(Reply::EventList(EventSet::of(&list)))
        );
        let request = get(&service, on_fs);
        let list = EventSet::of(&[EventType::PostCreate]);
        assert_eq!(service.client.ask(request), Ok(Reply::EventList(list)));
        service.daemon.kill_worker();
    }
    let request = Request::Enter {
        target: service.target(on_fs),
        right: dmapi::model::Right::Shared,
        kinds: Kinds::REGULAR,
        open: dmapi::model::OpenFor::Look,
    };
    assert_eq!(service.client.ask(request), Err(DmError::WrongKind));
    service.end();
}

#[test]
fn events_that_nobody_wants_are_counted() {
    let _one = serial();
    let _deadline = Deadline::new("events_that_nobody_wants_are_counted", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let request = Request::SetEventList {
        target: service.target(Handle::Fs(service.id)),
        events: EventSet::of(&[EventType::PostCreate]),
        mask: ALL,
        extra_on_fs: EventSet(0),
    };
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    let dropped = |service: &mut Service| match service.client.ask(Request::FileSystems) {
        Ok(Reply::FileSystems(entries)) => entries[0].dropped.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(dropped(&mut service), []);
    service.file("one");
    service.file("two");
    let both = [(EventType::PostCreate, 2)];
    until("both are counted", || {
        (dropped(&mut service) == both).then_some(())
    });
    // The next change takes the number into the journal.
    let session = service.client.create_session("takes it along");
    service.daemon.kill_worker();
    service.daemon.status();
    service.client.reconnect();
    assert_eq!(dropped(&mut service), both);
    let request = Request::DestroySession { session };
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    service.end();
}

#[test]
fn a_destroyed_file_leaves_its_attribute() {
    let _one = serial();
    let _deadline = Deadline::new("a_destroyed_file_leaves_its_attribute", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let (listed, plain) = (service.file("listed"), service.file("plain"));
    let name = *b"place\0\0\0";
    let value = vec![7; 300];
    for file in [listed, plain] {
        let request = Request::SetAttribute {
            target: service.target(file),
            name,
            set_dtime: false,
            value: value.clone(),
            sync: true,
        };
        assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    }
    let request = Request::SetReturnOnDestroy {
        target: service.target(Handle::Fs(service.id)),
        name,
        enable: true,
        answers_destroy: false,
    };
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    let request = Request::SetEventList {
        target: service.target(listed),
        events: EventSet::of(&[EventType::Destroy]),
        mask: ALL,
        extra_on_fs: EventSet(0),
    };
    assert_eq!(service.client.ask(request), Ok(Reply::Nothing));
    // The list of a file that is gone is known to the daemon alone, also to the next worker.
    service.daemon.kill_worker();
    service.daemon.status();
    std::fs::remove_file(service.fs.join("plain")).expect("removed");
    std::fs::remove_file(service.fs.join("listed")).expect("removed");
    let event = service.next_event();
    assert_eq!(event.kind, EventType::Destroy);
    assert_eq!(event.token, None);
    let copy = Some((name, value[..256].to_vec()));
    let handle = listed;
    assert_eq!(event.body, EventBody::Destroy { handle, copy });
    let request = Request::GetEventList {
        target: service.target(listed),
    };
    assert_eq!(service.client.ask(request), Err(DmError::BadHandle));
    service.end();
}

#[test]
fn a_busy_file_is_not_punched() {
    let _one = serial();
    let _deadline = Deadline::new("a_busy_file_is_not_punched", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let file = service.file("file");
    service.guard(file, 7);
    let open = {
        let path = service.fs.join("file");
        // The open is an event of the file's region only when it truncates; reading is.
        std::fs::File::open(path).expect("opened")
    };
    let punch = Request::PunchHole {
        target: service.target(file),
        offset: 0,
        length: 0,
    };
    assert_eq!(service.client.ask(punch.clone()), Err(DmError::Busy));
    drop(open);
    assert_eq!(service.client.ask(punch), Ok(Reply::Nothing));
    let reader = service.reader("file");
    let event = service.next_event();
    service.answer(&event, Answer::Abort(libc::EIO));
    drop(reader);
    service.end();
}
