//! Names, special files, times.

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::fcntl::{AT_FDCWD, AtFlags, RenameFlags, renameat2};
use nix::libc;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, mkfifo};

use super::{Checks, of, plain};

impl Checks {
    pub(super) fn names(&self) {
        self.lookups();
        self.links();
        self.renames();
        self.special_files();
        self.times();
        self.directories();
        self.unnamed();
    }

    fn lookups(&self) {
        let open = |name: &str, flags| self.open(name, flags).map(drop);
        self.say("none", open("none", libc::O_RDONLY));
        self.say("creat", open("f", libc::O_CREAT | libc::O_WRONLY));
        self.say(
            "excl",
            open("f", libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY),
        );
        self.say("creat again", open("f", libc::O_CREAT | libc::O_RDWR));
        self.say("directory", open("f", libc::O_DIRECTORY));
        self.say("write a directory", open(".", libc::O_RDWR));
        self.say("creat a directory", open(".", libc::O_CREAT | libc::O_RDWR));
        self.say("below a file", open("f/x", libc::O_RDONLY));
        self.say(
            "symlink",
            plain(std::os::unix::fs::symlink("f", self.at("s"))),
        );
        self.say("nofollow", open("s", libc::O_NOFOLLOW));
        self.say("follow", open("s", libc::O_RDONLY));
        self.say("readlink", plain(std::fs::read_link(self.at("s"))));
        self.say(
            "loop",
            plain(std::os::unix::fs::symlink("loop", self.at("loop"))),
        );
        self.say("follow the loop", open("loop", libc::O_RDONLY));
        self.say(
            "dangling",
            plain(std::os::unix::fs::symlink("new", self.at("to-new"))),
        );
        self.say(
            "creat by a link",
            open("to-new", libc::O_CREAT | libc::O_RDWR),
        );
        self.say("made", self.at("new").exists());
        for length in [254, 255, 256] {
            let name = "n".repeat(length);
            self.say(
                &format!("name of {length}"),
                open(&name, libc::O_CREAT | libc::O_WRONLY),
            );
        }
        for length in [1023, 4095] {
            let target = "t/".repeat(length / 2);
            let made = plain(std::os::unix::fs::symlink(
                &target,
                self.at(&format!("l{length}")),
            ));
            self.say(&format!("target of {length}"), made);
            let read = plain(std::fs::read_link(self.at(&format!("l{length}"))));
            self.say("as made", read.map(|read| read.as_os_str().len()));
        }
        self.say("odd name", open("\u{fe}\n %", libc::O_CREAT | libc::O_RDWR));
    }

    fn links(&self) {
        let file = self.file("linked", 100);
        let links = || plain(self.at("linked").symlink_metadata()).map(|found| found.nlink());
        let link = |old: &str, new: &str| plain(std::fs::hard_link(self.at(old), self.at(new)));
        self.say("link", (link("linked", "second"), links()));
        self.say("link over", link("linked", "second"));
        self.say("link a directory", link(".", "dir-link"));
        self.say("link a symlink", link("s", "s2"));
        self.say("same", plain(self.same("linked", "second")));
        self.say("unlink", plain(std::fs::remove_file(self.at("second"))));
        self.say("left", links());
        self.say(
            "by descriptor",
            file.metadata().map(|found| found.nlink()).ok(),
        );
        self.say(
            "unlink the last",
            plain(std::fs::remove_file(self.at("linked"))),
        );
        self.say("none left", file.metadata().map(|found| found.nlink()).ok());
        let empty = linkat(
            &file,
            "",
            AT_FDCWD,
            &self.at("back"),
            AtFlags::AT_EMPTY_PATH,
        );
        self.say("no way back", of(empty));
        self.say("unlink a directory", plain(std::fs::remove_file(&self.dir)));
        self.say("rmdir a file", plain(std::fs::remove_dir(self.at("f"))));
    }

    fn same(&self, one: &str, other: &str) -> std::io::Result<bool> {
        let (one, other) = (self.at(one).metadata()?, self.at(other).metadata()?);
        Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
    }

