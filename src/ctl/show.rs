//! How things are told to people and to programs.

use std::process::ExitCode;

use serde::Serialize;

use crate::model::{EventBody, Handle, Right};
use crate::sys::clock;

/// Good.
pub const GOOD: u8 = 0;
/// The answer is bad news.
pub const BAD_NEWS: u8 = 1;
/// It could not be done.
pub const FAILED: u8 = 2;

/// Prints a value as one JSON document.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("dmctl: {error}"),
    }
}

/// Says what went wrong.
pub fn failed(problem: impl std::fmt::Display) -> ExitCode {
    eprintln!("dmctl: {problem}");
    ExitCode::from(FAILED)
}

/// Prints rows under headings, each column as wide as it must be.
pub fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .chain([headings[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            text += &format!("{cell:width$}  ");
        }
        println!("{}", text.trim_end());
    };
    line(headings.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

/// The command name of a process.
pub fn process_name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// `pid (name)`, or what is known of it.
pub fn process(pid: u32) -> String {
    match (pid, process_name(pid)) {
        (0, _) => "-".into(),
        (pid, Some(name)) => format!("{pid} ({name})"),
        (pid, None) => format!("{pid} (gone)"),
    }
}

/// How long ago that was (CLOCK_REALTIME ms), in words.
pub fn age(since_ms: u64) -> String {
    let seconds = clock::realtime_ms().saturating_sub(since_ms) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Bytes that should be text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A handle in words.
pub fn handle(handle: &Handle) -> String {
    match handle {
        Handle::Global => "global".into(),
        Handle::Fs(fs) => format!("file system {:016x}", fs.0),
        Handle::Object { fs, inode, .. } => format!("inode {inode} of {:016x}", fs.0),
    }
}

/// A right in words.
pub fn right(right: Right) -> &'static str {
    match right {
        Right::Null => "none",
        Right::Shared => "shared",
        Right::Exclusive => "exclusive",
    }
}

/// The object of an event.
pub fn object(body: &EventBody) -> Option<Handle> {
    match body {
        EventBody::Data { handle, .. } | EventBody::Destroy { handle, .. } => Some(*handle),
        EventBody::Namespace(body) => body.handle1,
        EventBody::Mount(body) => Some(body.fs),
        EventBody::Cancel { .. } | EventBody::User(_) => None,
    }
}

/// Offset and length of a data event.
pub fn range(body: &EventBody) -> Option<(u64, u64)> {
    match body {
        EventBody::Data { offset, length, .. } => Some((*offset, *length)),
        _ => None,
    }
}
