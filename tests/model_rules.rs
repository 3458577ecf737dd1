//! The rules of the standard, one test each, on the model alone.

use dmapi::model::limits;
use dmapi::model::machine::{Kept, Place, changed_list};
use dmapi::model::{
    Answer, ClientId, DmError, Effect, Entry, Event, EventBody, EventSet, EventType, Fate, FsId,
    Handle, Kinds, Model, MountBody, NewEvent, Origin, Plan, Record, RequestId, Right, Sequence,
    Serial, SessionId, Token,
};

const FS: FsId = FsId(0xABCD);
const FS_HANDLE: Handle = Handle::Fs(FS);
const ALL: EventSet = EventSet((1 << 23) - 1);
const NAME: [u8; 8] = *b"state\0\0\0";

fn file(inode: u64) -> Handle {
    Handle::Object {
        fs: FS,
        inode,
        generation: 7,
    }
}

fn mount_body() -> MountBody {
    MountBody {
        mode: 0,
        fs: FS_HANDLE,
        mount_point: None,
        path: b"/mnt".to_vec(),
        device: b"/dev/x".to_vec(),
        root: file(2),
    }
}

/// A model, and shorthands that plan, apply and check the invariants.
struct Node {
    model: Model,
    effects: Vec<Effect>,
    serial: u64,
}

impl Node {
    fn new() -> Self {
        Self {
            model: Model::default(),
            effects: Vec::new(),
            serial: 0,
        }
    }

    fn with_fs() -> Self {
        let mut node = Self::new();
        node.run(|model| model.plan_add_fs(FS, mount_body()))
            .expect("a new file system");
        node
    }

    fn run<T>(
        &mut self,
        plan: impl FnOnce(&Model) -> Result<Plan<T>, DmError>,
    ) -> Result<T, DmError> {
        let Plan { records, value } = plan(&self.model)?;
        let entry = Entry {
            records,
            reply: None,
        };
        self.effects = self.model.apply(&entry).expect("a plan follows");
        self.model.check().expect("the invariants hold");
        Ok(value)
    }

    fn session(&mut self, info: &str) -> SessionId {
        self.run(|model| model.plan_create_session(None, info.as_bytes()))
            .expect("a session")
    }

    fn assume(&mut self, old: SessionId, info: &str) -> Result<SessionId, DmError> {
        self.run(|model| model.plan_create_session(Some(old), info.as_bytes()))
    }

    fn destroy(&mut self, session: SessionId) -> Result<(), DmError> {
        self.run(|model| model.plan_destroy_session(session))
    }

    fn user_event(&mut self, session: SessionId) -> Token {
        self.run(|model| model.plan_user_event(session, b"data".to_vec(), 1, 2))
            .expect("a user event")
    }

    fn send(&mut self, session: SessionId, waiter: Option<RequestId>, data: &[u8]) -> Sequence {
        self.run(|model| model.plan_send_message(session, waiter, data.to_vec(), 1, 2))
            .expect("a message")
    }

    fn receive(&mut self, session: SessionId) -> Result<Vec<Event>, DmError> {
        let events = self.model.next_messages(session, 0, 1 << 20, &|_| false)?;
        let sequences: Vec<Sequence> = events.iter().map(|event| event.sequence).collect();
        self.run(|model| model.plan_commit(session, &sequences))?;
        Ok(events)
    }

    fn respond(&mut self, session: SessionId, token: Token, answer: Answer) -> Result<(), DmError> {
        self.run(|model| model.plan_respond(session, token, answer))
    }

    fn event_of(&mut self, kind: EventType, origin: Origin) -> Fate {
        let body = match kind {
            EventType::Mount => EventBody::Mount(mount_body()),
            _ => EventBody::Data {
                handle: file(9),
                offset: 0,
                length: 1,
                mapped: None,
            },
        };
        self.run(|model| {
            model.plan_event(NewEvent {
                fs: FS,
                kind,
                body,
                origin,
                pid: 3,
                made_ms: 4,
            })
        })
        .expect("the file system is served")
    }

    fn source_event(&mut self, kind: EventType) -> (Serial, Fate) {
        self.serial += 1;
        let serial = Serial(self.serial);
        (serial, self.event_of(kind, Origin::Source(serial)))
    }

    fn set_disp(&mut self, session: SessionId, events: EventSet) -> Result<(), DmError> {
        self.run(|model| model.plan_set_disposition(session, FS_HANDLE, None, events, ALL))
    }

    fn want_mounts(&mut self, session: SessionId) {
        let mount = EventSet::of(&[EventType::Mount]);
        self.run(|model| model.plan_set_disposition(session, Handle::Global, None, mount, ALL))
            .expect("interest in mounts");
    }

    /// A session with an outstanding READ event.
    fn with_read(&mut self) -> (SessionId, Token) {
        let session = self.session("reader");
        self.set_disp(session, EventSet::of(&[EventType::Read]))
            .expect("a disposition");
        self.source_event(EventType::Read);
        let events = self.receive(session).expect("a message");
        (session, events[0].token.expect("READ is synchronous"))
    }

    fn right(
        &mut self,
        session: SessionId,
        handle: Handle,
        token: Token,
        right: Right,
        wait: bool,
    ) -> Result<bool, DmError> {
        let plan = self.model.plan_request_right(
            session,
            handle,
            Some(token),
            right,
            wait,
            Right::Null,
        )?;
        match plan {
            None => Ok(false),
            Some(plan) => self.run(|_| Ok(plan)).map(|()| true),
        }
    }

    fn query(&self, session: SessionId, handle: Handle, token: Token) -> Right {
        self.model
            .query_right(session, handle, Some(token))
            .expect("a query")
    }
}

fn request(number: u64) -> RequestId {
    RequestId {
        client: ClientId(77),
        number,
    }
}

// Sessions.

#[test]
fn a_string_of_255_bytes_is_kept_whole_and_256_are_too_big() {
    let mut node = Node::new();
    let longest = "x".repeat(255);
    let session = node.session(&longest);
    assert_eq!(node.model.session_info(session), Ok(longest.as_bytes()));
    let too_long = [b'x'; 256];
    assert_eq!(
        node.model.plan_create_session(None, &too_long),
        Err(DmError::TooBig { need: None })
    );
    assert_eq!(node.model.session_ids(), vec![session]);
}

#[test]
fn two_sessions_with_one_string_have_growing_ids() {
    let mut node = Node::new();
    let (one, two) = (node.session("same"), node.session("same"));
    assert!(one.0 >= 1 && one < two);
    assert_eq!(node.model.session_ids(), vec![one, two]);
}

#[test]
fn an_assumed_session_keeps_everything_but_its_id_and_string() {
    let mut node = Node::with_fs();
    let (old, token) = node.with_read();
    let answered = node.user_event(old);
    node.respond(old, answered, Answer::Continue).unwrap();
    node.send(old, None, b"queued");
    node.want_mounts(old);
    node.right(old, file(5), token, Right::Exclusive, false)
        .unwrap();
    let other = node.session("other");
    let new = node.assume(old, "again").unwrap();
    assert!(node.effects.contains(&Effect::Renamed { old, new }));
    assert_eq!(node.model.session_ids(), vec![other, new]);
    assert_eq!(node.model.session_info(new), Ok(&b"again"[..]));
    assert_eq!(node.model.tokens(new), Ok(vec![token]));
    assert_eq!(node.query(new, file(5), token), Right::Exclusive);
    assert_eq!(
        node.model.check_token(new, answered),
        Err(DmError::TokenGone)
    );
    assert!(node.model.wants_mounts(new));
    assert_eq!(node.model.disposition(FS, EventType::Read), Some(new));
    assert_eq!(node.receive(new).unwrap().len(), 1);
    assert_eq!(node.respond(new, token, Answer::Continue), Ok(()));
}