    fn renames(&self) {
        let rename = |old: &str, new: &str, flags| {
            of(renameat2(
                AT_FDCWD,
                &self.at(old),
                AT_FDCWD,
                &self.at(new),
                flags,
            ))
        };
        let (none, no_replace) = (RenameFlags::empty(), RenameFlags::RENAME_NOREPLACE);
        let exchange = RenameFlags::RENAME_EXCHANGE;
        self.file("a", 1);
        self.file("b", 2);
        for dir in ["d", "d/e", "full", "full/x"] {
            std::fs::create_dir(self.at(dir)).expect("a directory");
        }
        self.say("noreplace", rename("a", "b", no_replace));
        self.say("noreplace to nothing", rename("a", "c", no_replace));
        self.say("exchange", rename("c", "b", exchange));
        let size = |name: &str| plain(self.at(name).metadata()).map(|found| found.len());
        self.say("exchanged", (size("c"), size("b")));
        self.say("exchange with nothing", rename("c", "none", exchange));
        self.say("exchange kinds", rename("c", "d", exchange));
        self.say(
            "below a file now",
            plain(self.at("c/e").metadata()).map(|_| ()),
        );
        self.say("back", rename("c", "d", exchange));
        self.say("both", rename("c", "d", no_replace | exchange));
        self.say("into itself", rename("d", "d/e/f", none));
        self.say("over a full one", rename("d", "full", none));
        self.say("over an empty one", rename("full", "d/e", none));
        self.say("moved", self.at("d/e/x").is_dir());
        self.say("file over directory", rename("c", "d", none));
        self.say("directory over file", rename("d", "c", none));
        self.say("nothing", rename("none", "c", none));
        self.say(
            "hard link",
            plain(std::fs::hard_link(self.at("c"), self.at("c2"))),
        );
        self.say("over its own link", rename("c", "c2", none));
        self.say("both there", (size("c"), size("c2")));
        self.say("whiteout", rename("c", "w", RenameFlags::RENAME_WHITEOUT));
        let left = plain(self.at("c").symlink_metadata());
        self.say("left", left.map(|left| (left.mode(), left.rdev())));
        self.say(
            "links of d",
            plain(self.at("d").metadata()).map(|found| found.nlink()),
        );
    }

    fn special_files(&self) {
        let bits = Mode::from_bits_truncate(0o640);
        self.say("fifo", of(mkfifo(&self.at("fifo"), bits)));
        let null = libc::makedev(1, 3);
        self.say(
            "null",
            of(mknod(&self.at("null"), SFlag::S_IFCHR, bits, null)),
        );
        let disk = libc::makedev(4000, 300_000);
        self.say(
            "disk",
            of(mknod(&self.at("disk"), SFlag::S_IFBLK, bits, disk)),
        );
        let socket = std::os::unix::net::UnixListener::bind(self.at("sock"));
        self.say("socket", plain(socket.map(drop)));
        for name in ["fifo", "null", "disk", "sock", "s"] {
            let found = plain(self.at(name).symlink_metadata());
            self.say(
                name,
                found.map(|found| (found.mode(), found.rdev(), found.nlink())),
            );
        }
        let kinds = std::fs::read_dir(&self.dir).expect("it is read");
        let mut kinds: Vec<_> = kinds
            .map(|entry| {
                let entry = entry.expect("an entry");
                let kind = entry.file_type().expect("its kind");
                (
                    entry.file_name(),
                    kind.is_fifo(),
                    kind.is_socket(),
                    kind.is_dir(),
                )
            })
            .collect();
        kinds.sort();
        self.say("kinds", kinds);
        self.say(
            "write to null",
            plain(std::fs::write(self.at("null"), b"x")),
        );
        let two_ends = self.open("fifo", libc::O_RDWR | libc::O_NONBLOCK);
        self.say(
            "a pipe",
            two_ends.map(|pipe| {
                use std::io::{Read, Write};
                let mut back = [0; 3];
                (&pipe)
                    .write_all(b"abc")
                    .and_then(|()| (&pipe).read_exact(&mut back))
                    .expect("through");
                back
            }),
        );
    }

