//! A model, a file system, and shorthands.

use dmapi::model::{
    Answer, ClientId, DmError, Effect, Entry, Event, EventBody, EventSet, EventType, Fate, FsId,
    Handle, Model, MountBody, NewEvent, Origin, Plan, RequestId, Right, Sequence, Serial,
    SessionId, Token,
};

pub const FS: FsId = FsId(0xABCD);
pub const FS_HANDLE: Handle = Handle::Fs(FS);
pub const ALL: EventSet = EventSet((1 << 23) - 1);
pub const NAME: [u8; 8] = *b"state\0\0\0";

pub fn file(inode: u64) -> Handle {
    Handle::Object {
        fs: FS,
        inode,
        generation: 7,
    }
}

pub fn mount_body() -> MountBody {
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
pub struct Node {
    pub model: Model,
    pub effects: Vec<Effect>,
    pub serial: u64,
}

impl Node {
    pub fn new() -> Self {
        Self {
            model: Model::default(),
            effects: Vec::new(),
            serial: 0,
        }
    }

    pub fn with_fs() -> Self {
        let mut node = Self::new();
        node.run(|model| model.plan_add_fs(FS, mount_body()))
            .expect("a new file system");
        node
    }

    pub fn run<T>(
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

    pub fn session(&mut self, info: &str) -> SessionId {
        self.run(|model| model.plan_create_session(None, info.as_bytes()))
            .expect("a session")
    }

    pub fn assume(&mut self, old: SessionId, info: &str) -> Result<SessionId, DmError> {
        self.run(|model| model.plan_create_session(Some(old), info.as_bytes()))
    }

    pub fn destroy(&mut self, session: SessionId) -> Result<(), DmError> {
        self.run(|model| model.plan_destroy_session(session))
    }

    pub fn user_event(&mut self, session: SessionId) -> Token {
        self.run(|model| model.plan_user_event(session, b"data".to_vec(), 1, 2))
            .expect("a user event")
    }

    pub fn send(&mut self, session: SessionId, waiter: Option<RequestId>, data: &[u8]) -> Sequence {
        self.run(|model| model.plan_send_message(session, waiter, data.to_vec(), 1, 2))
            .expect("a message")
    }

    pub fn receive(&mut self, session: SessionId) -> Result<Vec<Event>, DmError> {
        let events = self.model.next_messages(session, 0, 1 << 20, &|_| false)?;
        let sequences: Vec<Sequence> = events.iter().map(|event| event.sequence).collect();
        self.run(|model| model.plan_commit(session, &sequences))?;
        Ok(events)
    }

    pub fn respond(
        &mut self,
        session: SessionId,
        token: Token,
        answer: Answer,
    ) -> Result<(), DmError> {
        self.run(|model| model.plan_respond(session, token, answer))
    }

    pub fn event_of(&mut self, kind: EventType, origin: Origin) -> Fate {
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

    pub fn source_event(&mut self, kind: EventType) -> (Serial, Fate) {
        self.serial += 1;
        let serial = Serial(self.serial);
        (serial, self.event_of(kind, Origin::Source(serial)))
    }

    pub fn set_disp(&mut self, session: SessionId, events: EventSet) -> Result<(), DmError> {
        self.run(|model| model.plan_set_disposition(session, FS_HANDLE, None, events, ALL))
    }

    pub fn want_mounts(&mut self, session: SessionId) {
        let mount = EventSet::of(&[EventType::Mount]);
        self.run(|model| model.plan_set_disposition(session, Handle::Global, None, mount, ALL))
            .expect("interest in mounts");
    }

    /// A session with an outstanding READ event.
    pub fn with_read(&mut self) -> (SessionId, Token) {
        let session = self.session("reader");
        self.set_disp(session, EventSet::of(&[EventType::Read]))
            .expect("a disposition");
        self.source_event(EventType::Read);
        let events = self.receive(session).expect("a message");
        (session, events[0].token.expect("READ is synchronous"))
    }

    pub fn right(
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

    pub fn query(&self, session: SessionId, handle: Handle, token: Token) -> Right {
        self.model
            .query_right(session, handle, Some(token))
            .expect("a query")
    }
}

pub fn request(number: u64) -> RequestId {
    RequestId {
        client: ClientId(77),
        number,
    }
}