#[test]
fn a_superseded_id_is_invalid_everywhere() {
    let mut node = Node::with_fs();
    let old = node.session("old");
    let token = node.user_event(old);
    node.assume(old, "new").unwrap();
    let invalid = DmError::Invalid;
    assert_eq!(node.assume(old, "twice"), Err(invalid));
    assert_eq!(node.destroy(old), Err(invalid));
    let model = &node.model;
    assert_eq!(model.session_info(old), Err(invalid));
    assert_eq!(model.tokens(old), Err(invalid));
    assert_eq!(model.check_token(old, token), Err(invalid));
    assert_eq!(model.event_list(old, FS_HANDLE, None), Err(invalid));
    assert_eq!(model.dispositions_of(old), Err(invalid));
    assert_eq!(model.next_messages(old, 0, 100, &|_| false), Err(invalid));
}

#[test]
fn a_session_ends_only_without_messages() {
    let mut node = Node::with_fs();
    let session = node.session("ends");
    node.send(session, None, b"asynchronous");
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.receive(session).unwrap();
    let token = node.user_event(session);
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, token, Answer::Continue).unwrap();
    node.set_disp(session, EventSet::of(&[EventType::Read]))
        .unwrap();
    node.source_event(EventType::Read);
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    let events = node.receive(session).unwrap();
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, events[0].token.unwrap(), Answer::Continue)
        .unwrap();
    assert_eq!(node.destroy(session), Ok(()));
    assert_eq!(node.destroy(session), Err(DmError::Invalid));
    assert_eq!(node.model.disposition(FS, EventType::Read), None);
}

#[test]
fn the_number_of_sessions_is_limited() {
    let mut node = Node::new();
    let records = (1..=limits::SESSIONS_MAX as u32)
        .map(|id| Record::SessionCreated {
            session: SessionId(id),
            info: Vec::new(),
        })
        .collect();
    node.model
        .apply(&Entry {
            records,
            reply: None,
        })
        .unwrap();
    assert_eq!(
        node.model.plan_create_session(None, b"one more"),
        Err(DmError::NoMemory)
    );
    assert_eq!(node.assume(SessionId(1), "still").map(|id| id.0), Ok(8193));
}

// Messages.

#[test]
fn an_empty_queue_says_again() {
    let mut node = Node::new();
    let session = node.session("empty");
    assert_eq!(
        node.model.next_messages(session, 0, 100, &|_| false),
        Err(DmError::Again)
    );
}

#[test]
fn messages_come_in_order_and_by_count() {
    let mut node = Node::new();
    let session = node.session("queue");
    let sent: Vec<Sequence> = (0..3).map(|_| node.send(session, None, b"x")).collect();
    let sequences = |events: Vec<Event>| -> Vec<Sequence> {
        events.iter().map(|event| event.sequence).collect()
    };
    let take = |count| {
        node.model
            .next_messages(session, count, 4096, &|_| false)
            .map(sequences)
    };
    assert_eq!(take(1), Ok(sent[..1].to_vec()));
    assert_eq!(take(2), Ok(sent[..2].to_vec()));
    assert_eq!(take(0), Ok(sent));
}

#[test]
fn a_buffer_that_is_too_small_is_told_what_is_needed_and_the_message_stays() {
    let mut node = Node::new();
    let session = node.session("small");
    node.send(session, None, b"123456789");
    node.send(session, None, b"");
    let take = |bytes| node.model.next_messages(session, 0, bytes, &|_| false);
    assert_eq!(take(0), Err(DmError::need(48)));
    assert_eq!(take(47), Err(DmError::need(48)));
    assert_eq!(take(48).map(|events| events.len()), Ok(1));
    assert_eq!(take(79).map(|events| events.len()), Ok(1));
    assert_eq!(take(80).map(|events| events.len()), Ok(2));
    assert_eq!(take(u64::MAX).map(|events| events.len()), Ok(2));
}

#[test]
fn a_reserved_message_is_not_given_twice() {
    let mut node = Node::new();
    let session = node.session("reserved");
    let first = node.send(session, None, b"a");
    let second = node.send(session, None, b"b");
    let events = node
        .model
        .next_messages(session, 0, 4096, &|sequence| sequence == first)
        .unwrap();
    assert_eq!(events[0].sequence, second);
    assert_eq!(
        node.model.next_messages(session, 0, 4096, &|_| true),
        Err(DmError::Again)
    );
}

#[test]
fn receiving_makes_synchronous_messages_outstanding_and_ends_others() {
    let mut node = Node::new();
    let session = node.session("both");
    node.send(session, None, b"asynchronous");
    node.send(session, Some(request(1)), b"synchronous");
    assert_eq!(node.model.tokens(session), Ok(Vec::new()));
    let events = node.receive(session).unwrap();
    assert_eq!(events[0].token, None);
    let token = events[1].token.unwrap();
    assert_eq!(node.model.tokens(session), Ok(vec![token]));
    assert_eq!(node.model.find_event(session, token), Ok(&events[1]));
    assert_eq!(node.model.queued_count(session), 0);
}

#[test]
fn a_reservation_that_was_lost_cannot_be_committed() {
    let mut node = Node::new();
    let session = node.session("lost");
    let sequence = node.send(session, None, b"a");
    let twice = [sequence, sequence];
    assert_eq!(node.model.plan_commit(session, &twice), Err(DmError::Again));
    node.receive(session).unwrap();
    assert_eq!(
        node.model.plan_commit(session, &[sequence]),
        Err(DmError::Again)
    );
}

#[test]
fn a_message_may_be_as_long_as_the_limit() {
    let mut node = Node::new();
    let session = node.session("long");
    let longest = vec![7; limits::MESSAGE_DATA_BYTES_MAX];
    node.send(session, None, &longest);
    assert_eq!(
        node.receive(session).unwrap()[0].body,
        EventBody::User(longest)
    );
    let longer = vec![7; limits::MESSAGE_DATA_BYTES_MAX + 1];
    let too_big = DmError::TooBig { need: None };
    let model = &node.model;
    assert_eq!(
        model.plan_send_message(session, None, longer.clone(), 0, 0),
        Err(too_big)
    );
    assert_eq!(model.plan_user_event(session, longer, 0, 0), Err(too_big));
    assert_eq!(
        model.plan_send_message(SessionId(99), None, Vec::new(), 0, 0),
        Err(DmError::Invalid)
    );
}

#[test]
fn a_user_event_is_outstanding_at_once_and_never_queued() {
    let mut node = Node::new();
    let session = node.session("user");
    let token = node.user_event(session);
    assert!(token.0 > 0);
    assert_eq!(node.model.tokens(session), Ok(vec![token]));
    assert_eq!(node.receive(session), Err(DmError::Again));
    let event = node.model.find_event(session, token).unwrap();
    assert_eq!(event.body, EventBody::User(b"data".to_vec()));
    assert_eq!(event.kind, EventType::User);
}

