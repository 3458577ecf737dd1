//! The calls of the DMAPI without their pointers: one function each, for the C boundary and for `dmctl`.
//!
//! A call takes a connection slot of the process, asks the worker, and gives the slot back. Calls that
//! only look at a file, and invisible I/O, work on a descriptor that the worker opened. A call whose worker
//! dies is sent again to the next one and is carried out once.

mod attributes;
mod autostart;
mod bulk;
mod call;
mod config;
mod data;
mod dialect;
mod dispositions;
mod events;
mod handles;
mod mounts;
mod node;
pub mod place;
mod pool;
mod regions;
mod rights;
mod sessions;
mod slot;

pub use attributes::{
    Attribute, FileAttrValues, clear_inherit, get_dmattr, get_fileattr, getall_dmattr,
    getall_inherit, remove_dmattr, set_dmattr, set_fileattr, set_inherit, sync_by_handle,
    sync_dmattr_by_handle,
};
pub use bulk::{Found, Scan, Store, get_bulkall, get_bulkattr, get_dirattrs, init_attrloc};
pub use config::{get_config, get_config_events, get_dioinfo, init_service};
pub use data::{
    AllocInfo, Chunk, Transfer, get_allocinfo, probe_hole, punch_hole, read_invis, write_invis,
};
pub use dialect::{Dialect, POINTS, Reading, dialect, errno, reading, set_dialect};
pub use dispositions::{
    get_eventlist, get_mountinfo, getall_disp, set_cancel, set_disp, set_eventlist,
    set_return_on_destroy,
};
pub use events::{
    create_userevent, find_eventmsg, get_events, getall_tokens, move_event, pending, respond_event,
    send_msg,
};
pub use handles::{
    create_by_handle, fd_to_handle, handle_to_path, look_at_object, open_by_handle,
    path_to_fshandle, path_to_handle,
};
pub use node::{
    MountArgs, MountFuseArgs, answers_within, file_systems, mount, mount_fuse, ping,
    prepare_unmount, status, stop, unmounted, upgrade,
};
pub use regions::{get_region, regions_max, set_region};
pub use rights::{
    downgrade_right, obj_ref_hold, obj_ref_query, obj_ref_rele, query_right, release_right,
    request_right, upgrade_right,
};
pub use sessions::{create_session, destroy_session, getall_sessions, query_session};

pub use crate::proto::FsEntry;
pub use crate::proto::MESSAGE_BYTES_MAX;
pub use crate::proto::StatusReply;
pub use crate::proto::Target;
