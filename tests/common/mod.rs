//! What tests on real file systems share: small loop-mounted images that are gone afterwards, also when
//! the test fails, is killed or hangs into its deadline.
#![allow(dead_code)]

use std::ffi::CString;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use dmapi::fs::Mount;

/// The kinds that are served.
pub const KINDS: [&str; 3] = ["xfs", "ext4", "btrfs"];

const TRY_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Says why a test cannot do its work. Where nothing may be skipped (`DMAPI_NO_SKIP=1`) it fails instead.
#[track_caller]
pub fn skip(why: &str) {
    let may_skip = std::env::var_os("DMAPI_NO_SKIP").is_none_or(|value| value != "1");
    assert!(may_skip, "DMAPI_NO_SKIP=1 forbids to skip: {why}");
    eprintln!("SKIP: {why}");
}

/// Real file systems need root; says so where it is missing.
#[track_caller]
pub fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip("needs root to mount file systems");
    }
    root
}

/// Runs a command to its end.
///
/// # Panics
/// If it fails: the output is in the message.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Ends the whole test program when a test takes too long, so that a blocked access cannot hang it for ever.
#[derive(Debug)]
pub struct Deadline(std::sync::mpsc::Sender<()>);

impl Deadline {
    /// Runs until it is dropped.
    pub fn new(what: &'static str, seconds: u64) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let limit = std::time::Duration::from_secs(seconds);
        std::thread::spawn(move || {
            use std::sync::mpsc::RecvTimeoutError::Timeout;
            if receiver.recv_timeout(limit) == Err(Timeout) {
                eprintln!("{what}: not done after {seconds} s");
                std::process::abort();
            }
        });
        Self(sender)
    }
}

/// Removes the mount and the files when its standard input ends: at the death of the test, however it dies.
/// The loop device detaches itself with the last mount.
const JANITOR: &str = r#"
trap '' HUP INT TERM
read -r line
for mount in $(findmnt -rno TARGET | grep -F "$1/" | sort -r); do umount -l "$mount"; done
findmnt -rno TARGET | grep -qF "$1/" || rm -rf "$1"
"#;

/// A file system of its own on a loop device, removed when dropped.
#[derive(Debug)]
pub struct LoopFs {
    /// `xfs`, `ext4`, `btrfs`; and without a device `tmpfs`, and `overlay` on a tmpfs.
    pub kind: &'static str,
    dir: PathBuf,
    janitor: Child,
}

impl LoopFs {
    /// Makes and mounts one.
    pub fn new(kind: &'static str) -> Self {
        Self::with(kind, &[])
    }

    /// The same with more arguments for mkfs.
    pub fn with(kind: &'static str, mkfs: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("dmapi-test-").tempdir();
        let dir = dir.expect("a temporary directory").keep();
        let janitor = Command::new("setsid")
            .args(["sh", "-c", JANITOR, "janitor"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setsid is there");
        let fs = Self { kind, dir, janitor };
        std::fs::create_dir(fs.path()).expect("a mount point");
        fs.make(mkfs);
        fs.mount();
        fs
    }

    fn image(&self) -> PathBuf {
        self.dir.join("image")
    }

    fn make(&self, mkfs: &[&str]) {
        if self.kind == "tmpfs" {
            return;
        }
        if self.kind == "overlay" {
            let layers = self.dir.join("layers");
            std::fs::create_dir(&layers).expect("a mount point");
            let path = layers.to_str().expect("temporary names are text");
            run("mount", &["-t", "tmpfs", "layers", path]);
            for name in ["lower", "upper", "work"] {
                std::fs::create_dir(layers.join(name)).expect("a layer");
            }
            std::fs::write(layers.join("lower/below"), "below").expect("a file below");
            return;
        }
        let megabytes = match self.kind {
            "xfs" => 320,
            "btrfs" => 128,
            _ => 64,
        };
        let image = File::create(self.image()).expect("an image");
        image.set_len(megabytes << 20).expect("a sparse image");
        let program = format!("mkfs.{}", self.kind);
        let image = self.image();
        let mut arguments = vec!["-q"];
        arguments.extend(mkfs);
        arguments.push(image.to_str().expect("temporary names are text"));
        run(&program, &arguments);
    }

    /// The mount point that users see.
    pub fn path(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// A file on it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Mounts it again after [`LoopFs::umount`].
    pub fn mount(&self) {
        let (image, path) = (self.image(), self.path());
        let text = |path: &Path| path.to_str().expect("temporary names are text").to_owned();
        if self.kind == "tmpfs" {
            run(
                "mount",
                &[
                    "-t",
                    "tmpfs",
                    "-o",
                    "strictatime,size=64m",
                    "none",
                    &text(&path),
                ],
            );
            return;
        }
        if self.kind == "overlay" {
            let layer = |name: &str| text(&self.dir.join("layers").join(name));
            let options = format!(
                "index=on,nfs_export=on,lowerdir={},upperdir={},workdir={}",
                layer("lower"),
                layer("upper"),
                layer("work")
            );
            run(
                "mount",
                &["-t", "overlay", "-o", &options, "none", &text(&path)],
            );
            return;
        }
        // strictatime: a read that moves atime is seen.
        let options = "loop,strictatime";
        run("mount", &["-o", options, &text(&image), &text(&path)]);
    }

    /// Unmounts it. Another thread's child may hold a copy of a descriptor until it execs: tries again.
    pub fn umount(&self) {
        let path = self.path();
        let start = std::time::Instant::now();
        loop {
            match nix::mount::umount(&path) {
                Ok(()) => return,
                Err(nix::errno::Errno::EBUSY) if start.elapsed() < TRY_LIMIT => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                Err(errno) => panic!("{} cannot be unmounted: {errno}", path.display()),
            }
        }
    }

    /// Its root on a detached copy of the mount, as the worker has it. It keeps the file system in use: drop it
    /// before [`LoopFs::umount`], else the next mount is a second one of the same image.
    pub fn open_private(&self) -> Mount {
        let path = CString::new(self.path().into_os_string().into_vec());
        let path = path.expect("no NUL in temporary names");
        let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
        // SAFETY: the path ends with NUL.
        let fd =
            unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
        assert!(fd >= 0, "open_tree: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel just made this descriptor, and nobody else knows it.
        let tree = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // The copy is O_PATH; what follows wants a descriptor that can be read.
        let flags = nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
        let root = nix::fcntl::openat(&tree, ".", flags, nix::sys::stat::Mode::empty());
        Mount::serving(root.expect("its root"), Some(&self.state_dir())).expect("a served kind")
    }

    /// Where a worker would keep its state.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Its root as the file layer sees it. Not a mount of its own: where marks are set, use the source's.
    pub fn open(&self) -> Mount {
        let root = File::open(self.path()).expect("the mount point");
        Mount::serving(root.into(), Some(&self.state_dir())).expect("a served kind")
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // The janitor does the work; here it is only waited for.
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}
