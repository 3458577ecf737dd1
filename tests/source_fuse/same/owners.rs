//! Owners, permissions, ACLs and extended attributes, as root and as a user without rights.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use dmapi::sys::xattr;
use nix::libc;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, Gid, Uid, access, setgroups, setresgid, setresuid};

use super::{Checks, of, plain};

const ACCESS: &CStr = c"system.posix_acl_access";
const DEFAULT: &CStr = c"system.posix_acl_default";
const USER: u32 = 1000;
const GROUPS: [u32; 2] = [1000, 2000];

/// The bytes of an ACL: user, named user 1000, group, mask, others.
fn acl(user: u16, named: u16, group: u16, mask: u16, others: u16) -> Vec<u8> {
    let entries = [
        (1u16, user, u32::MAX),
        (2, named, USER),
        (4, group, u32::MAX),
        (0x10, mask, u32::MAX),
        (0x20, others, u32::MAX),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

impl Checks {
    pub(super) fn owners(&self) {
        chmod(&self.dir, 0o777);
        self.attributes();
        self.acls();
        self.as_root();
        self.prepare();
        become_user();
        self.as_user();
        self.attributes_as_user();
    }

    fn xattrs(&self, name: &str) -> Result<Vec<String>, i32> {
        let file = self.open(name, libc::O_RDONLY)?;
        let list = plain(xattr::list(file.as_fd()))?;
        let mut names: Vec<_> = list
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort();
        Ok(names)
    }

    fn get(&self, name: &str, attribute: &CStr) -> Result<Option<Vec<u8>>, i32> {
        let file = self.open(name, libc::O_RDONLY | libc::O_NONBLOCK)?;
        plain(xattr::get(file.as_fd(), attribute))
    }

    fn set(&self, name: &str, attribute: &CStr, value: &[u8], flags: i32) -> Result<(), i32> {
        let file = self.open(name, libc::O_RDONLY)?;
        plain(xattr::set_with(
            file.as_fd(),
            attribute,
            value,
            flags as u32,
        ))
    }

    fn attributes(&self) {
        self.file("x", 10);
        self.say(
            "create",
            self.set("x", c"user.a", b"one", libc::XATTR_CREATE),
        );
        self.say(
            "again",
            self.set("x", c"user.a", b"two", libc::XATTR_CREATE),
        );
        self.say(
            "replace",
            self.set("x", c"user.a", b"three", libc::XATTR_REPLACE),
        );
        self.say(
            "replace nothing",
            self.set("x", c"user.b", b"x", libc::XATTR_REPLACE),
        );
        self.say("empty", self.set("x", c"user.empty", b"", 0));
        self.say("large", self.set("x", c"user.large", &[b'l'; 900], 0));
        self.say(
            "too large",
            self.set("x", c"user.larger", &[b'l'; 65537], 0),
        );
        self.say("trusted", self.set("x", c"trusted.t", b"t", 0));
        self.say("no such kind", self.set("x", c"nothing.t", b"t", 0));
        self.say("no name", self.set("x", c"user.", b"t", 0));
        self.say("names", self.xattrs("x"));
        self.say("value", self.get("x", c"user.a"));
        self.say("empty value", self.get("x", c"user.empty"));
        self.say(
            "large value",
            self.get("x", c"user.large")
                .map(|value| value.map(|value| value.len())),
        );
        self.say("nothing", self.get("x", c"user.none"));
        let file = self.open("x", libc::O_RDONLY).expect("it opens");
        self.say("remove", plain(xattr::remove(file.as_fd(), c"user.a")));
        self.say(
            "remove again",
            plain(xattr::remove(file.as_fd(), c"user.a")),
        );
        // cap_net_raw, version 2.
        let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
        capability.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        self.say(
            "capability",
            self.set("x", c"security.capability", &capability, 0),
        );
        self.say("kept", self.get("x", c"security.capability"));
        self.say("write", plain(std::fs::write(self.at("x"), b"y")));
        self.say("gone", self.get("x", c"security.capability"));
        self.say("directory", self.set(".", c"user.d", b"d", 0));
        self.say("of the directory", self.xattrs("."));
    }

    fn acls(&self) {
        self.file("acl", 10);
        chmod(&self.at("acl"), 0o640);
        self.say("none", self.get("acl", ACCESS));
        self.say("set", self.set("acl", ACCESS, &acl(6, 4, 4, 4, 0), 0));
        self.say("mode", self.mode("acl"));
        self.say("get", self.get("acl", ACCESS));
        chmod(&self.at("acl"), 0o600);
        self.say("mask", (self.mode("acl"), self.get("acl", ACCESS)));
        self.say(
            "small",
            self.set("acl", ACCESS, &acl(6, 4, 4, 4, 0)[..4], 0),
        );
        self.say("damaged", self.set("acl", ACCESS, &[1, 2, 3], 0));
        self.say(
            "default of a file",
            self.set("acl", DEFAULT, &acl(7, 5, 5, 5, 0), 0),
        );
        std::fs::create_dir(self.at("acls")).expect("a directory");
        self.say("default", self.set("acls", DEFAULT, &acl(7, 5, 5, 5, 0), 0));
        umask(Mode::from_bits_truncate(0o077));
        self.file("acls/file", 1);
        std::fs::create_dir(self.at("acls/dir")).expect("a directory");
        self.say(
            "inherited",
            (self.mode("acls/file"), self.get("acls/file", ACCESS)),
        );
        self.say(
            "by directories",
            (self.mode("acls/dir"), self.get("acls/dir", DEFAULT)),
        );
        self.file("masked", 1);
        self.say("umask", self.mode("masked"));
        umask(Mode::from_bits_truncate(0o022));
        self.file("unmasked", 1);
        self.say("umask", self.mode("unmasked"));
    }

    fn mode(&self, name: &str) -> Result<(String, u32, u32), i32> {
        let found = plain(self.at(name).symlink_metadata())?;
        Ok((format!("{:o}", found.mode()), found.uid(), found.gid()))
    }

    fn as_root(&self) {
        self.file("r", 10);
        chmod(&self.at("r"), 0o6755);
        self.say("chown", plain(chown(self.at("r"), Some(1), Some(2))));
        self.say("set-id bits", self.mode("r"));
        chmod(&self.at("r"), 0o6755);
        self.say("write", plain(std::fs::write(self.at("r"), b"x")));
        self.say("of root they stay", self.mode("r"));
        chmod(&self.at("r"), 0);
        self.say("no rights", self.open("r", libc::O_RDWR).map(drop));
        std::os::unix::fs::symlink("r", self.at("link")).expect("a link");
        let lchown = std::os::unix::fs::lchown(self.at("link"), Some(5), Some(6));
        self.say("lchown", (plain(lchown), self.mode("link"), self.mode("r")));
    }

    /// What the user finds.
    fn prepare(&self) {
        for (name, mode, owner, group) in [
            ("own", 0o644, USER, USER),
            ("roots", 0o644, 0, 0),
            ("secret", 0o600, 0, 0),
            ("groups", 0o660, 0, 2000),
            ("setid", 0o6777, 0, 0),
            ("setid-own", 0o6755, USER, 2000),
            ("setgid-lock", 0o2644, USER, 0),
            ("granted", 0o600, 0, 0),
        ] {
            self.file(name, 10);
            chown(self.at(name), Some(owner), Some(group)).expect("chown");
            chmod(&self.at(name), mode);
        }
        self.set("granted", ACCESS, &acl(6, 6, 0, 6, 0), 0)
            .expect("an ACL");
        for (name, mode, group) in [
            ("sticky", 0o1777, 0),
            ("sgid", 0o2777, 3000),
            ("closed", 0o700, 0),
        ] {
            std::fs::create_dir(self.at(name)).expect("a directory");
            chown(self.at(name), Some(0), Some(group)).expect("chown");
            chmod(&self.at(name), mode);
        }
        self.file("sticky/roots", 1);
        self.file("closed/roots", 1);
    }

    fn as_user(&self) {
        for name in [
            "own",
            "roots",
            "secret",
            "groups",
            "granted",
            "closed/roots",
        ] {
            let read = self.open(name, libc::O_RDONLY).map(drop);
            self.say(name, (read, self.open(name, libc::O_RDWR).map(drop)));
            let may = |flags| of(access(&self.at(name), flags));
            self.say(
                "access",
                (
                    may(AccessFlags::R_OK),
                    may(AccessFlags::W_OK),
                    may(AccessFlags::X_OK),
                ),
            );
        }
        self.say("chmod", plain(try_chmod(&self.at("roots"), 0o777)));
        self.say(
            "chmod own",
            (plain(try_chmod(&self.at("own"), 0o2755)), self.mode("own")),
        );
        self.say(
            "chgrp",
            (
                plain(chown(self.at("own"), None, Some(2000))),
                self.mode("own"),
            ),
        );
        self.say("chgrp away", plain(chown(self.at("own"), None, Some(3000))));
        self.say("chown away", plain(chown(self.at("own"), Some(0), None)));
        self.say(
            "set-id bits",
            plain(chown(self.at("setid-own"), None, Some(1000))),
        );
        self.say("gone", self.mode("setid-own"));
        self.say("write set-id", plain(append(&self.at("setid"))));
        self.say("gone", self.mode("setid"));
        self.say(
            "sgid of strangers",
            (
                plain(try_chmod(&self.at("setgid-lock"), 0o2755)),
                self.mode("setgid-lock"),
            ),
        );
        self.say("utimes of strangers", of(touch(&self.at("roots"))));
        self.say("utimes now", of(touch(&self.at("groups"))));
        self.say(
            "sticky",
            plain(std::fs::remove_file(self.at("sticky/roots"))),
        );
        let rename = std::fs::rename(self.at("sticky/roots"), self.at("sticky/mine"));
        self.say("sticky rename", plain(rename));
        self.say(
            "sticky own",
            plain(std::fs::write(self.at("sticky/own"), b"x")),
        );
        self.say(
            "sticky own gone",
            plain(std::fs::remove_file(self.at("sticky/own"))),
        );
        self.say(
            "into closed",
            plain(std::fs::write(self.at("closed/new"), b"x")),
        );
        self.say(
            "list closed",
            plain(std::fs::read_dir(self.at("closed"))).map(drop),
        );
        self.file("sgid/file", 1);
        std::fs::create_dir(self.at("sgid/dir")).expect("a directory");
        self.say(
            "of the group",
            (self.mode("sgid/file"), self.mode("sgid/dir")),
        );
        self.file("mine", 1);
        self.say("mine", self.mode("mine"));
        let link = std::fs::hard_link(self.at("secret"), self.at("stolen"));
        self.say("hard link of strangers", plain(link));
        let bits = Mode::from_bits_truncate(0o600);
        let kind = nix::sys::stat::SFlag::S_IFCHR;
        let device = nix::sys::stat::mknod(&self.at("device"), kind, bits, 259);
        self.say("device", of(device));
        self.say("fifo", of(nix::unistd::mkfifo(&self.at("user-fifo"), bits)));
        self.say(
            "truncate roots",
            of(nix::unistd::truncate(&self.at("roots"), 0)),
        );
        self.say(
            "truncate set-id",
            (
                of(nix::unistd::truncate(&self.at("setid-own"), 3)),
                self.mode("setid-own"),
            ),
        );
    }

    /// Adds FS_NODUMP_FL or FS_IMMUTABLE_FL to the flags that are there, as chattr(1) does.
    fn add_flags(&self, name: &str, more: libc::c_int) -> Result<(), i32> {
        use std::os::fd::AsRawFd;
        let file = self.open(name, libc::O_RDONLY)?;
        let mut flags: libc::c_int = 0;
        // SAFETY: the kernel writes four bytes.
        let got = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &mut flags) };
        flags |= more;
        // SAFETY: the kernel reads four bytes.
        let set = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &flags) };
        match (got, set) {
            (0, 0) => Ok(()),
            _ => Err(nix::errno::Errno::last_raw()),
        }
    }

    fn attributes_as_user(&self) {
        self.say("flags", self.add_flags("own", 0x40));
        self.say("flags of strangers", self.add_flags("roots", 0x40));
        self.say("immutable", self.add_flags("own", 0x10));
        self.say("user", self.set("own", c"user.u", b"u", 0));
        self.say("of strangers", self.set("roots", c"user.u", b"u", 0));
        self.say("trusted", self.set("own", c"trusted.u", b"u", 0));
        self.say("trusted seen", self.get("x", c"trusted.t"));
        self.say("names to users", self.xattrs("x"));
        self.say("acl", self.set("own", ACCESS, &acl(6, 6, 4, 6, 4), 0));
        self.say(
            "acl of strangers",
            self.set("roots", ACCESS, &acl(6, 6, 4, 6, 4), 0),
        );
        self.say("mode", self.mode("own"));
        // The group is not the user's, so an ACL takes the bit away.
        self.say(
            "acl and sgid",
            self.set("setgid-lock", ACCESS, &acl(7, 7, 7, 7, 7), 0),
        );
        self.say("gone", self.mode("setgid-lock"));
    }
}

fn become_user() {
    let groups = GROUPS.map(Gid::from_raw);
    let group = groups[0];
    setgroups(&groups).expect("setgroups");
    setresgid(group, group, group).expect("setresgid");
    let user = Uid::from_raw(USER);
    setresuid(user, user, user).expect("setresuid");
}

fn try_chmod(path: &std::path::Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn chmod(path: &std::path::Path, mode: u32) {
    try_chmod(path, mode).expect("chmod");
}

fn append(path: &std::path::Path) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).open(path)?.write_all(b"x")
}

fn touch(path: &std::path::Path) -> nix::Result<()> {
    use nix::fcntl::AT_FDCWD;
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let now = TimeSpec::UTIME_NOW;
    utimensat(AT_FDCWD, path, &now, &now, UtimensatFlags::FollowSymlink)
}
