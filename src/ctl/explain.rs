//! `dmctl explain PID`: why does this process hang? Who waits, on what, since when, what frees it.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::events::Shown;
use super::show;
use super::snapshot::Snapshot;
use crate::client;
use crate::model::machine::{Model, Place};
use crate::model::{Event, Handle, MountBody};

const ANSWER_LIMIT_MS: u32 = 2_000;

#[derive(Serialize)]
struct Explanation {
    pid: u32,
    process: Option<String>,
    waits: Vec<Wait>,
}

#[derive(Serialize)]
struct Wait {
    /// What the process waits for, in words.
    what: String,
    /// The file, as far as it can be named.
    path: Option<String>,
    /// What holds the process: `fanotify`, `fuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Shown>,
    /// What ends the wait.
    frees: String,
}

/// Runs the command. Exit code 1: the process waits for nothing of DMAPI.
pub(super) fn run(pid: u32, json: bool) -> ExitCode {
    let snapshot = match Snapshot::take() {
        Ok(snapshot) => snapshot,
        Err(problem) => return show::failed(problem),
    };
    let model = snapshot.model();
    // The journal tells most, so a worker that does not answer is not waited for.
    let is_served = client::answers_within(ANSWER_LIMIT_MS);
    let tasks = tasks_of(pid);
    let mut waits: Vec<Wait> = model
        .live_events()
        .filter(|(event, _)| event.pid != 0 && tasks.contains(&event.pid))
        .filter(|(event, _)| event.token.is_some())
        .map(|(event, place)| explained(model, event, place, is_served))
        .collect();
    if is_served {
        waits.extend(calls(pid));
    }
    let explanation = Explanation {
        pid,
        process: show::process_name(pid),
        waits,
    };
    if json {
        show::json(&explanation);
    } else {
        tell(&explanation);
    }
    ExitCode::from(match explanation.waits.is_empty() {
        true => show::BAD_NEWS,
        false => show::GOOD,
    })
}

/// The threads of a process: an event names the one that waits.
fn tasks_of(pid: u32) -> HashSet<u32> {
    let listed = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = listed.into_iter().flatten();
    threads
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .chain([pid])
        .collect()
}

fn explained(model: &Model, event: &Event, place: Place, is_served: bool) -> Wait {
    let object = show::object(&event.body);
    let path = object.and_then(|handle| path_of(model, &handle, is_served));
    let source = object.and_then(|handle| source_of(model, &handle));
    let shown = Shown::of(model, event, place);
    let kind = event.kind.name();
    let token = event.token.map_or(0, |token| token.0);
    let info = shown.info.clone().unwrap_or_default();
    let frees = match place {
        Place::Waiting(_) => format!(
            "a session that takes the disposition of {kind} (dm_set_disp): start the HSM's daemon"
        ),
        Place::Queued(session) => format!(
            "session {} ({info:?}) has not fetched it: its daemon must call dm_get_events; is it running?",
            session.0
        ),
        Place::Outstanding(session) => format!(
            "session {} ({info:?}) has it and must answer token {token} (dm_respond_event)",
            session.0
        ),
    };
    let what = match show::range(&event.body) {
        Some((offset, length)) => {
            format!("the answer to {kind} of {length} bytes from {offset}")
        }
        None => format!("the answer to {kind}"),
    };
    Wait {
        what,
        path,
        source,
        event: Some(shown),
        frees: format!("{frees}; SIGKILL ends the waiting process"),
    }
}

/// Calls of the DMAPI that wait in the daemon.
fn calls(pid: u32) -> Vec<Wait> {
    let waiting = client::status().map(|status| status.waiting);
    waiting
        .unwrap_or_default()
        .into_iter()
        .filter(|(waiter, _)| *waiter == pid)
        .map(|(_, what)| Wait {
            what: format!("a call of the DMAPI waits {what}"),
            path: None,
            source: None,
            event: None,
            frees: "what it waits for, or a signal to the process".into(),
        })
        .collect()
}

