//! The bytes of event messages as C callers get them from `dm_get_events` (x86-64, native byte order).
//!
//! A message is a header, the fixed part of the body at an 8-byte boundary, the variable parts in the
//! order of their fields, and padding to 8 bytes. A `dm_vardata_t` is {offset i32, length u32}; the offset
//! counts from the start of the structure that holds it; an absent part is {0, 0}. Names end with a NUL
//! that counts. `src/ffi` asserts its C structures against the offsets here.

use super::event::{Event, EventBody, MountBody, NamespaceBody};
use super::handle::{FS_HANDLE_BYTES, Handle, OBJECT_HANDLE_BYTES};

/// `dm_eventmsg_t`.
#[allow(missing_docs)]
pub mod header {
    pub const LINK: usize = 0;
    pub const TYPE: usize = 4;
    pub const TOKEN: usize = 8;
    pub const SEQUENCE: usize = 12;
    pub const DATA: usize = 16;
    pub const NODE: usize = 24;
    pub const BYTES: usize = 32;
}

/// `dm_data_event_t`.
#[allow(missing_docs)]
pub mod data {
    pub const HANDLE: usize = 0;
    pub const OFFSET: usize = 8;
    pub const LENGTH: usize = 16;
    pub const BYTES: usize = 24;
}

/// `dm_destroy_event_t`.
#[allow(missing_docs)]
pub mod destroy {
    pub const HANDLE: usize = 0;
    pub const ATTR_NAME: usize = 8;
    pub const ATTR_COPY: usize = 16;
    pub const BYTES: usize = 24;
}

/// `dm_mount_event_t`.
#[allow(missing_docs)]
pub mod mount {
    pub const MODE: usize = 0;
    pub const HANDLE1: usize = 4;
    pub const HANDLE2: usize = 12;
    pub const NAME1: usize = 20;
    pub const NAME2: usize = 28;
    pub const ROOT: usize = 36;
    pub const BYTES: usize = 44;
}

/// `dm_namesp_event_t`.
#[allow(missing_docs)]
pub mod namespace {
    pub const MODE: usize = 0;
    pub const HANDLE1: usize = 4;
    pub const HANDLE2: usize = 12;
    pub const NAME1: usize = 20;
    pub const NAME2: usize = 28;
    pub const RETCODE: usize = 36;
    pub const BYTES: usize = 40;
}

/// `dm_cancel_event_t`.
#[allow(missing_docs)]
pub mod cancel {
    pub const SEQUENCE: usize = 0;
    pub const TOKEN: usize = 4;
    pub const BYTES: usize = 8;
}

/// `dm_vardata_t`.
pub const VARDATA_BYTES: usize = 8;
/// Messages begin at multiples of this.
pub const ALIGNMENT: usize = 8;
/// `DM_INVALID_TOKEN`: what an asynchronous event carries.
const INVALID_TOKEN: i32 = 0;

impl Event {
    /// The bytes of this event as a message: header, body, variable parts, padding.
    pub fn message_bytes(&self) -> usize {
        (header::BYTES + body_bytes(&self.body)).next_multiple_of(ALIGNMENT)
    }
}

/// The messages, linked, as one buffer. `node` goes into `ev_nodeid`.
pub fn encode(events: &[Event], node: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(events.iter().map(Event::message_bytes).sum());
    for (at, event) in events.iter().enumerate() {
        let is_last = at + 1 == events.len();
        let start = bytes.len();
        let length = event.message_bytes();
        bytes.resize(start + length, 0);
        let message = &mut bytes[start..];
        let body = body(&event.body);
        let link = if is_last { 0 } else { length as u32 };
        put_u32(message, header::LINK, link);
        put_u32(message, header::TYPE, event.kind as u32);
        let token = event.token.map_or(INVALID_TOKEN, |token| token.0 as i32);
        put_u32(message, header::TOKEN, token as u32);
        // The field has 32 bits; numbers go round after 2^32 events.
        put_u32(message, header::SEQUENCE, event.sequence.0 as u32);
        if !body.is_empty() {
            put_u32(message, header::DATA, header::BYTES as u32);
            put_u32(message, header::DATA + 4, body.len() as u32);
        }
        put_u32(message, header::NODE, node);
        message[header::BYTES..header::BYTES + body.len()].copy_from_slice(&body);
    }
    bytes
}

/// The bytes of `dm_get_mountinfo`: the body of the MOUNT event alone.
pub fn mount_body(body: &MountBody) -> Vec<u8> {
    let mut buffer = Body::new(mount::BYTES);
    put_u32(&mut buffer.bytes, mount::MODE, body.mode);
    buffer.handle(mount::HANDLE1, Some(&body.fs));
    buffer.handle(mount::HANDLE2, body.mount_point.as_ref());
    buffer.name(mount::NAME1, &body.path);
    buffer.name(mount::NAME2, &body.device);
    buffer.handle(mount::ROOT, Some(&body.root));
    buffer.bytes
}

