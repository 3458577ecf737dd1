//! What programs see of a file system: a list of lines, to be compared between the mount and the file system
//! behind it.
//!
//! The checks run in a process of their own: this test program again, started with `DMAPI_TEST_CHECKS`.

mod data;
mod names;
mod owners;

use std::fmt::Debug;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;

/// Where the checks of a process go.
pub struct Checks {
    dir: PathBuf,
}

impl Checks {
    fn say(&self, what: &str, found: impl Debug) {
        println!("@{what}: {found:?}");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Open with flags; creates with 0644.
    fn open(&self, name: &str, flags: i32) -> Result<std::fs::File, i32> {
        let access = flags & libc::O_ACCMODE;
        let mut options = std::fs::OpenOptions::new();
        options
            .read(access != libc::O_WRONLY)
            .write(access != libc::O_RDONLY)
            .mode(0o644)
            .custom_flags(flags & !libc::O_ACCMODE);
        plain(options.open(self.at(name)))
    }

    fn file(&self, name: &str, bytes: usize) -> std::fs::File {
        let content: Vec<u8> = (0..bytes).map(|at| at as u8 | 1).collect();
        std::fs::write(self.at(name), content).expect("a file to begin with");
        self.open(name, libc::O_RDWR).expect("it opens")
    }

    fn run_all(&self, group: &str) {
        match group {
            "names" => self.names(),
            "data" => self.data(),
            "owners" => self.owners(),
            other => panic!("group {other}"),
        }
    }
}

/// The value, or the errno.
fn plain<T>(result: std::io::Result<T>) -> Result<T, i32> {
    result.map_err(|error| error.raw_os_error().unwrap_or(-1))
}

fn of<T>(result: nix::Result<T>) -> Result<T, i32> {
    result.map_err(|errno| errno as i32)
}

/// The life of a process that checks.
pub fn live(dir: &Path) {
    let group = std::env::var("DMAPI_TEST_GROUP").expect("a group of checks");
    let checks = Checks { dir: dir.into() };
    std::fs::create_dir(dir).expect("a fresh directory");
    checks.run_all(&group);
    println!("@end: {group}");
}

/// What the checks of a group say in a directory that is not there yet.
pub fn lines(dir: &Path, group: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "user_process", "--nocapture", "--test-threads=1"])
        .env("DMAPI_TEST_CHECKS", dir)
        .env("DMAPI_TEST_GROUP", group)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<String> = text
        .lines()
        .filter_map(|line| Some(line.split_once('@')?.1.to_owned()))
        .collect();
    assert_eq!(
        lines.last(),
        Some(&format!("end: {group}")),
        "the checks stopped early: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    lines
}