#[test]
fn a_batch_fits_a_packet() {
    let mut node = Node::new();
    let session = node.session("batch");
    for _ in 0..limits::BATCH_EVENTS_MAX + 5 {
        node.model
            .plan_send_message(session, None, Vec::new(), 0, 0)
            .map(|plan| node.model.apply(&plan.into_entry()).unwrap())
            .unwrap();
    }
    let take = |node: &Node| {
        let events = node
            .model
            .next_messages(session, 0, u64::MAX, &|_| false)
            .unwrap();
        let reply = dmapi::proto::Back::Done {
            number: u64::MAX,
            outcome: Ok(dmapi::proto::Reply::Events(events.clone())),
        };
        assert!(dmapi::proto::encode(&reply).len() < dmapi::proto::PACKET_BYTES_MAX);
        events.len()
    };
    assert_eq!(take(&node), limits::BATCH_EVENTS_MAX);
    let other = node.session("bytes");
    for _ in 0..40 {
        node.send(other, None, &[1; limits::MESSAGE_DATA_BYTES_MAX]);
    }
    node.receive(session).unwrap();
    node.receive(session).unwrap();
    let events = node
        .model
        .next_messages(other, 0, u64::MAX, &|_| false)
        .unwrap();
    assert_eq!(events.len(), 24);
}

// Tokens and answers.

#[test]
fn a_token_is_good_once() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    assert_eq!(
        node.respond(session, token, Answer::Continue),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.find_event(session, token),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.query_right(session, file(1), Some(token)),
        Err(DmError::TokenGone)
    );
}

#[test]
fn a_token_never_issued_is_invalid() {
    let mut node = Node::new();
    let session = node.session("guess");
    node.user_event(session);
    for number in [0, 2, 100, limits::ID_MAX, u32::MAX] {
        assert_eq!(
            node.model.check_token(session, Token(number)),
            Err(DmError::Invalid)
        );
    }
}

#[test]
fn a_token_of_another_session_is_invalid_alive_and_answered() {
    let mut node = Node::new();
    let (owner, other) = (node.session("owner"), node.session("other"));
    let token = node.user_event(owner);
    assert_eq!(node.model.check_token(other, token), Err(DmError::Invalid));
    node.respond(owner, token, Answer::Continue).unwrap();
    assert_eq!(node.model.check_token(other, token), Err(DmError::Invalid));
    assert_eq!(
        node.model.check_token(owner, token),
        Err(DmError::TokenGone)
    );
}

#[test]
fn the_token_of_an_undelivered_event_is_gone_for_its_session() {
    let mut node = Node::new();
    let session = node.session("undelivered");
    let sequence = node.send(session, Some(request(1)), b"x");
    let token = node.model.event(sequence).unwrap().0.token.unwrap();
    assert_eq!(
        node.model.find_event(session, token),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.respond(session, token, Answer::Continue),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.plan_move(session, token, session),
        Err(DmError::TokenGone)
    );
}

#[test]
fn tokens_answered_long_ago_are_still_known_as_issued() {
    let mut node = Node::new();
    let session = node.session("many");
    let first = node.user_event(session);
    node.respond(session, first, Answer::Continue).unwrap();
    for _ in 0..limits::ANSWERED_MAX + 10 {
        for step in 0..2 {
            let model = &mut node.model;
            let entry = match step {
                0 => model
                    .plan_user_event(session, Vec::new(), 0, 0)
                    .unwrap()
                    .into_entry(),
                _ => {
                    let token = model.tokens(session).unwrap()[0];
                    model
                        .plan_respond(session, token, Answer::Continue)
                        .unwrap()
                        .into_entry()
                }
            };
            model.apply(&entry).unwrap();
        }
    }
    node.model.check().unwrap();
    assert_eq!(
        node.model.check_token(session, first),
        Err(DmError::TokenGone)
    );
}

#[test]
fn an_answer_reaches_the_operation_unchanged() {
    let mut node = Node::with_fs();
    let session = node.session("answers");
    node.set_disp(session, EventSet::of(&[EventType::Write]))
        .unwrap();
    for answer in [Answer::Continue, Answer::Abort(1), Answer::Abort(133)] {
        let (serial, _) = node.source_event(EventType::Write);
        assert!(node.model.knows(serial));
        let token = node.receive(session).unwrap()[0].token.unwrap();
        node.respond(session, token, answer).unwrap();
        let origin = Origin::Source(serial);
        assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
        assert!(!node.model.knows(serial));
    }
}

#[test]
fn a_bad_answer_leaves_the_event_outstanding() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    for answer in [Answer::Abort(0), Answer::Abort(-5), Answer::DontCare] {
        assert_eq!(node.respond(session, token, answer), Err(DmError::Invalid));
    }
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
}

#[test]
fn an_answer_ends_rights_and_holds() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    node.right(session, file(5), token, Right::Exclusive, false)
        .unwrap();
    node.run(|model| model.plan_hold(session, file(6), Some(token)))
        .unwrap();
    assert!(node.model.is_fs_in_use(FS));
    node.respond(session, token, Answer::Continue).unwrap();
    assert!(node.effects.contains(&Effect::RightsReleased {
        handles: vec![file(5), file(6)]
    }));
    assert!(!node.model.is_fs_in_use(FS));
}

#[test]
fn a_synchronous_message_answers_its_sender_also_after_a_restart() {
    let mut node = Node::new();
    let session = node.session("sender");
    let sequence = node.send(session, Some(request(5)), b"ask");
    assert_eq!(node.model.kept(request(5)), Kept::Waits(sequence));
    assert_eq!(node.model.kept(request(6)), Kept::Unknown);
    let token = node.receive(session).unwrap()[0].token.unwrap();
    node.respond(session, token, Answer::Abort(28)).unwrap();
    let origin = Origin::Request(request(5));
    let answer = Answer::Abort(28);
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
    assert_eq!(node.model.kept(request(5)), Kept::Answered(answer));
    let client = ClientId(77);
    assert_eq!(node.model.clients(), vec![client]);
    node.run(|model| Ok(model.plan_client_gone(client)))
        .unwrap();
    assert_eq!(node.model.kept(request(5)), Kept::Unknown);
    assert!(node.model.plan_client_gone(client).records.is_empty());
}

#[test]
fn a_kept_reply_lasts_until_the_next_one() {
    let mut model = Model::default();
    let entry = |number| Entry {
        records: Vec::new(),
        reply: Some((request(number), vec![number as u8])),
    };
    model.apply(&entry(1)).unwrap();
    assert_eq!(model.kept(request(1)), Kept::Reply(vec![1]));
    model.apply(&entry(2)).unwrap();
    assert_eq!(model.kept(request(1)), Kept::Unknown);
    assert_eq!(model.kept(request(2)), Kept::Reply(vec![2]));
}

#[test]
fn kept_replies_are_limited_and_the_oldest_goes() {
    let mut model = Model::default();
    for client in 0..=limits::KEPT_REPLIES_MAX as u64 {
        let id = RequestId {
            client: ClientId(u64::MAX - client),
            number: 1,
        };
        model
            .apply(&Entry {
                records: Vec::new(),
                reply: Some((id, Vec::new())),
            })
            .unwrap();
    }
    model.check().unwrap();
    assert_eq!(model.clients().len(), limits::KEPT_REPLIES_MAX);
    assert!(!model.clients().contains(&ClientId(u64::MAX)));
}

// Moving.

#[test]
fn a_moved_event_belongs_to_the_new_session_with_its_rights() {
    let mut node = Node::with_fs();
    let (from, token) = node.with_read();
    let to = node.session("target");
    node.right(from, file(5), token, Right::Shared, false)
        .unwrap();
    assert_eq!(
        node.run(|model| model.plan_move(from, token, to)),
        Ok(token)
    );
    assert_eq!(node.model.find_event(from, token), Err(DmError::Invalid));
    assert_eq!(node.query(to, file(5), token), Right::Shared);
    assert_eq!(node.respond(to, token, Answer::Continue), Ok(()));
    assert!(matches!(
        node.effects[..],
        [Effect::RightsReleased { .. }, Effect::Answered { .. }]
    ));
    assert_eq!(node.model.check_token(from, token), Err(DmError::Invalid));
}

