//! The descriptors that outlive workers, and where a supervisor gets them from: made new, handed down
//! by an earlier image over exec, or given back by systemd's store after both processes died.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::background;
use super::board::Board;
use super::settings::Settings;
use crate::source::arena::{Arena, Kept, Role, SLOTS_DEFAULT};
use crate::source::fuse;
use crate::sys::clock;
use crate::sys::life;
use crate::sys::process;
use crate::sys::socket;

const ROLE_BOARD: Role = Role(Role::OTHERS.0);
const ROLE_LOCK: Role = Role(Role::OTHERS.0 + 1);
/// Where systemd puts the first descriptor.
const LISTEN_FDS_START: RawFd = 3;
const STORE_PREFIX: &str = "dmapi";

/// What supervisor and worker both have.
#[derive(Debug)]
pub struct Inheritance {
    /// Kept list and events.
    pub arena: Arc<Arena>,
    /// Shared words.
    pub board: Board,
    /// The control socket.
    pub listener: OwnedFd,
    /// Is there something of an earlier daemon?
    pub is_taken_over: bool,
    _lock: OwnedFd,
}

fn say(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

impl Inheritance {
    /// For a daemon that starts: from systemd's store if it has something, else new.
    pub fn at_start(settings: &Settings) -> Result<Self, String> {
        make_dirs(settings)?;
        let lock = lock(settings)?;
        let given = Given::from_environment();
        let arena = match given.arena {
            Some(fd) => Arena::open(fd).map_err(|error| {
                format!(
                    "the arena from the service manager's store: {error}; processes that access migrated \
                     files stay blocked until the dmapid that made it is started again, or its fds are \
                     removed from the store"
                )
            })?,
            None => {
                Arena::create(SLOTS_DEFAULT).map_err(|error| format!("memory for events: {error}"))?
            }
        };
        arena.forget_kept();
        arena.descriptors_lost(clock::realtime_ms());
        for (kept, fd) in given.kept {
            if kept.role == Role::FUSE_TABLE {
                fuse::table::descriptors_lost(fd.as_raw_fd());
            }
            keep(&arena, kept.role, kept.key, kept.more, fd)?;
        }
        let is_taken_over = !arena.kept().is_empty();
        keep_life(&arena, given.life)?;
        let listener = match given.listener {
            Some(fd) => fd,
            None => listen(&settings.socket)?,
        };
        let board = Board::create().map_err(|error| format!("shared memory: {error}"))?;
        let all = [
            (Role::LISTENER, listener.as_raw_fd()),
            (ROLE_BOARD, board.number()),
            (ROLE_LOCK, lock.as_raw_fd()),
        ];
        for (role, fd) in all {
            enter(&arena, role, 0, 0, fd)?;
        }
        Ok(Self {
            arena: Arc::new(arena),
            board,
            listener,
            is_taken_over,
            _lock: lock,
        })
    }

    /// For an image that was started by exec from an earlier one; `spec` is [`Self::spec`] of that.
    pub fn handed_down(spec: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "--resume {spec}: not the descriptor of an arena; this option is for dmapid itself"
            )
        };
        let fd: RawFd = spec.parse().map_err(|_| bad())?;
        let arena = process::take_inherited(fd).ok_or_else(bad)?;
        let arena = Arena::open(arena).map_err(|error| format!("--resume {spec}: {error}"))?;
        let take = |role: Role, what: &str| {
            arena
                .kept_fd(role)
                .and_then(process::take_inherited)
                .ok_or_else(|| format!("--resume {spec}: the {what} was not handed down"))
        };
        let listener = take(Role::LISTENER, "control socket")?;
        let lock = take(ROLE_LOCK, "lock")?;
        let board = take(ROLE_BOARD, "board")?;
        let board = Board::adopt(board).map_err(|error| format!("board: {error}"))?;
        keep_life(&arena, None)?;
        Ok(Self {
            arena: Arc::new(arena),
            board,
            listener,
            is_taken_over: true,
            _lock: lock,
        })
    }

    /// What [`Self::handed_down`] of the next image needs.
    pub fn spec(&self) -> String {
        self.arena.fd().as_raw_fd().to_string()
    }

    /// Every descriptor that must stay open when a worker dies.
    pub fn numbers(&self) -> Vec<RawFd> {
        let mut numbers = self.arena.must_stay_open();
        numbers.extend([0, 1, 2, self.arena.fd().as_raw_fd()]);
        let kept = self.arena.kept();
        let tables = kept.iter().filter(|one| one.role == Role::FUSE_TABLE);
        numbers.extend(tables.flat_map(|one| fuse::table::numbers(one.fd)));
        numbers
    }

    /// Lets them all survive exec.
    pub fn keep_over_exec(&self) {
        for fd in self.numbers() {
            // A number that is not open (an event that ended just now) has nothing to keep.
            let _ = process::set_inherit(fd, true);
        }
    }

    /// What systemd's store should hold: name and descriptor number. The lock stays out of it, or the
    /// next daemon could never take it.
    pub fn for_store(&self) -> Vec<(String, RawFd)> {
        let arena = Kept {
            role: Role::ARENA,
            fd: self.arena.fd().as_raw_fd(),
            key: 0,
            more: 0,
        };
        self.arena
            .kept()
            .into_iter()
            .filter(|kept| ![ROLE_LOCK, ROLE_BOARD, Role::ARENA].contains(&kept.role))
            .chain([arena])
            .map(|kept| (store_name(&kept), kept.fd))
            .collect()
    }
}

