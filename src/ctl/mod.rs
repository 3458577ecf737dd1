//! dmctl: the operator's command. One module per command; this one only tells them apart.
//!
//! Exit codes of all commands: 0 good, 1 the answer is bad news (damaged, not served), 2 it could
//! not be done. As mount.dmapi and umount.dmapi the codes are those of mount(8).

mod events;
mod explain;
mod journal;
mod mount;
mod mount_fuse;
mod mount_table;
mod sessions;
mod show;
mod snapshot;
mod status;
mod umount;

#[doc(hidden)]
pub use crate::sys::mountinfo::parse as mountinfo_line;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client;
use crate::model::DmError;

/// Looks after the DMAPI service of this node.
///
/// DMAPI_SOCKET or DMAPI_NODE name the daemon, as for every program that uses the library.
#[derive(Parser)]
#[command(name = "dmctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Is this node served, by which processes, and which file systems are managed?
    Status {
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Sessions, what waits for each, and which events each handles
    Sessions {
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Events that somebody has to fetch or answer
    Events {
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Why does this process hang? Who waits, on what, since when, what frees it
    Explain {
        /// The process
        pid: u32,
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Mounts a file system so that every access is watched from the first on
    Mount {
        #[command(flatten)]
        arguments: mount::Arguments,
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Unmounts a managed file system, after its handlers agreed
    Umount {
        /// Where it is mounted
        path: PathBuf,
        /// Also if a handler refuses, or tokens hold rights
        #[arg(short, long)]
        force: bool,
        /// Detach now, end when it is not used any more
        #[arg(short, long)]
        lazy: bool,
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Manages a file system that is mounted already
    Manage {
        /// Where it is mounted
        path: PathBuf,
        /// Also while files are open or mapped, whose accesses cannot be watched
        #[arg(long)]
        force: bool,
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Ends the daemon; refused while file systems are managed
    Stop {
        /// Also while file systems are managed: their users may read zeros from migrated files. FUSE mounts are
        /// unmounted before, lazily
        #[arg(long)]
        force: bool,
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Replaces the running daemon by the installed one; nobody sees an error
    Upgrade {
        /// One JSON document instead of words
        #[arg(long)]
        json: bool,
    },
    /// Reads a journal file, also a damaged one, also while a daemon writes it.
    #[command(subcommand)]
    Journal(journal::Command),
}

/// Runs the command that the process's name and arguments tell.
pub fn run() -> ExitCode {
    let mut given = std::env::args();
    let name = given.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(|name| name.to_str());
    match name {
        Some("mount.dmapi") => return mount::helper(&given.collect::<Vec<_>>()),
        Some("umount.dmapi") => return umount::helper(&given.collect::<Vec<_>>()),
        _ => {}
    }
    match Arguments::parse().command {
        Command::Status { json } => status::run(json),
        Command::Sessions { json } => sessions::run(json),
        Command::Events { json } => events::run(json),
        Command::Explain { pid, json } => explain::run(pid, json),
        Command::Mount { arguments, json } => mount::run(&arguments, json),
        Command::Umount {
            path,
            force,
            lazy,
            json,
        } => umount::run(&path, force, lazy, json),
        Command::Manage { path, force, json } => mount::manage(&path, force, json),
        Command::Stop { force, json } => stop(force, json),
        Command::Upgrade { json } => upgrade(json),
        Command::Journal(command) => journal::run(&command),
    }
}

fn stop(force: bool, json: bool) -> ExitCode {
    if let Err(problem) = status::check_served() {
        eprintln!("dmctl: {problem}");
        return ExitCode::from(show::BAD_NEWS);
    }
    match client::stop(force) {
        Err(DmError::Busy) => show::failed(
            "managed file systems are mounted, and without dmapid their users would read zeros from \
             migrated files: unmount them first (`dmctl status`, `dmctl umount PATH`), or use --force",
        ),
        outcome => tell(
            outcome,
            json.then(|| serde_json::json!({ "stopping": true })),
        ),
    }
}

fn upgrade(json: bool) -> ExitCode {
    let outcome = client::upgrade();
    tell(
        outcome,
        json.then(|| serde_json::json!({ "upgrading": true })),
    )
}

fn tell(outcome: Result<(), DmError>, document: Option<serde_json::Value>) -> ExitCode {
    match outcome {
        Ok(()) => {
            if let Some(document) = document {
                show::json(&document);
            }
            ExitCode::from(show::GOOD)
        }
        Err(error) => show::failed(format!("the daemon: {error}")),
    }
}