#[test]
fn moving_to_the_same_session_changes_nothing() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let before = node.model.clone();
    node.run(|model| model.plan_move(session, token, session))
        .unwrap();
    assert_eq!(node.model, before);
}

#[test]
fn moving_tells_whose_fault_it_is() {
    let mut node = Node::new();
    let (one, two) = (node.session("one"), node.session("two"));
    let token = node.user_event(one);
    let gone = node.user_event(one);
    node.respond(one, gone, Answer::Continue).unwrap();
    let stranger = SessionId(1000);
    let model = &node.model;
    assert_eq!(model.plan_move(one, token, stranger), Err(DmError::Invalid));
    assert_eq!(model.plan_move(stranger, token, one), Err(DmError::Invalid));
    assert_eq!(model.plan_move(two, token, one), Err(DmError::NotFound));
    assert_eq!(model.plan_move(one, gone, two), Err(DmError::TokenGone));
    assert_eq!(
        model.plan_move(one, Token(1000), two),
        Err(DmError::Invalid)
    );
    assert_eq!(model.check_token(one, token), Ok(()));
}

// Events of file systems.

#[test]
fn a_data_event_without_a_disposition_waits_for_one() {
    let mut node = Node::with_fs();
    let (serial, fate) = node.source_event(EventType::Read);
    let Fate::Waits { sequence } = fate else {
        panic!("{fate:?}");
    };
    assert!(node.model.knows(serial));
    assert_eq!(node.model.event(sequence).unwrap().1, Place::Waiting(FS));
    let session = node.session("late");
    node.set_disp(session, EventSet::of(&[EventType::Write]))
        .unwrap();
    assert_eq!(node.receive(session), Err(DmError::Again));
    node.set_disp(session, EventSet::of(&[EventType::Read]))
        .unwrap();
    assert!(node.effects.contains(&Effect::Queued { session }));
    assert_eq!(node.receive(session).unwrap()[0].sequence, sequence);
}

#[test]
fn an_asynchronous_event_without_a_disposition_is_dropped_and_counted() {
    let mut node = Node::with_fs();
    let fate = node.event_of(EventType::Attribute, Origin::Nobody);
    assert_eq!(fate, Fate::Dropped);
    let counts: Vec<_> = node.model.unwanted().collect();
    assert_eq!(counts, vec![(FS, EventType::Attribute, 1)]);
    assert_eq!(node.model.live_events().count(), 0);
}

#[test]
fn an_unmount_without_a_disposition_proceeds() {
    let mut node = Node::with_fs();
    let waiter = Origin::Request(request(1));
    assert_eq!(node.event_of(EventType::PreUnmount, waiter), Fate::Proceeds);
    assert_eq!(
        node.event_of(EventType::Unmount, Origin::Nobody),
        Fate::Dropped
    );
}

#[test]
fn an_unmount_event_has_a_token_that_must_be_answered() {
    let mut node = Node::with_fs();
    let session = node.session("unmount");
    node.set_disp(session, EventSet::of(&[EventType::Unmount]))
        .unwrap();
    node.event_of(EventType::Unmount, Origin::Nobody);
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    let token = node.receive(session).unwrap()[0].token.unwrap();
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, token, Answer::Continue).unwrap();
    assert_eq!(node.effects, Vec::new());
}

#[test]
fn an_event_of_an_unknown_file_system_is_refused() {
    let node = Node::new();
    let new = NewEvent {
        fs: FS,
        kind: EventType::Read,
        body: EventBody::User(Vec::new()),
        origin: Origin::Source(Serial(1)),
        pid: 0,
        made_ms: 0,
    };
    assert_eq!(node.model.plan_event(new), Err(DmError::BadHandle));
}

#[test]
fn a_source_that_tells_an_event_again_makes_no_second_one() {
    let mut node = Node::with_fs();
    let (serial, fate) = node.source_event(EventType::Read);
    let again = node.event_of(EventType::Read, Origin::Source(serial));
    let (Fate::Waits { sequence }, Fate::Known { sequence: known }) = (fate, again) else {
        panic!("{fate:?} {again:?}");
    };
    assert_eq!(sequence, known);
    assert_eq!(node.model.source_events(), vec![(serial, sequence)]);
}

#[test]
fn an_undelivered_event_is_withdrawn_and_a_delivered_one_is_orphaned() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let delivered = Serial(node.serial);
    let (queued, _) = node.source_event(EventType::Read);
    let (reserved, _) = node.source_event(EventType::Read);
    let (waiting, _) = node.source_event(EventType::Truncate);
    for (serial, is_reserved) in [
        (delivered, false),
        (queued, false),
        (reserved, true),
        (waiting, false),
    ] {
        let plan = node.model.plan_withdraw(serial, &|_| is_reserved).unwrap();
        node.run(|_| Ok(plan)).unwrap();
        assert!(!node.model.knows(serial));
        assert_eq!(node.model.plan_withdraw(serial, &|_| false), None);
    }
    assert_eq!(node.model.queued_count(session), 1);
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    assert_eq!(node.effects, Vec::new());
}

#[test]
fn a_dropped_file_system_ends_what_belongs_to_it() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let (waiting, _) = node.source_event(EventType::Write);
    node.right(session, FS_HANDLE, token, Right::Shared, false)
        .unwrap();
    let list = EventSet::of(&[EventType::Attribute]);
    node.run(|model| model.plan_set_event_list(session, FS_HANDLE, None, list, ALL, EventSet(0)))
        .unwrap();
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    let origin = Origin::Source(waiting);
    let answer = Answer::Abort(5);
    assert!(node.effects.contains(&Effect::Answered { origin, answer }));
    assert!(node.effects.contains(&Effect::RightsReleased {
        handles: vec![FS_HANDLE]
    }));
    assert_eq!(node.model.dispositions_of(session), Ok(Vec::new()));
    assert_eq!(
        node.model.event_list(session, FS_HANDLE, None),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        node.model.query_right(session, file(1), Some(token)),
        Err(DmError::BadHandle)
    );
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    node.run(|model| model.plan_add_fs(FS, mount_body()))
        .unwrap();
    assert_eq!(
        node.model.event_list(session, FS_HANDLE, None),
        Ok(EventSet(0))
    );
}

// Mounts.

#[test]
fn a_mount_is_offered_in_order_of_creation_until_somebody_cares() {
    let mut node = Node::with_fs();
    let (one, _none, three) = (node.session("1"), node.session("2"), node.session("3"));
    node.want_mounts(three);
    node.want_mounts(one);
    let origin = Origin::Request(request(1));
    node.event_of(EventType::Mount, origin);
    let first = node.receive(one).unwrap()[0].clone();
    assert_eq!(node.receive(three), Err(DmError::Again));
    let token = first.token.unwrap();
    node.right(one, FS_HANDLE, token, Right::Exclusive, true)
        .unwrap();
    node.respond(one, token, Answer::DontCare).unwrap();
    assert!(node.effects.contains(&Effect::Queued { session: three }));
    assert_eq!(node.model.check_token(one, token), Err(DmError::TokenGone));
    let second = node.receive(three).unwrap()[0].clone();
    assert_eq!(second.sequence, first.sequence);
    assert_ne!(second.token, first.token);
    let answer = Answer::Abort(13);
    node.respond(three, second.token.unwrap(), answer).unwrap();
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
}