fn store_name(kept: &Kept) -> String {
    format!(
        "{STORE_PREFIX}-{}-{:x}-{:x}",
        kept.role.0, kept.key, kept.more
    )
}

fn parse_store_name(name: &str, fd: RawFd) -> Option<Kept> {
    let mut parts = name
        .strip_prefix(STORE_PREFIX)?
        .strip_prefix('-')?
        .split('-');
    let kept = Kept {
        role: Role(parts.next()?.parse().ok()?),
        fd,
        key: u64::from_str_radix(parts.next()?, 16).ok()?,
        more: u64::from_str_radix(parts.next()?, 16).ok()?,
    };
    parts.next().is_none().then_some(kept)
}

fn enter(arena: &Arena, role: Role, key: u64, more: u64, fd: RawFd) -> Result<(), String> {
    let kept = Kept {
        role,
        fd,
        key,
        more,
    };
    arena
        .keep(kept)
        .map_err(|error| format!("list of kept descriptors: {error}"))
}

/// Leaves the descriptor open for ever, under the arena's care.
fn keep(arena: &Arena, role: Role, key: u64, more: u64, fd: OwnedFd) -> Result<(), String> {
    use std::os::fd::IntoRawFd;
    enter(arena, role, key, more, fd.into_raw_fd())
}

/// Life is where the channels are, so that its end is theirs. (An earlier version kept channels without it.)
fn keep_life(arena: &Arena, given: Option<OwnedFd>) -> Result<(), String> {
    let has = |role| arena.kept_fd(role).is_some();
    let life = match given {
        None if has(Role::LIFE) || has(Role::FUSE) => return Ok(()),
        None => life::make().map_err(|error| format!("a pipe: {error}"))?,
        Some(life) => life,
    };
    keep(arena, Role::LIFE, 0, 0, life)
}

/// What systemd handed over.
#[derive(Default)]
struct Given {
    arena: Option<OwnedFd>,
    listener: Option<OwnedFd>,
    life: Option<OwnedFd>,
    kept: Vec<(Kept, OwnedFd)>,
}

