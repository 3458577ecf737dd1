//! How many bytes an event takes in the buffer of `dm_get_events`: the worker needs the size to know what
//! fits, the C boundary writes exactly that many.

use super::event::{Event, EventBody, MountBody};
use super::handle::Handle;

/// `sizeof(dm_eventmsg_t)`.
pub const HEADER_BYTES: usize = 32;
/// `sizeof(dm_cancel_event_t)`.
pub const CANCEL_BYTES: usize = 8;
/// `sizeof(dm_data_event_t)`.
pub const DATA_BYTES: usize = 24;
/// `sizeof(dm_destroy_event_t)`.
pub const DESTROY_BYTES: usize = 24;
/// `sizeof(dm_mount_event_t)`.
pub const MOUNT_BYTES: usize = 44;
/// `sizeof(dm_namesp_event_t)`.
pub const NAMESPACE_BYTES: usize = 40;

/// Messages start at multiples of this, the last one is padded too.
pub const MESSAGE_ALIGN: usize = 8;

fn handle_bytes(handle: Option<&Handle>) -> usize {
    handle.map_or(0, |handle| handle.to_bytes().len())
}

/// A string with its NUL; an absent one takes nothing.
fn string_bytes(name: &[u8]) -> usize {
    if name.is_empty() { 0 } else { name.len() + 1 }
}

/// The bytes of a MOUNT event's body with its variable parts, not padded (`dm_get_mountinfo` gives just these).
pub fn mount_bytes(mount: &MountBody) -> usize {
    MOUNT_BYTES
        + handle_bytes(Some(&mount.fs))
        + handle_bytes(mount.mount_point.as_ref())
        + string_bytes(&mount.path)
        + string_bytes(&mount.device)
        + handle_bytes(Some(&mount.root))
}

/// The bytes of an event's body with its variable parts, not padded.
pub fn body_bytes(body: &EventBody) -> usize {
    match body {
        EventBody::Cancel { .. } => CANCEL_BYTES,
        EventBody::Mount(mount) => mount_bytes(mount),
        EventBody::Data { handle, .. } => DATA_BYTES + handle_bytes(Some(handle)),
        EventBody::Namespace(names) => {
            NAMESPACE_BYTES
                + handle_bytes(names.handle1.as_ref())
                + handle_bytes(names.handle2.as_ref())
                + string_bytes(&names.name1)
                + string_bytes(&names.name2)
        }
        EventBody::Destroy { handle, copy } => {
            let value = copy.as_ref().map_or(0, |(_, value)| value.len());
            DESTROY_BYTES + handle_bytes(Some(handle)) + value
        }
        EventBody::User(data) => data.len(),
    }
}

impl Event {
    /// The bytes of this event as a message: header, body, variable parts, padding.
    pub fn message_bytes(&self) -> usize {
        (HEADER_BYTES + body_bytes(&self.body)).next_multiple_of(MESSAGE_ALIGN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventType, Origin};
    use crate::model::ids::Sequence;

    #[test]
    fn a_message_is_padded_to_eight_bytes() {
        let event = |data: &[u8]| Event {
            sequence: Sequence(1),
            token: None,
            kind: EventType::User,
            body: EventBody::User(data.to_vec()),
            origin: Origin::Nobody,
            pid: 0,
            made_ms: 0,
        };
        assert_eq!(event(b"").message_bytes(), 32);
        assert_eq!(event(b"a").message_bytes(), 40);
        assert_eq!(event(b"12345678").message_bytes(), 40);
    }
}