#[test]
fn a_mount_that_nobody_cares_for_proceeds() {
    let mut node = Node::with_fs();
    let origin = Origin::Request(request(1));
    assert_eq!(node.event_of(EventType::Mount, origin), Fate::Proceeds);
    let session = node.session("careless");
    node.want_mounts(session);
    node.event_of(EventType::Mount, origin);
    let token = node.receive(session).unwrap()[0].token.unwrap();
    // Assumption must not have the same application asked twice.
    let session = node.assume(session, "careless").unwrap();
    node.respond(session, token, Answer::DontCare).unwrap();
    let answer = Answer::Continue;
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
    assert_eq!(node.model.live_events().count(), 0);
}

#[test]
fn a_session_that_was_assumed_is_not_asked_again() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    node.want_mounts(one);
    node.want_mounts(two);
    node.event_of(EventType::Mount, Origin::Request(request(1)));
    let token = node.receive(one).unwrap()[0].token.unwrap();
    node.respond(one, token, Answer::DontCare).unwrap();
    node.assume(one, "1 again").unwrap();
    let token = node.receive(two).unwrap()[0].token.unwrap();
    node.respond(two, token, Answer::DontCare).unwrap();
    assert_eq!(node.model.live_events().count(), 0);
}

// Dispositions and lists.

#[test]
fn dispositions_on_a_file_system_take_what_can_happen_on_it() {
    let mut node = Node::with_fs();
    let session = node.session("disp");
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        let expected = match kind {
            EventType::Mount | EventType::User | EventType::Cancel => Err(DmError::Invalid),
            _ => Ok(()),
        };
        assert_eq!(
            node.set_disp(session, EventSet::of(&[kind])),
            expected,
            "{kind:?}"
        );
    }
}

#[test]
fn dispositions_on_the_global_handle_take_mount_only() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let set = |node: &Node, events, token| {
        node.model
            .plan_set_disposition(session, Handle::Global, token, events, ALL)
            .map(|_| ())
    };
    let mount = EventSet::of(&[EventType::Mount]);
    assert_eq!(set(&node, mount, None), Ok(()));
    assert_eq!(set(&node, EventSet(0), None), Ok(()));
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        if kind != EventType::Mount {
            let events = EventSet::of(&[kind]);
            assert_eq!(set(&node, events, None), Err(DmError::Invalid), "{kind:?}");
        }
    }
    assert_eq!(set(&node, mount, Some(token)), Err(DmError::Invalid));
    node.want_mounts(session);
    assert!(node.model.wants_mounts(session));
    // Mount interest is not among the dispositions that are told.
    let read = EventSet::of(&[EventType::Read]);
    assert_eq!(node.model.dispositions_of(session), Ok(vec![(FS, read)]));
}

#[test]
fn dispositions_are_not_for_objects() {
    let mut node = Node::with_fs();
    let session = node.session("object");
    let read = EventSet::of(&[EventType::Read]);
    let set = |handle| {
        node.model
            .plan_set_disposition(session, handle, None, read, ALL)
            .map(|_| ())
    };
    assert_eq!(set(file(4)), Err(DmError::WrongKind));
    assert_eq!(set(Handle::Fs(FsId(1))), Err(DmError::BadHandle));
}

#[test]
fn bits_from_maxevent_on_are_ignored() {
    let mut node = Node::with_fs();
    let session = node.session("mask");
    let kind = EventType::Read;
    let events = EventSet::of(&[kind, EventType::User]);
    let mask = |maxevent: u32| EventSet((1 << maxevent) - 1);
    for (maxevent, expected) in [(kind as u32 + 1, Some(session)), (kind as u32, None)] {
        node.run(|model| {
            model.plan_set_disposition(session, FS_HANDLE, None, events, mask(maxevent))
        })
        .unwrap();
        assert_eq!(node.model.disposition(FS, kind), expected);
    }
}

#[test]
fn the_newest_registration_takes_over() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    node.set_disp(one, EventSet::of(&[EventType::Read, EventType::Write]))
        .unwrap();
    node.source_event(EventType::Read);
    node.set_disp(two, EventSet::of(&[EventType::Read]))
        .unwrap();
    assert!(node.effects.contains(&Effect::InterestChanged { fs: FS }));
    let write = EventSet::of(&[EventType::Write]);
    let read = EventSet::of(&[EventType::Read]);
    assert_eq!(node.model.dispositions_of(one), Ok(vec![(FS, write)]));
    assert_eq!(node.model.dispositions_of(two), Ok(vec![(FS, read)]));
    // What was queued stays with the old one.
    assert_eq!(node.receive(one).unwrap().len(), 1);
    node.source_event(EventType::Read);
    assert_eq!(node.receive(two).unwrap().len(), 1);
    // Dropping what is not one's own leaves it alone.
    node.set_disp(one, EventSet(0)).unwrap();
    assert_eq!(node.model.dispositions_of(one), Ok(Vec::new()));
    assert_eq!(node.model.dispositions_of(two), Ok(vec![(FS, read)]));
}

#[test]
fn event_lists_take_what_the_kind_of_object_can_have() {
    use EventType::*;
    let namespace = [
        Create,
        PostCreate,
        Remove,
        PostRemove,
        Rename,
        PostRename,
        Link,
        PostLink,
        Symlink,
        PostSymlink,
    ];
    let object = [Attribute, Destroy, Close];
    let fs = [PreUnmount, Unmount, NoSpace];
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        let of = |kinds| changed_list(kinds, EventSet(0), EventSet::of(&[kind]), ALL).is_ok();
        let on_object = object.contains(&kind);
        let on_directory = on_object || namespace.contains(&kind);
        assert_eq!(of(Kinds::REGULAR), on_object, "{kind:?}");
        assert_eq!(of(Kinds::SYMLINK), on_object, "{kind:?}");
        assert_eq!(of(Kinds::DIRECTORY), on_directory, "{kind:?}");
        assert_eq!(
            of(Kinds::FS),
            on_directory || fs.contains(&kind),
            "{kind:?}"
        );
        assert!(!of(Kinds::GLOBAL), "{kind:?}");
    }
}

#[test]
fn a_list_keeps_the_bits_that_are_not_replaced() {
    use EventType::{Attribute, Close, Destroy, Read};
    let old = EventSet::of(&[Close, Destroy, Read]);
    let mask = EventSet((1 << (Attribute as u32 + 1)) - 1);
    let new = changed_list(Kinds::REGULAR, old, EventSet::of(&[Attribute]), mask);
    assert_eq!(new, Ok(EventSet::of(&[Attribute, Destroy, Read])));
}

#[test]
fn the_list_of_a_file_system_is_read_back_and_stays_when_a_change_fails() {
    let mut node = Node::with_fs();
    let session = node.session("list");
    let set = EventSet::of(&[EventType::Create, EventType::NoSpace]);
    assert_eq!(
        node.run(|model| model.plan_set_event_list(
            session,
            FS_HANDLE,
            None,
            set,
            ALL,
            EventSet(0)
        )),
        Ok(set)
    );
    for kind in [
        EventType::Debut,
        EventType::Read,
        EventType::Mount,
        EventType::User,
    ] {
        let bad = EventSet::of(&[kind]);
        assert_eq!(
            node.run(|model| model.plan_set_event_list(
                session,
                FS_HANDLE,
                None,
                bad,
                ALL,
                EventSet(0)
            )),
            Err(DmError::Invalid)
        );
    }
    assert_eq!(node.model.event_list(session, FS_HANDLE, None), Ok(set));
    assert_eq!(
        node.model.event_list(session, Handle::Global, None),
        Err(DmError::Invalid)
    );
}