/// What watches the object's file system. The journal tells it, as nobody may serve now.
fn source_of(model: &Model, handle: &Handle) -> Option<String> {
    let fs = handle.fs()?;
    model.file_system(fs).ok()?;
    let source = match model.fuse_mount(fs) {
        Some(_) => "fuse",
        None => "fanotify",
    };
    Some(source.into())
}

/// Where the object is. Without a worker only its number is known.
fn path_of(model: &Model, handle: &Handle, is_served: bool) -> Option<String> {
    let fs = handle.fs()?;
    let row = model.file_system(fs).ok()?;
    if !matches!(handle, Handle::Object { .. }) {
        return Some(show::text(&row.mount.path));
    }
    if !is_served {
        return None;
    }
    let below = place_of(handle)?;
    let further = model.further_mounts(fs).map(|view| &view.mount);
    let others = further.filter_map(|mount| Some((place_of(&mount.root)?, mount)));
    let oldest = (PathBuf::new(), &row.mount);
    shown_at(&below, [oldest].into_iter().chain(others))
}

/// The private mount is nowhere, so the kernel names an object from the root of that mount, which is that of the oldest
/// mount of users; what lies elsewhere from the root of the file system.
fn place_of(handle: &Handle) -> Option<PathBuf> {
    let file = client::look_at_object(handle).ok()?;
    let place = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    Some(place.strip_prefix("/").map(Path::to_owned).unwrap_or(place))
}

/// The path by the mount whose root is the nearest above.
fn shown_at<'a>(
    place: &Path,
    views: impl Iterator<Item = (PathBuf, &'a MountBody)>,
) -> Option<String> {
    let above = views.filter(|(root, _)| place.starts_with(root));
    let (root, mount) = above.max_by_key(|(root, _)| root.components().count())?;
    let below = place.strip_prefix(&root).ok()?;
    let base = show::text(&mount.path);
    let base = base.trim_end_matches('/');
    Some(match below.as_os_str().is_empty() {
        true if base.is_empty() => "/".to_owned(),
        true => base.to_owned(),
        false => format!("{base}/{}", below.display()),
    })
}

fn tell(explanation: &Explanation) {
    let process = show::process(explanation.pid);
    if explanation.waits.is_empty() {
        println!("{process} waits for nothing that dmapid knows of");
    }
    for wait in &explanation.waits {
        println!("{process} waits for {}", wait.what);
        let object = wait.event.as_ref().and_then(|event| event.object.as_ref());
        if let Some(path) = wait.path.as_ref().or(object) {
            println!("  on     {path}");
        }
        if let Some(source) = &wait.source {
            println!("  held   by {source}");
        }
        if let Some(event) = &wait.event {
            println!("  since  {}", show::age(event.made_ms));
            for right in &event.rights {
                println!("  right  token {} has {right}", event.token.unwrap_or(0));
            }
        }
        println!("  frees  {}", wait.frees);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    #[test]
    fn an_object_is_named_by_the_mount_that_is_nearest() {
        let at = |path: &str| MountBody {
            mode: 0,
            fs: Handle::Fs(FsId(1)),
            mount_point: None,
            path: path.as_bytes().to_vec(),
            device: Vec::new(),
            root: Handle::Fs(FsId(1)),
        };
        let (oldest, sub) = (at("/mnt"), at("/sub"));
        let shown = |place: &str| {
            let views = [(PathBuf::new(), &oldest), ("a/b".into(), &sub)];
            shown_at(Path::new(place), views.into_iter())
        };
        assert_eq!(shown("file").as_deref(), Some("/mnt/file"));
        assert_eq!(shown("a/b/c d").as_deref(), Some("/sub/c d"));
        assert_eq!(shown("a/bc").as_deref(), Some("/mnt/a/bc"));
        assert_eq!(shown("a/b").as_deref(), Some("/sub"));
        assert_eq!(shown("").as_deref(), Some("/mnt"));
    }
}