impl Given {
    fn from_environment() -> Self {
        let number = |name: &str| -> Option<u32> { std::env::var(name).ok()?.parse().ok() };
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Self::default();
        }
        let count = number("LISTEN_FDS").unwrap_or(0);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let fds = (LISTEN_FDS_START..)
            .take(count as usize)
            .map(|fd| (names.next().unwrap_or(""), fd))
            .filter_map(|(name, fd)| Some((name, process::take_inherited(fd)?)))
            .collect();
        Self::sort(fds)
    }

    /// The numbers that systemd chose may be those of events that the kernel still waits for. So all is
    /// moved above those, and the event numbers are occupied before anything else can get them.
    fn sort(fds: Vec<(&str, OwnedFd)>) -> Self {
        let mut given = Self::default();
        let stale = stale_numbers(&fds);
        let above = stale.iter().max().map_or(0, |highest| highest + 1);
        for (name, fd) in fds {
            let Ok(fd) = process::duplicate_above(fd.as_fd(), above) else {
                tracing::error!(
                    name,
                    "a descriptor of the store could not be moved; it is lost"
                );
                continue;
            };
            match parse_store_name(name, fd.as_raw_fd()) {
                Some(kept) if kept.role == Role::ARENA => given.arena = Some(fd),
                Some(kept) if kept.role == Role::LISTENER => given.listener = Some(fd),
                Some(kept) if kept.role == Role::LIFE => given.life = Some(fd),
                Some(kept) => given.kept.push((kept, fd)),
                None if socket::is_listening(fd.as_fd()) => given.listener = Some(fd),
                None => tracing::warn!(name, "an unknown descriptor was handed over; closed"),
            }
        }
        for number in stale {
            if let Err(error) = process::occupy(number) {
                tracing::error!(number, %error, "an unanswered event's number could not be reserved");
            }
        }
        given
    }
}

fn stale_numbers(fds: &[(&str, OwnedFd)]) -> Vec<RawFd> {
    fds.iter()
        .filter(|(name, fd)| {
            parse_store_name(name, fd.as_raw_fd()).is_some_and(|kept| kept.role == Role::ARENA)
        })
        .filter_map(|(_, fd)| Arena::open(fd.try_clone().ok()?).ok())
        .flat_map(|arena| arena.event_numbers())
        .collect()
}

fn make_dirs(settings: &Settings) -> Result<(), String> {
    for (dir, hint) in [
        (settings.node_dir(), "--state or DMAPI_STATE"),
        (settings.run_dir(), "--socket or DMAPI_SOCKET"),
    ] {
        // Others may pass through, as the shared state directory of a cluster needs; files in it are private.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&dir)
            .map_err(|error| {
                format!(
                    "{}: {error}; name a directory that this user may write with {hint}",
                    dir.display()
                )
            })?;
    }
    Ok(())
}

fn lock(settings: &Settings) -> Result<OwnedFd, String> {
    let path = settings.node_dir().join("daemon.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| {
            format!(
                "{}: {error}; run dmapid as the owner of the state directory, or name another with --state",
                path.display()
            )
        })?;
    match process::lock_file(&file) {
        Ok(true) => Ok(file.into()),
        Ok(false) => Err(format!(
            "node {:?} is served by another dmapid already (lock {}); stop that one with `dmctl stop`, or \
             choose another --node or --state",
            settings.node,
            path.display()
        )),
        Err(error) => Err(say("lock", &path, &error)),
    }
}

fn listen(path: &Path) -> Result<OwnedFd, String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!(
                "control socket {}: another kind of file is there; move it away or name another path with --socket",
                path.display()
            ));
        }
        // Nobody else serves this node (the lock), but the path may be another node's.
        Ok(_) if background::answers(path) => {
            return Err(format!(
                "control socket {}: another dmapid answers there; name another path with --socket",
                path.display()
            ));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| say("control socket", path, &error))?,
        Err(_) => {}
    }
    socket::listen(path).map_err(|error| say("control socket", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_comes_before_channels() {
        let name = |role| {
            store_name(&Kept {
                role,
                fd: 9,
                key: 0,
                more: 0,
            })
        };
        assert!(name(Role::LIFE) < name(Role::FUSE));
    }

    #[test]
    fn names_of_the_store_round_trip() {
        let kept = Kept {
            role: Role::PRIVATE_ROOT,
            fd: 9,
            key: u64::MAX,
            more: 3,
        };
        assert_eq!(parse_store_name(&store_name(&kept), 9), Some(kept));
        for other in [
            "",
            "dmapi",
            "dmapi-6",
            "dmapi-6-0-0-0",
            "stored",
            "dmapi-x-0-0",
        ] {
            assert_eq!(parse_store_name(other, 9), None, "{other}");
        }
    }
}