fn namespace_body(body: &NamespaceBody) -> Vec<u8> {
    let mut buffer = Body::new(namespace::BYTES);
    put_u32(&mut buffer.bytes, namespace::MODE, body.mode);
    buffer.handle(namespace::HANDLE1, body.handle1.as_ref());
    buffer.handle(namespace::HANDLE2, body.handle2.as_ref());
    buffer.name(namespace::NAME1, &body.name1);
    buffer.name(namespace::NAME2, &body.name2);
    put_u32(&mut buffer.bytes, namespace::RETCODE, body.retcode as u32);
    buffer.bytes
}

fn body(body: &EventBody) -> Vec<u8> {
    match body {
        EventBody::Cancel { sequence, token } => {
            let mut buffer = Body::new(cancel::BYTES);
            put_u32(&mut buffer.bytes, cancel::SEQUENCE, sequence.0 as u32);
            put_u32(&mut buffer.bytes, cancel::TOKEN, token.0);
            buffer.bytes
        }
        EventBody::Mount(body) => mount_body(body),
        EventBody::Data {
            handle,
            offset,
            length,
            ..
        } => {
            let mut buffer = Body::new(data::BYTES);
            put_u64(&mut buffer.bytes, data::OFFSET, *offset);
            put_u64(&mut buffer.bytes, data::LENGTH, *length);
            buffer.handle(data::HANDLE, Some(handle));
            buffer.bytes
        }
        EventBody::Namespace(body) => namespace_body(body),
        EventBody::Destroy { handle, copy } => {
            let mut buffer = Body::new(destroy::BYTES);
            buffer.handle(destroy::HANDLE, Some(handle));
            if let Some((name, value)) = copy {
                buffer.bytes[destroy::ATTR_NAME..destroy::ATTR_NAME + name.len()]
                    .copy_from_slice(name);
                buffer.part(destroy::ATTR_COPY, value);
            }
            buffer.bytes
        }
        EventBody::User(bytes) => bytes.clone(),
    }
}

/// The bytes of a MOUNT event's body with its variable parts, not padded: what `dm_get_mountinfo` gives.
pub fn mount_bytes(body: &MountBody) -> usize {
    mount::BYTES
        + handle_bytes(Some(&body.fs))
        + handle_bytes(body.mount_point.as_ref())
        + name_bytes(&body.path)
        + name_bytes(&body.device)
        + handle_bytes(Some(&body.root))
}

/// The bytes of an event's body with its variable parts, not padded.
pub fn body_bytes(body: &EventBody) -> usize {
    match body {
        EventBody::Cancel { .. } => cancel::BYTES,
        EventBody::Mount(body) => mount_bytes(body),
        EventBody::Data { handle, .. } => data::BYTES + handle_bytes(Some(handle)),
        EventBody::Namespace(body) => {
            namespace::BYTES
                + handle_bytes(body.handle1.as_ref())
                + handle_bytes(body.handle2.as_ref())
                + name_bytes(&body.name1)
                + name_bytes(&body.name2)
        }
        EventBody::Destroy { handle, copy } => {
            let copied = copy.as_ref().map_or(0, |(_, value)| value.len());
            destroy::BYTES + handle_bytes(Some(handle)) + copied
        }
        EventBody::User(bytes) => bytes.len(),
    }
}

fn handle_bytes(handle: Option<&Handle>) -> usize {
    match handle {
        None | Some(Handle::Global) => 0,
        Some(Handle::Fs(_)) => FS_HANDLE_BYTES,
        Some(Handle::Object { .. }) => OBJECT_HANDLE_BYTES,
    }
}

fn name_bytes(name: &[u8]) -> usize {
    match name.len() {
        0 => 0,
        length => length + 1,
    }
}

/// The fixed part of a body, to which variable parts are added.
struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn new(fixed_bytes: usize) -> Self {
        Self {
            bytes: vec![0; fixed_bytes],
        }
    }

    fn part(&mut self, vardata: usize, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        let offset = self.bytes.len() as u32;
        put_u32(&mut self.bytes, vardata, offset);
        put_u32(&mut self.bytes, vardata + 4, part.len() as u32);
        self.bytes.extend_from_slice(part);
    }

    fn handle(&mut self, vardata: usize, handle: Option<&Handle>) {
        if let Some(handle) = handle {
            self.part(vardata, &handle.to_bytes());
        }
    }

    fn name(&mut self, vardata: usize, name: &[u8]) {
        if !name.is_empty() {
            let mut with_nul = name.to_vec();
            with_nul.push(0);
            self.part(vardata, &with_nul);
        }
    }
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
}
