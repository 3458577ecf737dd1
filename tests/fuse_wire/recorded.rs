//! Frames that a kernel 6.18 sent, in frames.txt: name, bytes in hex, and what they mean.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use dmapi::source::fuse::wire::Op;
use dmapi::source::fuse::wire::Request;
use dmapi::source::fuse::wire::SetAttr;

/// Operations that kernel.rs makes every kernel send.
pub const EVERYWHERE: &[&str] = &[
    "Access",
    "Create",
    "Fallocate",
    "Flush",
    "Fsync",
    "Fsync data_only",
    "Fsyncdir",
    "Getlk",
    "Getxattr",
    "Init",
    "Interrupt",
    "Ioctl",
    "Link",
    "Listxattr",
    "Lookup",
    "Lseek",
    "Mkdir",
    "Mknod",
    "Open",
    "Opendir",
    "Poll",
    "Read",
    "Read resent",
    "Readdirplus",
    "Readlink",
    "Release",
    "Releasedir",
    "Removexattr",
    "Rename",
    "Rename flags",
    "Rmdir",
    "Setattr",
    "Setlk",
    "Setlkw",
    "Setxattr",
    "Statfs",
    "Symlink",
    "Tmpfile",
    "Unlink",
    "Write",
];

/// The operation, and in which of its forms.
pub fn name(request: &Request<'_>) -> String {
    let op = format!("{:?}", request.op);
    let name = op.split([' ', '(']).next().unwrap_or("").to_owned();
    let form = match &request.op {
        Op::Rename { flags: 1.., .. } => " flags",
        Op::Fsync {
            data_only: true, ..
        } => " data_only",
        Op::Getattr { fh: Some(_) } => " fh",
        Op::Setattr(SetAttr { size: Some(_), .. }) => " size",
        Op::Setattr(SetAttr { atime: Some(_), .. }) => " times",
        Op::Setattr(SetAttr { uid: Some(_), .. }) => " owner",
        _ if request.resent => " resent",
        _ => "",
    };
    name + form
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuse_wire/frames.txt")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digits).collect()
}

pub fn write(frames: &BTreeMap<String, Vec<u8>>) {
    let mut text = String::new();
    for (name, frame) in frames {
        let request = Request::parse(frame).expect("a request");
        let _ = writeln!(text, "{name}\n  {}\n  {request:?}", hex(frame));
    }
    std::fs::write(path(), text).expect("written");
}

/// (name, frame, meaning)
pub fn read() -> Vec<(String, Vec<u8>, String)> {
    let text = std::fs::read_to_string(path()).expect("frames.txt");
    let lines: Vec<&str> = text.lines().collect();
    let parts = lines.chunks_exact(3);
    parts
        .map(|part| {
            (
                part[0].to_owned(),
                bytes(part[1].trim()),
                part[2].trim().to_owned(),
            )
        })
        .collect()
}

/// The fixtures have the byte order of the machines that are served.
#[test]
#[cfg(target_endian = "little")]
fn recorded_frames_mean_what_they_meant() {
    let frames = read();
    for (name, frame, meaning) in &frames {
        let request = Request::parse(frame).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(format!("{request:?}"), *meaning, "{name}");
    }
    for name in EVERYWHERE {
        assert!(frames.iter().any(|(found, ..)| found == name), "{name}");
    }
}
