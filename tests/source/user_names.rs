//! What a user does with names and attributes.
#![allow(clippy::multiple_unsafe_ops_per_block)] // A run of plain system calls.

use std::ffi::CString;

use super::{Done, plain};

fn stat(path: &CString) -> Result<libc::stat, Done> {
    // SAFETY: zeroes are a valid stat.
    let mut found = unsafe { std::mem::zeroed::<libc::stat>() };
    // SAFETY: a live path and room for the answer.
    match unsafe { libc::lstat(path.as_ptr(), &mut found) } {
        0 => Ok(found),
        _ => Err(plain(-1)),
    }
}

/// Octal numbers for modes, decimal ones for the rest.
pub fn act(words: &[&str]) -> Done {
    let text = |index: usize| CString::new(words[index]).expect("no NUL");
    let number = |index: usize| words[index].parse::<i64>().expect("a number");
    let octal = |index: usize| u32::from_str_radix(words[index], 8).expect("an octal number");
    let see = |which: fn(&libc::stat) -> i64| match stat(&text(1)) {
        Ok(found) => plain(which(&found)),
        Err(failed) => failed,
    };
    // SAFETY: each call gets live strings and buffers.
    let result = unsafe {
        match words[0] {
            "mkdir" => libc::mkdir(text(1).as_ptr(), octal(2)),
            "mknod" => libc::mknod(text(1).as_ptr(), octal(2), number(3) as u64),
            // symlink TARGET PATH
            "symlink" => libc::symlink(text(1).as_ptr(), text(2).as_ptr()),
            "link" => libc::link(text(1).as_ptr(), text(2).as_ptr()),
            "unlink" => libc::unlink(text(1).as_ptr()),
            "rmdir" => libc::rmdir(text(1).as_ptr()),
            // rename OLD NEW FLAGS
            "rename" => libc::syscall(
                libc::SYS_renameat2,
                libc::AT_FDCWD,
                text(1).as_ptr(),
                libc::AT_FDCWD,
                text(2).as_ptr(),
                number(3),
            ) as i32,
            "chmod" => libc::chmod(text(1).as_ptr(), octal(2)),
            "chown" => libc::lchown(text(1).as_ptr(), number(2) as u32, number(3) as u32),
            // utimes PATH SECONDS NANOSECONDS: both times
            "utimes" => {
                let time = libc::timespec {
                    tv_sec: number(2),
                    tv_nsec: number(3),
                };
                let times = [time, time];
                libc::utimensat(
                    libc::AT_FDCWD,
                    text(1).as_ptr(),
                    times.as_ptr(),
                    libc::AT_SYMLINK_NOFOLLOW,
                )
            }
            // setxattr PATH NAME VALUE FLAGS
            "setxattr" => libc::lsetxattr(
                text(1).as_ptr(),
                text(2).as_ptr(),
                words[3].as_ptr().cast(),
                words[3].len(),
                number(4) as i32,
            ),
            "removexattr" => libc::lremovexattr(text(1).as_ptr(), text(2).as_ptr()),
            // xattr PATH NAME: how long it is
            "xattr" => {
                let mut value = [0u8; 256];
                let room = value.as_mut_ptr().cast();
                libc::lgetxattr(text(1).as_ptr(), text(2).as_ptr(), room, value.len()) as i32
            }
            // Another user, without further groups and capabilities.
            "become" => {
                libc::setgroups(0, std::ptr::null());
                libc::setresgid(number(2) as u32, number(2) as u32, number(2) as u32);
                libc::setresuid(number(1) as u32, number(1) as u32, number(1) as u32)
            }
            // tmpfile DIR: a file without a name, open; name FD PATH: gives it one
            "tmpfile" => libc::open(text(1).as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600),
            "name" => libc::linkat(
                number(1) as i32,
                c"".as_ptr(),
                libc::AT_FDCWD,
                text(2).as_ptr(),
                libc::AT_EMPTY_PATH,
            ),
            "umask" => libc::umask(octal(1)) as i32,
            "chdir" => libc::chdir(text(1).as_ptr()),
            "links" => return see(|found| found.st_nlink as i64),
            "mode" => return see(|found| i64::from(found.st_mode)),
            "inode" => return see(|found| found.st_ino as i64),
            "group" => return see(|found| i64::from(found.st_gid)),
            "ctime" => return see(|found| found.st_ctime * 1_000_000_000 + found.st_ctime_nsec),
            "mtime" => return see(|found| found.st_mtime * 1_000_000_000 + found.st_mtime_nsec),
            // entries PATH: how many names a directory has, and none twice
            "entries" => return entries(words[1]),
            other => panic!("unknown operation {other}"),
        }
    };
    plain(i64::from(result))
}

fn entries(path: &str) -> Done {
    let dir = match std::fs::read_dir(path) {
        Ok(dir) => dir,
        Err(error) => return failed(&error),
    };
    let mut names = std::collections::HashSet::new();
    for entry in dir {
        match entry {
            Ok(entry) => assert!(names.insert(entry.file_name()), "{entry:?} twice"),
            Err(error) => return failed(&error),
        }
    }
    plain(names.len() as i64)
}

fn failed(error: &std::io::Error) -> Done {
    Done {
        result: -1,
        errno: error.raw_os_error().unwrap_or(0),
        zeros: 0,
        wrong: 0,
    }
}
