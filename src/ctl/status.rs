//! `dmctl status`: is this node served, and what does it serve?

use std::collections::{BTreeMap, HashSet};
use std::process::ExitCode;

use serde::Serialize;

use super::show;
use crate::client;
use crate::client::place;
use crate::model::EventSet;
use crate::proto::{FsEntry, StatusReply};
use crate::sys::socket;

#[derive(Serialize)]
struct Status<'a> {
    socket: String,
    #[serde(flatten)]
    daemon: &'a StatusReply,
    file_systems: Vec<FileSystem>,
}

#[derive(Serialize)]
struct FileSystem {
    fs: String,
    path: String,
    device: String,
    kind: String,
    source: String,
    events: Vec<&'static str>,
    list: Vec<&'static str>,
    dropped: BTreeMap<&'static str, u64>,
}

impl FileSystem {
    fn of(entry: &FsEntry) -> Self {
        Self {
            fs: format!("{:016x}", entry.fs.0),
            path: show::text(&entry.mount.path),
            device: show::text(&entry.mount.device),
            kind: entry.kind.clone(),
            source: entry.source.clone(),
            events: names(entry.events),
            list: names(entry.list),
            dropped: entry
                .dropped
                .iter()
                .map(|(kind, count)| (kind.name(), *count))
                .collect(),
        }
    }
}

fn names(set: EventSet) -> Vec<&'static str> {
    set.iter().map(|event| event.name()).collect()
}

/// Is there a daemon to ask? Nobody wants to wait half a minute for the word "no".
pub(super) fn check_served() -> Result<(), String> {
    let path = place::socket_path();
    socket::connect(&path).map(drop).map_err(|error| {
        format!(
            "not served: {}: {error}; start dmapid, or set DMAPI_SOCKET or DMAPI_NODE",
            path.display()
        )
    })
}

/// Runs the command.
pub(super) fn run(json: bool) -> ExitCode {
    if let Err(problem) = check_served() {
        eprintln!("dmctl: {problem}");
        return ExitCode::from(show::BAD_NEWS);
    }
    let asked = client::status().and_then(|status| Ok((status, client::file_systems()?)));
    let (daemon, entries) = match asked {
        Ok(answers) => answers,
        Err(error) => return show::failed(format!("the daemon does not answer: {error}")),
    };
    let file_systems: Vec<FileSystem> = entries.iter().map(FileSystem::of).collect();
    let socket = place::socket_path().display().to_string();
    if json {
        show::json(&Status {
            socket,
            daemon: &daemon,
            file_systems,
        });
        return ExitCode::from(show::GOOD);
    }
    println!("socket       {socket}");
    println!("supervisor   {}", daemon.supervisor_pid);
    println!(
        "worker       {}, the {} since the daemon began, since {}",
        daemon.worker_pid,
        ordinal(daemon.generation),
        show::age(daemon.started_ms)
    );
    println!("journal      {}", daemon.journal);
    println!("connections  {}", daemon.connections);
    println!("blocked      {} accesses", daemon.events_blocked);
    for (pid, what) in &daemon.waiting {
        println!("waits        {} {what}", show::process(*pid));
    }
    println!();
    let rows: Vec<Vec<String>> = file_systems
        .iter()
        .map(|one| {
            let (fs, path, device) = (one.fs.clone(), one.path.clone(), one.device.clone());
            vec![fs, path, device, one.kind.clone(), one.source.clone()]
        })
        .collect();
    show::table(&["FILE SYSTEM", "PATH", "DEVICE", "KIND", "SOURCE"], &rows);
    let mut told = HashSet::new();
    // What follows is the same for all mounts of a file system.
    for one in file_systems.iter().filter(|one| told.insert(&one.fs)) {
        println!("\n{} can make\n  {}", one.path, one.events.join(" "));
        if !one.dropped.is_empty() {
            let counts: Vec<String> = one
                .dropped
                .iter()
                .map(|(kind, count)| format!("{kind} {count}"))
                .collect();
            println!(
                "dropped, as no session had their disposition\n  {}",
                counts.join(", ")
            );
        }
    }
    ExitCode::from(show::GOOD)
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use super::ordinal;

    #[test]
    fn ordinals_are_english() {
        let words: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111]
            .into_iter()
            .map(ordinal)
            .collect();
        assert_eq!(
            words.join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 102nd 111th"
        );
    }
}
