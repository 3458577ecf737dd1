//! Data: appending, holes, direct I/O, locks, mappings, limits.

use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::libc;
use nix::unistd::{Whence, lseek};

use super::{Checks, of, plain};

/// `FS_IMMUTABLE_FL`, `FS_APPEND_FL`, `FS_NOATIME_FL` of linux/fs.h.
const IMMUTABLE: libc::c_int = 0x10;
const APPEND: libc::c_int = 0x20;
const NO_ATIME: libc::c_int = 0x80;

impl Checks {
    pub(super) fn data(&self) {
        self.appending();
        self.holes();
        self.sizes();
        self.direct();
        self.after_unlink();
        self.locks();
        self.mappings();
        self.copies();
        self.flags();
        self.programs();
        self.more();
        self.limits();
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, i32> {
        plain(std::fs::read(self.at(name)))
    }

    fn appending(&self) {
        let flags = libc::O_CREAT | libc::O_APPEND | libc::O_RDWR;
        let mut one = self.open("log", flags).expect("it opens");
        let mut two = self.open("log", flags).expect("it opens");
        for text in ["a1", "b22", "a333"] {
            let file = if text.starts_with('a') {
                &mut one
            } else {
                &mut two
            };
            self.say("append", plain(file.write(text.as_bytes())));
        }
        self.say("position", plain(one.stream_position()));
        self.say("at 0, but appended", plain(two.write_at(b"zz", 0)));
        self.say("log", self.bytes("log"));
        self.say("truncated", plain(one.set_len(3)));
        self.say("append", plain(two.write(b"end")));
        self.say("log", self.bytes("log"));
        let children: Vec<_> = (0..4)
            .map(|_| {
                let script = format!(
                    "for i in $(seq 50); do echo 0123456789 >> '{}'; done",
                    self.at("many").display()
                );
                Command::new("sh")
                    .args(["-c", &script])
                    .spawn()
                    .expect("a shell")
            })
            .collect();
        for mut child in children {
            child.wait().expect("it ends");
        }
        self.say("all there", self.bytes("many").map(|bytes| bytes.len()));
    }

    fn holes(&self) {
        let file = self
            .open("sparse", libc::O_CREAT | libc::O_RDWR)
            .expect("it opens");
        self.say("far", plain(file.write_at(b"x", 1 << 20)));
        let see = || {
            let found = file.metadata().expect("stat");
            (found.len(), found.blocks())
        };
        self.say("synced", plain(file.sync_all()));
        self.say("size", see());
        let seek = |from, whence| of(lseek(&file, from, whence));
        self.say("data", seek(0, Whence::SeekData));
        self.say("hole", seek(0, Whence::SeekHole));
        self.say("hole behind", seek(1 << 20, Whence::SeekHole));
        self.say("behind the end", seek(2 << 20, Whence::SeekData));
        let change = |mode, from, length| of(fallocate(&file, mode, from, length));
        let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        self.say(
            "allocate",
            (change(FallocateFlags::empty(), 0, 1 << 16), see()),
        );
        self.say("beyond", (change(keep, 4 << 20, 4096), see().0));
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE;
        self.say("punch", (change(punch | keep, 1 << 20, 4096), see().0));
        self.say("punch alone", change(punch, 0, 4096));
        self.say("zero", change(FallocateFlags::FALLOC_FL_ZERO_RANGE, 0, 10));
        self.say("length 0", change(FallocateFlags::empty(), 0, 0));
        self.say(
            "no such mode",
            change(FallocateFlags::from_bits_retain(1 << 14), 0, 1),
        );
        let mut byte = [7];
        self.say(
            "zeros",
            plain(file.read_at(&mut byte, 1 << 20)).map(|_| byte),
        );
    }

    fn sizes(&self) {
        let file = self.file("sized", 5000);
        self.say("cut", plain(file.set_len(10)));
        self.say("grown", plain(file.set_len(5000)));
        let bytes = self.bytes("sized").expect("it is read");
        self.say(
            "sum",
            bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>(),
        );
        self.say("too large", of(nix::unistd::ftruncate(&file, i64::MAX)));
        self.say("negative", of(nix::unistd::ftruncate(&file, -1)));
        self.say("a directory", of(nix::unistd::truncate(&self.dir, 0)));
        self.say("nothing", of(nix::unistd::truncate(&self.at("none"), 0)));
        let read_only = self.open("sized", libc::O_RDONLY).expect("it opens");
        self.say("to read", of(nix::unistd::ftruncate(&read_only, 0)));
        self.say("write to read", plain((&read_only).write(b"x")));
        let truncated = self.open("sized", libc::O_TRUNC | libc::O_RDWR);
        self.say(
            "at open",
            truncated.map(|file| file.metadata().expect("stat").len()),
        );
        self.say("reading at the end", plain(file.read_at(&mut [0; 10], 0)));
        self.say("write far", plain(file.write_at(b"x", (1 << 40) - 1)));
        self.say("size", file.metadata().expect("stat").len());
        self.say("cut again", plain(file.set_len(0)));
    }

    fn direct(&self) {
        let layout = std::alloc::Layout::from_size_align(8192, 4096).expect("a layout");
        // SAFETY: the size is not zero; the memory lives as long as the process.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        // SAFETY: just allocated, of that size, and used by nobody else.
        let buffer = unsafe { std::slice::from_raw_parts_mut(base, 8192) };
        buffer.fill(b'd');
        let flags = libc::O_CREAT | libc::O_RDWR | libc::O_DIRECT;
        let file = match self.open("direct", flags) {
            Ok(file) => file,
            Err(errno) => return self.say("no direct I/O", errno),
        };
        self.say("write", plain(file.write_at(buffer, 0)));
        self.say("seen", self.bytes("direct").map(|bytes| bytes.len()));
        buffer.fill(0);
        self.say(
            "read",
            plain(file.read_at(buffer, 4096)).map(|read| (read, buffer[0])),
        );
        self.say("at the end", plain(file.read_at(buffer, 8192)));
        let other = self.open("direct", libc::O_RDWR).expect("it opens");
        self.say("buffered", plain(other.write_at(b"b", 0)));
        self.say(
            "read",
            plain(file.read_at(buffer, 0)).map(|read| (read, buffer[0], buffer[1])),
        );
    }

    fn after_unlink(&self) {
        let mut file = self.file("going", 100);
        self.say("unlink", plain(std::fs::remove_file(self.at("going"))));
        self.say("links", file.metadata().expect("stat").nlink());
        self.say("write", plain(file.write_at(b"more", 100)));
        self.say("seek", plain(file.seek(SeekFrom::Start(98))));
        let mut rest = Vec::new();
        self.say("read", plain(file.read_to_end(&mut rest)).map(|_| rest));
        self.say("truncate", plain(file.set_len(1)));
        let again = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.say(
            "opened again",
            plain(again).map(|file| file.metadata().expect("stat").len()),
        );
        let xattr = dmapi::sys::xattr::set(file.as_fd(), c"user.a", b"b");
        self.say("setxattr", plain(xattr));
        self.file("going", 3);
        self.say("another", self.bytes("going").map(|bytes| bytes.len()));
        self.file("over", 4);
        let over = self.open("over", libc::O_RDWR).expect("it opens");
        self.say(
            "rename",
            plain(std::fs::rename(self.at("going"), self.at("over"))),
        );
        self.say(
            "the old one",
            over.metadata()
                .map(|found| (found.nlink(), found.len()))
                .ok(),
        );
        self.say("the new one", self.bytes("over").map(|bytes| bytes.len()));
    }

    /// Of another process: python3 is not sure to be there, flock(1) is.
    fn locks(&self) {
        let file = self.file("locked", 10);
        let lock = |kind: i32, start, length| libc::flock {
            l_type: kind as i16,
            l_whence: libc::SEEK_SET as i16,
            l_start: start,
            l_len: length,
            l_pid: 0,
        };
        let write = lock(libc::F_WRLCK, 0, 5);
        self.say("OFD", of(fcntl(&file, FcntlArg::F_OFD_SETLK(&write))));
        let other = self.open("locked", libc::O_RDWR).expect("it opens");
        self.say(
            "OFD again",
            of(fcntl(&other, FcntlArg::F_OFD_SETLK(&write))),
        );
        let behind = lock(libc::F_WRLCK, 5, 5);
        self.say(
            "OFD behind",
            of(fcntl(&other, FcntlArg::F_OFD_SETLK(&behind))),
        );
        self.say("POSIX", of(fcntl(&other, FcntlArg::F_SETLK(&write))));
        let mut asked = lock(libc::F_RDLCK, 0, 1);
        let found = of(fcntl(&other, FcntlArg::F_GETLK(&mut asked)));
        self.say("who", (found, asked.l_type, asked.l_start, asked.l_len));
        drop(file);
        self.say("POSIX after", of(fcntl(&other, FcntlArg::F_SETLK(&write))));
        let flock = |flags: &str| {
            let path = self.at("locked").display().to_string();
            let status = Command::new("flock").args([flags, &path, "true"]).status();
            status.expect("flock(1)").code()
        };
        self.say("flock", flock("-xn"));
        // SAFETY: a live descriptor.
        let taken = unsafe { libc::flock(other.as_raw_fd(), libc::LOCK_EX) };
        self.say("flock taken", (taken, flock("-xn"), flock("-sn")));
        drop(other);
        self.say("flock free", flock("-xn"));
    }

    fn mappings(&self) {
        const BYTES: usize = 8192;
        let file = self.file("mapped", BYTES);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let (any, fd) = (std::ptr::null_mut(), file.as_raw_fd());
        // SAFETY: a fresh mapping of a file that has these bytes.
        let base = unsafe { libc::mmap(any, BYTES, both, libc::MAP_SHARED, fd, 0) };
        if base == libc::MAP_FAILED {
            return self.say("no mapping", nix::errno::Errno::last_raw());
        }
        // SAFETY: within the mapping.
        let byte = |at: usize| unsafe { base.cast::<u8>().add(at) };
        // SAFETY: the mapping can be written, and nobody else uses it.
        unsafe { byte(5000).write_volatile(0xee) };
        self.say("stored", self.bytes("mapped").map(|bytes| bytes[5000]));
        // SAFETY: the mapping is ours.
        let synced = unsafe { libc::msync(base, BYTES, libc::MS_SYNC) };
        self.say("synced", synced);
        let times = || {
            let found = file.metadata().expect("stat");
            (found.mtime(), found.mtime_nsec(), found.ctime_nsec())
        };
        let before = times();
        std::thread::sleep(std::time::Duration::from_millis(20));
        // SAFETY: as above.
        unsafe { byte(1).write_volatile(0xdd) };
        // SAFETY: as above.
        let synced = unsafe { libc::msync(base, BYTES, libc::MS_SYNC) };
        self.say("times move", (synced, times() != before));
        self.say("written", plain(file.write_at(b"\x77", 5001)));
        // SAFETY: it is mapped.
        self.say("seen", unsafe { byte(5001).read_volatile() });
        self.say("unlinked", plain(std::fs::remove_file(self.at("mapped"))));
        // SAFETY: it is mapped.
        self.say("still there", unsafe { byte(5000).read_volatile() });
        // SAFETY: ours, and not used any more.
        self.say("unmapped", unsafe { libc::munmap(base, BYTES) });
    }

    fn copies(&self) {
        let from = self.file("from", 10_000);
        let to = self
            .open("to", libc::O_CREAT | libc::O_RDWR)
            .expect("it opens");
        let (mut source, mut target) = (100, 0);
        let copied =
            nix::fcntl::copy_file_range(&from, Some(&mut source), &to, Some(&mut target), 5000);
        self.say("copied", (of(copied), source, target));
        self.say(
            "sum",
            self.bytes("to")
                .map(|bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>()),
        );
        let (mut source, mut target) = (0, 100);
        let overlap =
            nix::fcntl::copy_file_range(&from, Some(&mut source), &from, Some(&mut target), 500);
        self.say("overlapping", of(overlap));
        self.say("cp", plain(std::fs::copy(self.at("from"), self.at("cp"))));
        self.say("equal", self.bytes("cp") == self.bytes("from"));
    }

    fn flags(&self) {
        let file = self.file("flagged", 10);
        let flags = |add: i32| {
            let mut flags: libc::c_int = 0;
            // SAFETY: the kernel writes four bytes.
            if unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) } != 0 {
                return Err(nix::errno::Errno::last_raw());
            }
            let known = flags & (IMMUTABLE | APPEND | NO_ATIME);
            flags = flags & !(IMMUTABLE | APPEND) | add;
            // SAFETY: the kernel reads four bytes.
            match unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) } {
                0 => Ok(known),
                _ => Err(nix::errno::Errno::last_raw()),
            }
        };
        self.say("immutable", flags(IMMUTABLE));
        self.say("unlink", plain(std::fs::remove_file(self.at("flagged"))));
        self.say("write", self.open("flagged", libc::O_RDWR).map(drop));
        self.say("append only", flags(APPEND));
        self.say("no flag", flags(0));
        self.say("unlink", plain(std::fs::remove_file(self.at("flagged"))));
        // SAFETY: no argument.
        let other =
            unsafe { libc::ioctl(file.as_raw_fd(), libc::TCGETS, std::ptr::null_mut::<u8>()) };
        self.say("no terminal", called(other));
    }

    fn programs(&self) {
        use std::os::unix::fs::PermissionsExt;
        self.say(
            "program",
            plain(std::fs::copy("/bin/sleep", self.at("sleep"))).is_ok(),
        );
        let run = |seconds: &str| Command::new(self.at("sleep")).arg(seconds).spawn();
        self.say(
            "run",
            plain(run("0").and_then(|mut child| child.wait())).map(|status| status.code()),
        );
        let mut child = run("60").expect("it starts");
        self.say("busy", self.open("sleep", libc::O_RDWR).map(drop));
        child.kill().expect("it lives");
        child.wait().expect("it is gone");
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(self.at("sleep"), mode).expect("chmod");
        self.say("may not", plain(run("0")).map(drop));
        std::fs::write(self.at("script"), "#!/bin/sh\nexit 7\n").expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.at("script"), mode).expect("chmod");
        let status = Command::new(self.at("script")).status();
        self.say("script", plain(status).map(|status| status.code()));
    }

    /// What file systems themselves do in different ways.
    fn more(&self) {
        let file = self.file("more", 10_000);
        let atime = || {
            let found = self.at("more").metadata().expect("stat");
            (found.atime(), found.atime_nsec())
        };
        let before = atime();
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(self.bytes("more"));
        self.say("reading moves atime", atime() != before);
        let to = self.file("clone", 0);
        // SAFETY: two descriptors.
        let cloned = unsafe { libc::ioctl(to.as_raw_fd(), 0x4004_9409, file.as_raw_fd()) };
        self.say("clone", called(cloned));
        let set = |append_only: libc::c_int| {
            let mut flags: libc::c_int = 0;
            // SAFETY: the kernel writes four bytes.
            let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) };
            flags = flags & !APPEND | append_only;
            // SAFETY: the kernel reads four bytes.
            let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) };
            (called(got), called(set))
        };
        self.say("append only", set(APPEND));
        let append = self.open("more", libc::O_WRONLY | libc::O_APPEND);
        let append = append.map(|mut file| plain(file.write(b"x")));
        self.say("append to append-only", append);
        file.sync_all().expect("synced");
        self.say("its size", self.at("more").metadata().expect("stat").len());
        self.say(
            "write to append-only",
            self.open("more", libc::O_WRONLY).map(drop),
        );
        self.say("no flag", set(0));
        // SAFETY: a descriptor and an integer.
        let lease = unsafe { libc::fcntl(to.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        self.say("lease", called(lease));
        drop(to);
        let direct = self.open("more", libc::O_RDONLY | libc::O_DIRECT);
        let direct = direct.map(|file| plain(file.read_at(&mut [0; 100], 7)).is_ok());
        self.say("misaligned", direct);
        let synced = self.open("more", libc::O_WRONLY | libc::O_SYNC);
        self.say("sync", synced.map(|file| plain(file.write_at(b"x", 0))));
        let inodes = std::fs::read_dir(&self.dir)
            .expect("it is read")
            .all(|entry| {
                use std::os::unix::fs::DirEntryExt;
                let entry = entry.expect("an entry");
                entry.ino() == entry.path().symlink_metadata().expect("stat").ino()
            });
        self.say("numbers of entries", inodes);
        let change = |mode| of(fallocate(&file, mode, 4096, 4096));
        self.say("collapse", change(FallocateFlags::FALLOC_FL_COLLAPSE_RANGE));
        self.say("insert", change(FallocateFlags::FALLOC_FL_INSERT_RANGE));
        self.say("size after that", file.metadata().expect("stat").len());
    }

    /// The last: the limit stays.
    fn limits(&self) {
        use nix::sys::resource::{Resource, setrlimit};
        use nix::sys::signal::{SigHandler, Signal, signal};
        let file = self.file("limited", 10);
        // SAFETY: no handler of ours runs.
        unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("it is ignored");
        setrlimit(Resource::RLIMIT_FSIZE, 1000, 1000).expect("a limit");
        self.say("within", plain(file.write_at(&[1; 500], 100)));
        self.say("across", plain(file.write_at(&[1; 500], 900)));
        self.say("beyond", plain(file.write_at(&[1; 500], 1000)));
        self.say("truncate", plain(file.set_len(1001)));
        self.say(
            "fallocate",
            of(fallocate(&file, FallocateFlags::empty(), 0, 1001)),
        );
        self.say("size", file.metadata().expect("stat").len());
    }
}

/// What a plain call of the C library gave.
fn called(result: libc::c_int) -> Result<libc::c_int, i32> {
    match result {
        -1 => Err(nix::errno::Errno::last_raw()),
        result => Ok(result),
    }
}
