//! Every limit of the model, with its reason. Beyond one there is an errno, never a growing process.

/// Sessions at one time. 4000 is the most that any DMAPI promises; twice that, still a few MiB.
pub const SESSIONS_MAX: usize = 8192;
/// Bytes of a session's string without its NUL: `DM_SESSION_INFO_LEN` is 256 with it.
pub const SESSION_INFO_BYTES_MAX: usize = 255;
/// `DM_CONFIG_MAX_MESSAGE_DATA`: what one page of 4096 bytes leaves beside a header.
pub const MESSAGE_DATA_BYTES_MAX: usize = 3960;
/// `DM_CONFIG_MAX_ATTR_ON_DESTROY`: so much of the attribute goes into a DESTROY event.
pub const ATTR_ON_DESTROY_BYTES_MAX: usize = 256;
/// Live events. Nothing is dropped beyond it: sources wait, messages of applications get `ENOMEM`.
pub const EVENTS_MAX: usize = 32 * 1024;
/// Bytes of all live events, as messages: they must fit a checkpoint of the journal.
pub const EVENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Messages of one `dm_get_events`, and their bytes: one packet of the control socket holds them.
pub const BATCH_EVENTS_MAX: usize = 1024;
/// See [`BATCH_EVENTS_MAX`].
pub const BATCH_BYTES_MAX: u64 = 96 * 1024;
/// Answered tokens whose session is remembered. Older ones are only known to have been issued.
pub const ANSWERED_MAX: usize = 4096;
/// Kept replies, one per connection slot of a client; the oldest goes first.
pub const KEPT_REPLIES_MAX: usize = 4096;
/// Rights and holds of all tokens together.
pub const GRANTS_MAX: usize = 64 * 1024;
/// File systems served at one time.
pub const FILE_SYSTEMS_MAX: usize = 1024;
/// Further FUSE mounts of all file systems together. Each has two paths in a checkpoint.
pub const VIEWS_MAX: usize = 256;
/// Largest id that C callers see as a positive `int`.
pub const ID_MAX: u32 = i32::MAX as u32;
/// Inherited attributes of all file systems together, also of those that are not mounted now.
pub const INHERITS_MAX: usize = 4096;