#[test]
fn calls_on_a_file_system_check_the_right_of_the_token() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let set = |node: &Node| {
        node.model
            .plan_set_disposition(session, FS_HANDLE, Some(token), EventSet(0), ALL)
            .map(|_| ())
    };
    let look = |node: &Node| node.model.event_list(session, FS_HANDLE, Some(token));
    assert_eq!(set(&node), Err(DmError::NoRight));
    assert_eq!(look(&node), Err(DmError::NoRight));
    node.right(session, FS_HANDLE, token, Right::Shared, false)
        .unwrap();
    assert_eq!(set(&node), Err(DmError::NoRight));
    assert_eq!(look(&node), Ok(EventSet(0)));
    assert!(
        node.model
            .mount_info(session, FS_HANDLE, Some(token))
            .is_ok()
    );
    node.right(session, FS_HANDLE, token, Right::Exclusive, false)
        .unwrap();
    assert_eq!(set(&node), Ok(()));
    // Rights on the file system do not cover its objects.
    assert_eq!(node.query(session, file(2), token), Right::Null);
}

// Return-on-destroy.

fn set_return(node: &mut Node, session: SessionId, enable: bool) -> Result<(), DmError> {
    node.run(|model| model.plan_return_on_destroy(session, FS_HANDLE, None, NAME, enable))
}

#[test]
fn return_on_destroy_takes_the_disposition_and_ends_only_by_its_owner() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    assert_eq!(set_return(&mut node, one, false), Err(DmError::Invalid));
    set_return(&mut node, one, true).unwrap();
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(one));
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    assert_eq!(set_return(&mut node, two, false), Err(DmError::Invalid));
    set_return(&mut node, two, true).unwrap();
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(two));
    assert_eq!(set_return(&mut node, one, false), Err(DmError::Invalid));
    set_return(&mut node, two, false).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(two));
}

#[test]
fn return_on_destroy_needs_a_name_and_a_file_system() {
    let mut node = Node::with_fs();
    let session = node.session("name");
    let plan = |handle, name| {
        node.model
            .plan_return_on_destroy(session, handle, None, name, true)
            .map(|_| ())
    };
    assert_eq!(plan(FS_HANDLE, [0; 8]), Err(DmError::Invalid));
    assert_eq!(plan(file(3), NAME), Err(DmError::WrongKind));
    assert_eq!(plan(Handle::Global, NAME), Err(DmError::BadHandle));
}

#[test]
fn the_returned_attribute_follows_the_disposition_of_destroy() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    let destroy = EventSet::of(&[EventType::Destroy]);
    set_return(&mut node, one, true).unwrap();
    // Renewed by its owner: kept.
    node.set_disp(one, destroy).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    // Dropped by its owner: cleared.
    node.set_disp(one, EventSet(0)).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    // Taken over by dm_set_disp: cleared.
    set_return(&mut node, one, true).unwrap();
    node.set_disp(two, destroy).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    // Ends with the session.
    set_return(&mut node, two, true).unwrap();
    node.destroy(two).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    assert_eq!(node.model.disposition(FS, EventType::Destroy), None);
}

#[test]
fn the_returned_attribute_goes_on_with_an_assumed_session() {
    let mut node = Node::with_fs();
    let session = node.session("owner");
    set_return(&mut node, session, true).unwrap();
    let session = node.assume(session, "owner").unwrap();
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    assert_eq!(set_return(&mut node, session, false), Ok(()));
}

// Rights and holds.

#[test]
fn one_token_asks_for_rights_in_every_order() {
    use Right::{Exclusive, Null, Shared};
    for handle in [file(5), FS_HANDLE] {
        let mut node = Node::with_fs();
        let session = node.session("rights");
        let token = node.user_event(session);
        let mut ask = |right, wait| node.right(session, handle, token, right, wait);
        assert_eq!(ask(Null, false), Err(DmError::Invalid));
        assert_eq!(ask(Shared, false), Ok(true));
        assert_eq!(ask(Shared, true), Ok(true));
        assert_eq!(ask(Exclusive, true), Err(DmError::NoRight));
        assert_eq!(ask(Exclusive, false), Ok(true));
        assert_eq!(ask(Exclusive, true), Ok(true));
        assert_eq!(ask(Shared, true), Ok(true));
    }
}

#[test]
fn right_calls_need_a_token_and_a_handle_that_can_be_held() {
    let mut node = Node::with_fs();
    let session = node.session("rights");
    let token = Some(node.user_event(session));
    let model = &node.model;
    let shared = Right::Shared;
    let ask = |handle, token| {
        model
            .plan_request_right(session, handle, token, shared, false, Right::Null)
            .map(|_| ())
    };
    assert_eq!(ask(file(1), None), Err(DmError::Invalid));
    assert_eq!(ask(Handle::Global, token), Err(DmError::BadHandle));
    assert_eq!(ask(Handle::Fs(FsId(3)), token), Err(DmError::BadHandle));
    assert_eq!(
        model.query_right(session, file(1), None),
        Err(DmError::Invalid)
    );
    assert_eq!(
        model.plan_hold(session, FS_HANDLE, token).map(|_| ()),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        model.plan_hold(session, Handle::Global, token).map(|_| ()),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        model.plan_hold(session, file(1), None).map(|_| ()),
        Err(DmError::Invalid)
    );
}

#[test]
fn tokens_of_one_session_conflict_like_those_of_two() {
    use Right::{Exclusive, Shared};
    let mut node = Node::with_fs();
    let session = node.session("two tokens");
    let other = node.session("third token");
    let (one, two) = (node.user_event(session), node.user_event(session));
    let three = node.user_event(other);
    node.right(session, file(5), one, Shared, false).unwrap();
    assert_eq!(node.right(session, file(5), two, Shared, false), Ok(true));
    assert_eq!(
        node.right(other, file(5), three, Exclusive, false),
        Err(DmError::Again)
    );
    assert_eq!(
        node.right(other, file(5), three, Exclusive, true),
        Ok(false)
    );
    assert_eq!(
        node.right(session, file(5), one, Exclusive, false),
        Err(DmError::Again)
    );
    node.respond(session, one, Answer::Continue).unwrap();
    let handles = vec![file(5)];
    assert!(node.effects.contains(&Effect::RightsReleased { handles }));
    node.run(|model| model.plan_release_right(session, file(5), Some(two)))
        .unwrap();
    assert_eq!(node.right(other, file(5), three, Exclusive, true), Ok(true));
    for right in [Shared, Exclusive] {
        assert_eq!(
            node.right(session, file(5), two, right, false),
            Err(DmError::Again)
        );
    }
}

#[test]
fn rights_of_running_calls_conflict_with_those_of_tokens() {
    use Right::{Exclusive, Null, Shared};
    let mut node = Node::with_fs();
    let session = node.session("calls");
    let token = node.user_event(session);
    let ask = |right, calls| {
        node.model
            .plan_request_right(session, file(5), Some(token), right, false, calls)
            .map(|_| ())
    };
    assert_eq!(ask(Shared, Shared), Ok(()));
    assert_eq!(ask(Shared, Exclusive), Err(DmError::Again));
    assert_eq!(ask(Exclusive, Shared), Err(DmError::Again));
    assert_eq!(ask(Exclusive, Null), Ok(()));
    node.right(session, file(5), token, Shared, false).unwrap();
    let upgrade = |calls| {
        node.model
            .plan_upgrade_right(session, file(5), Some(token), calls)
            .map(|_| ())
    };
    assert_eq!(upgrade(Shared), Err(DmError::Again));
    assert_eq!(upgrade(Null), Ok(()));
    assert_eq!(node.model.strongest_right(file(5), None), Shared);
    assert_eq!(node.model.strongest_right(file(5), Some(token)), Null);
}

