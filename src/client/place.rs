//! Where the daemon of this node is, and how long to wait for it.

use std::ffi::OsString;
use std::path::PathBuf;

/// A call waits that long for a worker, unless `DMAPI_WAIT_MS` says otherwise.
const WAIT_MS: u64 = 30_000;

/// The control socket.
pub fn socket_path() -> PathBuf {
    if let Some(path) = set("DMAPI_SOCKET") {
        return path.into();
    }
    let node = set("DMAPI_NODE").unwrap_or_else(|| "local".into());
    let mut path = PathBuf::from("/run/dmapi");
    path.push(node);
    path.push("socket");
    path
}

/// `DMAPI_WAIT_MS`, if it is set.
pub(super) fn wait_ms_asked() -> Option<u64> {
    set("DMAPI_WAIT_MS")?.to_str()?.trim().parse().ok()
}

/// How long a call waits for a worker.
pub(super) fn wait_ms() -> u64 {
    wait_ms_asked().unwrap_or(WAIT_MS)
}

/// An environment variable that is set and not empty.
pub(super) fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