    fn times(&self) {
        self.file("t", 10);
        let set = |atime: TimeSpec, mtime: TimeSpec| {
            let flags = UtimensatFlags::NoFollowSymlink;
            of(utimensat(AT_FDCWD, &self.at("t"), &atime, &mtime, flags))
        };
        let see = || {
            let found = self.at("t").metadata().expect("stat");
            let one = (found.atime(), found.atime_nsec());
            (one, (found.mtime(), found.mtime_nsec()))
        };
        let at = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
        self.say("set", (set(at(1, 2), at(3, 4)), see()));
        self.say(
            "only mtime",
            (set(TimeSpec::UTIME_OMIT, at(7, 999_999_999)), see()),
        );
        self.say("before 1970", (set(at(-5, 1), at(-7, 2)), see()));
        self.say(
            "after 2038",
            (set(at(1 << 32, 1), at(5_000_000_000, 2)), see()),
        );
        self.say("now", set(TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW));
        self.say("is now", see().1.0 > 1_600_000_000);
        let of = |name: &str| {
            let found = self.at(name).symlink_metadata().expect("stat");
            let ctime = (found.ctime(), found.ctime_nsec());
            ((found.mtime(), found.mtime_nsec()), ctime)
        };
        let moves = |what: &str, name: &str, act: &dyn Fn()| {
            let before = of(name);
            std::thread::sleep(std::time::Duration::from_millis(20));
            act();
            let after = of(name);
            self.say(what, (name, before.0 != after.0, before.1 != after.1));
        };
        let path = |name: &str| self.at(name);
        moves("chmod", "t", &|| chmod(&path("t"), 0o600));
        moves("link", "t", &|| {
            std::fs::hard_link(path("t"), path("t2")).expect("link")
        });
        moves("link, directory", ".", &|| {
            std::fs::hard_link(path("t"), path("t3")).expect("link")
        });
        moves("unlink", "t", &|| {
            std::fs::remove_file(path("t2")).expect("unlink")
        });
        moves("rename", "t", &|| {
            std::fs::rename(path("t"), path("t")).expect("rename")
        });
        moves("rename, directory", ".", &|| {
            std::fs::rename(path("t3"), path("t4")).expect("rename")
        });
        moves("write", "t", &|| {
            std::fs::write(path("t"), b"abc").expect("write")
        });
        moves("truncate", "t", &|| {
            nix::unistd::truncate(&path("t"), 1).expect("truncate")
        });
        moves("same size", "t", &|| {
            nix::unistd::truncate(&path("t"), 1).expect("truncate")
        });
        moves("mkdir", ".", &|| {
            std::fs::create_dir(path("td")).expect("mkdir")
        });
        moves("failed mkdir", ".", &|| {
            drop(std::fs::create_dir(path("td")))
        });
        moves("stat", ".", &|| drop(path("t").metadata()));
        moves("rmdir", ".", &|| {
            std::fs::remove_dir(path("td")).expect("rmdir")
        });
        moves("read", "t", &|| drop(std::fs::read(path("t"))));
        moves("setxattr", "t", &|| {
            let file = self.open("t", libc::O_RDONLY).expect("open");
            dmapi::sys::xattr::set(file.as_fd(), c"user.a", b"b").expect("setxattr");
        });
        let birth = plain(self.at("t").metadata()).map(|found| found.created().is_ok());
        self.say("birth", birth);
    }

    fn directories(&self) {
        let names = |path: &str| {
            let entries = nix::dir::Dir::open(
                &self.at(path),
                nix::fcntl::OFlag::O_DIRECTORY,
                Mode::empty(),
            );
            let mut names: Vec<_> = entries
                .expect("it opens")
                .iter()
                .map(|entry| entry.expect("an entry").file_name().to_owned())
                .collect();
            names.sort();
            names
        };
        std::fs::create_dir(self.at("many")).expect("a directory");
        self.say("empty", names("many"));
        for index in 0..300 {
            std::fs::write(self.at(&format!("many/{index}")), b"").expect("a file");
        }
        self.say("names", names("many"));
        self.say(
            "links",
            plain(self.at("many").metadata()).map(|found| found.nlink()),
        );
        std::fs::create_dir(self.at("many/sub")).expect("a directory");
        self.say(
            "links and one",
            plain(self.at("many").metadata()).map(|found| found.nlink()),
        );
        self.say(
            "rmdir a full one",
            plain(std::fs::remove_dir(self.at("many"))),
        );
        self.say("parent", plain(self.same("many/sub/..", "many")));
        self.say(
            "remove all",
            plain(std::fs::remove_dir_all(self.at("many"))),
        );
        self.say("rmdir nothing", plain(std::fs::remove_dir(self.at("many"))));
        self.say("rmdir dot", plain(std::fs::remove_dir(self.at("d/."))));
        let found = nix::sys::statvfs::statvfs(&self.dir).expect("statvfs");
        self.say(
            "statvfs",
            (found.block_size(), found.fragment_size(), found.name_max()),
        );
        self.say("room", found.blocks());
    }

    fn unnamed(&self) {
        let flags = libc::O_TMPFILE | libc::O_RDWR;
        let file = self.open(".", flags);
        self.say(
            "unnamed",
            file.as_ref()
                .map(|file| file.metadata().expect("stat").nlink()),
        );
        if let Ok(file) = file {
            let named = linkat(
                &file,
                "",
                AT_FDCWD,
                &self.at("named"),
                AtFlags::AT_EMPTY_PATH,
            );
            self.say("named", of(named));
            self.say("links", file.metadata().expect("stat").nlink());
            self.say(
                "found",
                plain(self.at("named").metadata()).map(|found| found.mode()),
            );
        }
        let bound = self.open(".", flags | libc::O_EXCL);
        if let Ok(file) = bound {
            let named = linkat(
                &file,
                "",
                AT_FDCWD,
                &self.at("never"),
                AtFlags::AT_EMPTY_PATH,
            );
            self.say("never named", of(named));
        }
    }
}

fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}