#[test]
fn upgrade_downgrade_and_release_need_what_they_change() {
    use Right::{Exclusive, Null, Shared};
    let mut node = Node::with_fs();
    let session = node.session("steps");
    let token = node.user_event(session);
    let t = Some(token);
    let up =
        |node: &mut Node| node.run(|model| model.plan_upgrade_right(session, file(5), t, Null));
    let down = |node: &mut Node| node.run(|model| model.plan_downgrade_right(session, file(5), t));
    let release = |node: &mut Node| node.run(|model| model.plan_release_right(session, file(5), t));
    assert_eq!(node.query(session, file(5), token), Null);
    assert_eq!(up(&mut node), Err(DmError::NotPermitted));
    assert_eq!(down(&mut node), Err(DmError::NotPermitted));
    assert_eq!(release(&mut node), Err(DmError::NoRight));
    node.right(session, file(5), token, Shared, false).unwrap();
    assert_eq!(down(&mut node), Err(DmError::NotPermitted));
    assert_eq!(up(&mut node), Ok(()));
    assert_eq!(up(&mut node), Ok(()));
    assert_eq!(node.query(session, file(5), token), Exclusive);
    assert_eq!(down(&mut node), Ok(()));
    let handles = vec![file(5)];
    assert_eq!(node.effects, vec![Effect::RightsReleased { handles }]);
    assert_eq!(node.query(session, file(5), token), Shared);
    assert_eq!(release(&mut node), Ok(()));
    assert_eq!(node.query(session, file(5), token), Null);
    assert_eq!(release(&mut node), Err(DmError::NoRight));
}

#[test]
fn rights_on_a_directory_or_file_system_cover_nothing_else() {
    let mut node = Node::with_fs();
    let session = node.session("cover");
    let (one, two) = (node.user_event(session), node.user_event(session));
    for handle in [FS_HANDLE, file(2)] {
        node.right(session, handle, one, Right::Exclusive, false)
            .unwrap();
    }
    assert_eq!(
        node.right(session, file(3), two, Right::Exclusive, false),
        Ok(true)
    );
}

#[test]
fn a_hold_is_per_token_and_conveys_no_right() {
    let mut node = Node::with_fs();
    let session = node.session("hold");
    let (one, two) = (node.user_event(session), node.user_event(session));
    let hold =
        |node: &mut Node, token| node.run(|model| model.plan_hold(session, file(5), Some(token)));
    let release = |node: &mut Node, token| {
        node.run(|model| model.plan_release_hold(session, file(5), Some(token)))
    };
    let held = |node: &Node, token| node.model.query_hold(session, file(5), Some(token));
    assert_eq!(held(&node, one), Ok(false));
    assert_eq!(release(&mut node, one), Err(DmError::NoRight));
    assert_eq!(hold(&mut node, one), Ok(()));
    assert_eq!(hold(&mut node, one), Err(DmError::Busy));
    assert_eq!(hold(&mut node, two), Ok(()));
    assert_eq!(held(&node, one), Ok(true));
    assert_eq!(node.query(session, file(5), one), Right::Null);
    node.right(session, file(5), one, Right::Shared, false)
        .unwrap();
    node.run(|model| model.plan_release_right(session, file(5), Some(one)))
        .unwrap();
    assert_eq!(held(&node, one), Ok(true));
    assert_eq!(release(&mut node, one), Ok(()));
    assert_eq!(held(&node, one), Ok(false));
    assert_eq!(release(&mut node, one), Err(DmError::NoRight));
    assert!(node.model.is_in_use(file(5)));
    node.respond(session, two, Answer::Continue).unwrap();
    assert!(!node.model.is_in_use(file(5)));
}

// Applying.

#[test]
fn an_entry_that_fails_in_the_middle_changes_nothing() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let before = node.model.clone();
    let entry = Entry {
        records: vec![
            Record::SessionCreated {
                session: SessionId(50),
                info: b"new".to_vec(),
            },
            Record::RightSet {
                token,
                handle: file(5),
                right: Right::Shared,
            },
            Record::EventAnswered {
                session,
                token,
                answer: Answer::Continue,
            },
            Record::FsDropped { fs: FS },
            Record::EventAnswered {
                session,
                token,
                answer: Answer::Continue,
            },
        ],
        reply: Some((request(3), vec![1])),
    };
    let corrupt = node.model.apply(&entry).unwrap_err();
    assert!(corrupt.why.contains("not outstanding"), "{corrupt}");
    assert_eq!(node.model, before);
}

#[test]
fn records_that_cannot_follow_are_corrupt() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let old = node.user_event(session);
    let stranger = SessionId(999);
    let event = node.model.find_event(session, token).unwrap().clone();
    let records = [
        Record::SessionCreated {
            session,
            info: Vec::new(),
        },
        Record::SessionAssumed {
            old: stranger,
            new: SessionId(1000),
            info: Vec::new(),
        },
        Record::SessionDestroyed { session },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: event.clone(),
        },
        Record::EventQueued {
            session: None,
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(Token(900)),
                origin: Origin::Nobody,
                ..event.clone()
            },
        },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(old),
                origin: Origin::Nobody,
                ..event.clone()
            },
        },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(Token(900)),
                ..event.clone()
            },
        },
        Record::EventsReceived {
            session,
            sequences: vec![event.sequence],
        },
        Record::EventAnswered {
            session,
            token,
            answer: Answer::DontCare,
        },
        Record::EventMoved {
            from: session,
            token,
            to: stranger,
        },
        Record::EventWithdrawn {
            sequence: event.sequence,
        },
        Record::EventOrphaned {
            sequence: Sequence(900),
        },
        Record::DispositionSet {
            session: stranger,
            fs: FS,
            events: EventSet(0),
            mask: ALL,
        },
        Record::MountInterestSet {
            session: stranger,
            interested: true,
        },
        Record::EventListSet {
            fs: FsId(1),
            events: EventSet(0),
        },
        Record::ReturnOnDestroySet {
            fs: FS,
            registration: Some((stranger, NAME)),
        },
        Record::RightSet {
            token: Token(900),
            handle: file(1),
            right: Right::Shared,
        },
        Record::HoldSet {
            token,
            handle: file(1),
            held: false,
        },
        Record::FsAdded {
            fs: FS,
            mount: mount_body(),
        },
        Record::FsDropped { fs: FsId(1) },
        Record::MountAsked {
            sequence: event.sequence,
            session,
            next: None,
        },
    ];
    let before = node.model.clone();
    for record in records {
        let entry = Entry {
            records: vec![record.clone()],
            reply: None,
        };
        assert!(node.model.apply(&entry).is_err(), "{record:?}");
        assert_eq!(node.model, before, "{record:?}");
    }
}

