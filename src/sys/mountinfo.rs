//! /proc/self/mountinfo: the mounts of this mount namespace.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The file.
pub const PATH: &str = "/proc/self/mountinfo";

/// A mount that users see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Seen {
    pub device: (u32, u32),
    pub path: PathBuf,
    pub kind: String,
    pub source: String,
    pub read_only: bool,
}

/// All mounts of this namespace, the latest last.
pub fn mounts() -> io::Result<Vec<Seen>> {
    let text = std::fs::read(PATH)?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .collect())
}

/// `36 35 98:0 /root /mount ro,noatime master:1 - ext4 /dev/root rw,errors=continue`
pub fn parse(line: &[u8]) -> Option<Seen> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let path = unescape(fields.nth(1)?);
    let options = String::from_utf8_lossy(fields.next()?).into_owned();
    let mut after = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(after.next()?).into_owned();
    let source = unescape(after.next()?).to_string_lossy().into_owned();
    let super_options = String::from_utf8_lossy(after.next()?).into_owned();
    let read_only = [&options, &super_options]
        .iter()
        .any(|list| list.split(',').any(|option| option == "ro"));
    Some(Seen {
        device: (major.parse().ok()?, minor.parse().ok()?),
        path: PathBuf::from(path),
        kind,
        source,
        read_only,
    })
}

/// `\040` is a space.
pub fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let octal = more
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &more[3..];
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The reverse of [`unescape`].
pub fn escape(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            byte => escaped.push(*byte),
        }
    }
    escaped
}

/// The mount on a directory, if one is: the one on top.
pub fn mounted_on(path: &Path) -> io::Result<Option<Seen>> {
    let mut all = mounts()?;
    all.retain(|mount| mount.path == path);
    Ok(all.pop())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_read() {
        let line =
            b"36 35 98:7 / /mnt/a\\040b rw,noatime shared:1 master:2 - xfs /dev/loop0 ro,x=1";
        assert_eq!(
            parse(line),
            Some(Seen {
                device: (98, 7),
                path: "/mnt/a b".into(),
                kind: "xfs".into(),
                source: "/dev/loop0".into(),
                read_only: true,
            })
        );
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn names_of_the_table_round_trip() {
        for name in ["/mnt/plain", "/mnt/a b", "/mnt/back\\slash#"] {
            assert_eq!(unescape(&escape(name.as_bytes())), name);
        }
    }
}
