//! The mount is a file system as others are: the same programs find the same on it and on what is behind it.
//!
//! What differs all the same is in docs/kernel-features.md, each with its reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dmapi::model::FuseOptions;

use super::common::{self, LoopFs};
use super::rig::{Rig, alone, on_each_kind};
use super::same;

/// Lines that may differ: the part before the colon. Where the kernel writes past the service it does so for root
/// with the rights of everybody else. btrfs lists trusted attributes for everybody.
/// The kernel offers FUSE no FICLONE, and of fallocate(2) only what does not move data. What
/// the service reads itself needs no alignment.
const MAY_DIFFER: [&str; 7] = [
    "of root they stay",
    "names to users",
    "clone",
    "collapse",
    "insert",
    "size after that",
    "misaligned",
];

/// Mount options other than the default ones.
pub const CHOICES: [FuseOptions; 3] = [
    FuseOptions::CACHED,
    FuseOptions::SHARED,
    FuseOptions(FuseOptions::CACHED.0 | FuseOptions::SHARED.0),
];

fn compare(rig: &Rig, group: &str) {
    let behind = same::lines(&rig.fs.join("behind"), group);
    let mounted = same::lines(&rig.join("mounted"), group);
    let differences: Vec<String> = behind
        .iter()
        .zip(&mounted)
        .filter(|(behind, mounted)| behind != mounted)
        .filter(|(behind, _)| !MAY_DIFFER.contains(&behind.split(':').next().unwrap_or("")))
        .map(|(behind, mounted)| format!("{behind}\n    mounted {mounted}"))
        .collect();
    assert_eq!(behind.len(), mounted.len());
    assert!(
        differences.is_empty(),
        "{} of {} {group} checks differ on {}:\n{}",
        differences.len(),
        behind.len(),
        rig.fs.kind,
        differences.join("\n")
    );
}

fn on_each_way(seconds: u64, test: impl Fn(&Rig)) {
    on_each_kind(seconds, |rig| test(&rig));
    let Some(_alone) = alone(seconds) else {
        return;
    };
    for kind in ["tmpfs", "overlay"] {
        eprintln!("on {kind}");
        test(&Rig::new(kind));
    }
    for options in CHOICES {
        eprintln!("on xfs with {options:?}");
        test(&Rig::chosen(LoopFs::new("xfs"), options));
    }
}

#[test]
fn names_are_as_behind() {
    on_each_way(240, |rig| compare(rig, "names"));
}

#[test]
fn data_is_as_behind() {
    on_each_way(240, |rig| compare(rig, "data"));
}

#[test]
fn owners_are_as_behind() {
    on_each_way(240, |rig| compare(rig, "owners"));
}

/// A program of crates.io, built once below target/.
fn tool(name: &str, version: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let program = root.join("bin").join(name);
    if program.exists() {
        return Some(program);
    }
    let done = Command::new(env!("CARGO"))
        .args(["install", name, "--version", version, "--locked", "--debug"])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(root.join("build"))
        .stdin(Stdio::null())
        .status();
    let is_there = done.is_ok_and(|status| status.success());
    if !is_there {
        common::skip(&format!(
            "{name} {version} cannot be installed (is the registry reachable?)"
        ));
    }
    is_there.then_some(program)
}

/// The lines of a run that tell a result.
fn results(program: &Path, config: &Path, dir: &Path) -> Vec<String> {
    std::fs::create_dir(dir).expect("a fresh directory");
    let output = Command::new(program)
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(dir)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|line| line.contains("::"))
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn pjdfstest_finds_the_same() {
    let Some(_alone) = alone(600) else {
        return;
    };
    let Some(program) = tool("pjdfstest", "0.2.2") else {
        return;
    };
    let rig = Rig::new("xfs");
    let config = rig.fs.path().with_file_name("pjd.toml");
    let settings = "[settings]\nnaptime = 0.02\nallow_remount = false\n\
        [dummy_auth]\nentries = [[\"daemon\", \"daemon\"], [\"bin\", \"bin\"]]\n";
    std::fs::write(&config, settings).expect("a configuration");
    let differing = |round: u32| -> Vec<String> {
        let behind = results(&program, &config, &rig.fs.join(format!("behind{round}")));
        let mounted = results(&program, &config, &rig.join(format!("mounted{round}")));
        assert!(behind.len() > 300, "{behind:?}");
        assert!(mounted.len() > 300, "{mounted:?}");
        let differs = |line: &String| !behind.contains(line);
        mounted.into_iter().filter(differs).collect()
    };
    let mut differences = differing(1);
    for round in 2..=4 {
        // Some of its tests compare times with the clock: on a machine that stood still they fail.
        if !differences.is_empty() {
            let again = differing(round);
            differences.retain(|line| again.contains(line));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn fsx_finds_no_wrong_byte() {
    let Some(_alone) = alone(400) else {
        return;
    };
    let Some(program) = tool("fsx", "0.3.2") else {
        return;
    };
    for options in [FuseOptions::default()].into_iter().chain(CHOICES) {
        let rig = Rig::chosen(LoopFs::new("xfs"), options);
        let file = rig.join("fsx");
        let output = Command::new(&program)
            .args(["-N", "3000", "-S", "7"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        assert!(
            output.status.success(),
            "{options:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