#[test]
fn token_numbers_go_round_and_skip_live_ones() {
    let mut node = Node::new();
    let session = node.session("round");
    let first = node.user_event(session);
    let event = |number: u32, sequence: u64| Entry {
        records: vec![Record::UserEventCreated {
            session,
            event: Event {
                sequence: Sequence(sequence),
                token: Some(Token(number)),
                kind: EventType::User,
                body: EventBody::User(Vec::new()),
                origin: Origin::Nobody,
                pid: 0,
                made_ms: 0,
            },
        }],
        reply: None,
    };
    // A range ahead may be skipped, but not so far that numbers come back early.
    assert!(node.model.apply(&event(limits::ID_MAX, 10)).is_err());
    node.model.apply(&event(limits::ID_MAX / 2, 10)).unwrap();
    node.model.apply(&event(limits::ID_MAX - 1, 11)).unwrap();
    assert_eq!(node.user_event(session).0, limits::ID_MAX);
    assert_eq!(first, Token(1));
    assert_eq!(node.user_event(session), Token(2));
    assert_eq!(
        node.model.check_token(session, Token(1000)),
        Err(DmError::TokenGone)
    );
}

#[test]
fn how_a_file_system_is_mounted_behind_fuse_is_known_while_it_is_served() {
    use dmapi::journal::State;
    use dmapi::model::{FuseMount, FuseOptions};
    let mut node = Node::new();
    let fuse = FuseMount {
        options: FuseOptions::CACHED,
        attributes: 1,
    };
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), fuse))
        .unwrap();
    assert_eq!(node.model.fuse_mount(FS), Some(fuse));
    let restored = Model::decode(&node.model.encode()).unwrap();
    assert_eq!(restored, node.model);
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    assert_eq!(node.model.fuse_mount(FS), None);
    let records = vec![Record::FsThroughFuse { fs: FS, fuse }];
    let late = Entry {
        records,
        reply: None,
    };
    assert!(node.model.apply(&late).is_err());
}

#[test]
fn further_mounts_take_the_place_of_the_oldest() {
    use dmapi::journal::State;
    use dmapi::model::{FuseMount, FuseOptions};
    let mut node = Node::new();
    let fuse = |options| FuseMount {
        options,
        attributes: 0,
    };
    let shared = fuse(FuseOptions::SHARED);
    let cached = fuse(FuseOptions::SHARED.with(FuseOptions::CACHED));
    let at = |path: &[u8]| MountBody {
        path: path.to_vec(),
        ..mount_body()
    };
    let paths = |model: &Model| -> Vec<Vec<u8>> {
        let row = model.file_system(FS).unwrap().mount.path.clone();
        let further = model.further_mounts(FS).map(|one| one.mount.path.clone());
        [row].into_iter().chain(further).collect()
    };
    let early = node.model.plan_add_view(FS, 2, at(b"/2"), shared);
    assert_eq!(early, Err(DmError::BadHandle));
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), shared))
        .unwrap();
    for (device, path) in [(9, b"/2"), (3, b"/3"), (7, b"/4")] {
        node.run(|model| model.plan_add_view(FS, device, at(path), cached))
            .unwrap();
    }
    for (device, path, how) in [
        (5, b"/mnt".as_slice(), shared),
        (5, b"/3", shared),
        (9, b"/5", shared),
        (5, b"/5", fuse(FuseOptions::CACHED)),
    ] {
        let refused = node.model.plan_add_view(FS, device, at(path), how);
        assert_eq!(refused, Err(DmError::Exists), "{device} {path:?}");
    }
    assert_eq!(
        paths(&node.model),
        [b"/mnt".as_slice(), b"/2", b"/3", b"/4"]
    );
    assert_eq!(Model::decode(&node.model.encode()), Ok(node.model.clone()));

    // One in the middle, then the oldest, whose place the next one takes.
    node.run(|model| model.plan_view_gone(FS, Some(3))).unwrap();
    assert_eq!(
        node.model.plan_view_gone(FS, Some(3)),
        Err(DmError::NotFound)
    );
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    assert_eq!(paths(&node.model), [b"/2", b"/4"]);
    assert_eq!(node.model.fuse_mount(FS), Some(cached));
    // What comes anew is the youngest, also with a number that was there before.
    node.run(|model| model.plan_add_view(FS, 3, at(b"/1"), shared))
        .unwrap();
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    assert_eq!(paths(&node.model), [b"/4", b"/1"]);
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    let last = node.model.plan_view_gone(FS, None);
    assert_eq!(last, Err(DmError::NotFound), "that is the end of all");

    node.run(|model| model.plan_add_view(FS, 4, at(b"/6"), shared))
        .unwrap();
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    assert_eq!(node.model.further_mounts(FS).count(), 0);
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), fuse(FuseOptions::CACHED)))
        .unwrap();
    let alone = node.model.plan_add_view(FS, 4, at(b"/6"), shared);
    assert_eq!(alone, Err(DmError::Exists), "the first is not shared");
}

#[test]
fn a_file_system_that_is_watched_itself_has_no_further_mounts() {
    use dmapi::model::{FuseMount, FuseOptions};
    let mut node = Node::with_fs();
    let fuse = FuseMount {
        options: FuseOptions::SHARED,
        attributes: 0,
    };
    let refused = node.model.plan_add_view(FS, 2, mount_body(), fuse);
    assert_eq!(refused, Err(DmError::Exists));
    let record = Record::FuseViewAdded {
        fs: FS,
        device: 2,
        mount: mount_body(),
        fuse,
    };
    let entry = Entry {
        records: vec![record],
        reply: None,
    };
    assert!(node.model.apply(&entry).is_err());
}

#[test]
fn further_mounts_are_limited() {
    use dmapi::model::{FuseMount, FuseOptions};
    let mut node = Node::new();
    let fuse = FuseMount {
        options: FuseOptions::SHARED,
        attributes: 0,
    };
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), fuse))
        .unwrap();
    let at = |number: u64| MountBody {
        path: format!("/{number}").into_bytes(),
        ..mount_body()
    };
    for number in 0..limits::VIEWS_MAX as u64 {
        node.run(|model| model.plan_add_view(FS, number, at(number), fuse))
            .unwrap();
    }
    let refused = node.model.plan_add_view(FS, 9999, at(9999), fuse);
    assert_eq!(refused, Err(DmError::NoSpace));
}

#[test]
fn checkpoints_of_earlier_formats_are_read() {
    use dmapi::journal::State;
    let node = Node::with_fs();
    let bytes = postcard::to_stdvec(&node.model).unwrap();
    assert_eq!(Model::decode(&bytes), Ok(node.model.clone()));
    let (later, views) = node.model.later();
    let second = postcard::to_extend(later, bytes.clone()).unwrap();
    assert_eq!(Model::decode(&second), Ok(node.model.clone()));
    let third = postcard::to_extend(views, second.clone()).unwrap();
    assert_eq!(third, node.model.encode());
    assert!(second.len() < third.len() && bytes.len() < second.len());
    assert!(Model::decode(&bytes[..bytes.len() - 1]).is_err());
    let too_long = [&node.model.encode()[..], &[0]].concat();
    assert!(Model::decode(&too_long).is_err());
}

#[test]
fn full_queues_refuse_messages_of_applications() {
    let mut node = Node::with_fs();
    let session = node.session("full");
    let data = vec![0; limits::MESSAGE_DATA_BYTES_MAX];
    while node.model.has_room() {
        let plan = node
            .model
            .plan_send_message(session, None, data.clone(), 0, 0)
            .unwrap();
        node.model.apply(&plan.into_entry()).unwrap();
    }
    node.model.check().unwrap();
    assert_eq!(
        node.model.plan_user_event(session, Vec::new(), 0, 0),
        Err(DmError::NoMemory)
    );
    // Answers and deliveries always go on.
    assert_eq!(node.receive(session).unwrap().len(), 24);
    assert!(node.model.has_room());
}
