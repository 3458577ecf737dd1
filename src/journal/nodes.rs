//! Which file is a node's journal: `<state>/nodes/<node>/<incarnation>.dmj`, the highest counts.
//!
//! A daemon that starts makes a new file with the state of the one before as its checkpoint, under a
//! temporary name; the rename makes it count, and only then is the old one removed. A crash in between
//! leaves both, of which the higher one holds all that the lower one holds.

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Lsn;
use super::error::JournalError;
use super::files;
use super::format::{NODE_BYTES_MAX, PAGE_BYTES};
use super::replay::{State, replay};
use super::storage::failure_mark;
use super::writer::{Journal, Options, Sizes};

/// Who opens the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A daemon that starts: a new incarnation, which adopts the state of the one before.
    Daemon,
    /// A worker of a daemon that goes on: the same file; a new one as for a daemon if writing to the
    /// old one failed, since what reads back from it may not be on the disk.
    Worker,
}

/// A node's journal, open, with the state it holds.
pub struct Opened<S> {
    /// The writer.
    pub journal: Journal,
    /// The state, everything recovered applied and durable.
    pub state: S,
    /// How the log ended that was recovered, for people.
    pub tail: String,
}

const SUFFIX: &str = ".dmj";
const UNFINISHED_SUFFIX: &str = ".dmj.new";
const LOCK_NAME: &str = "lock";

/// Where the journals of a node are.
pub fn directory(state_dir: &Path, node: &str) -> PathBuf {
    state_dir.join("nodes").join(node)
}

/// The journal of a node that counts: its incarnation and path.
pub fn newest(state_dir: &Path, node: &str) -> Result<Option<(u64, PathBuf)>, JournalError> {
    Ok(journals(&directory(state_dir, node))?.pop())
}

/// All journals of a directory, by incarnation.
fn journals(directory: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let name = directory.display().to_string();
    let io = |error| JournalError::io(&name, "list", error);
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let path = entry.map_err(io)?.path();
        let file_name = path.file_name().and_then(|name| name.to_str());
        let stem = file_name.and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(incarnation) = stem.and_then(|stem| stem.parse().ok()) {
            found.push((incarnation, path));
        }
    }
    found.sort();
    Ok(found)
}

fn check_node_name(node: &str) -> Result<(), JournalError> {
    let sound = !node.is_empty()
        && node.len() <= NODE_BYTES_MAX
        && !node.starts_with('.')
        && node
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if sound {
        return Ok(());
    }
    let why = "a node's name is 1 to 64 of A-Z a-z 0-9 . _ - and does not begin with a dot";
    let error = io::Error::new(io::ErrorKind::InvalidInput, why);
    Err(JournalError::io(node, "name a node", error))
}

/// Makes the directory and takes the lock of the node, which is held over a change of files.
fn lock_node(directory: &Path) -> Result<files::Lock, JournalError> {
    let name = directory.display().to_string();
    let io = |error| JournalError::io(&name, "make the directory", error);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io)?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join(LOCK_NAME))
        .map_err(io)?;
    files::lock(&file, &name)
}

impl Journal {
    /// Opens the journal of `node` below `state_dir`, making what is not there.
    pub fn open_in<S: State>(
        state_dir: &Path,
        node: &str,
        start: Start,
        sizes: &Sizes,
    ) -> Result<Opened<S>, JournalError> {
        check_node_name(node)?;
        let directory = directory(state_dir, node);
        let lock = lock_node(&directory)?;
        let mut opened = match start {
            Start::Daemon => begin(&directory, node, sizes)?,
            Start::Worker => match go_on(&directory)? {
                Some(opened) => opened,
                None => begin(&directory, node, sizes)?,
            },
        };
        opened.journal.locks.push(lock);
        Ok(opened)
    }
}

/// The same file again; `None`: it must be given up.
fn go_on<S: State>(directory: &Path) -> Result<Option<Opened<S>>, JournalError> {
    let Some((_, path)) = journals(directory)?.pop() else {
        return Err(JournalError::Missing {
            name: directory.display().to_string(),
        });
    };
    if failure_mark(&path).exists() {
        return Ok(None);
    }
    let (journal, recovered) = Journal::open(&path)?;
    Ok(Some(Opened {
        state: replay(&path.display().to_string(), &recovered)?,
        journal,
        tail: recovered.tail,
    }))
}

/// What a new incarnation takes over.
struct Adopted<S> {
    state: S,
    lsn: Lsn,
    epoch: u64,
    incarnation: u64,
    tail: String,
    /// Held until the new file counts, against a writer that is still alive.
    _old: Option<Journal>,
}

fn adopt<S: State>(directory: &Path) -> Result<Adopted<S>, JournalError> {
    let Some((incarnation, path)) = journals(directory)?.pop() else {
        return Ok(Adopted {
            state: S::default(),
            lsn: Lsn(0),
            epoch: 0,
            incarnation: 0,
            tail: "there was no journal before".to_owned(),
            _old: None,
        });
    };
    let (old, recovered) = Journal::open(&path)?;
    Ok(Adopted {
        state: replay(&path.display().to_string(), &recovered)?,
        lsn: old.lsn(),
        epoch: old.epoch(),
        incarnation,
        tail: recovered.tail,
        _old: Some(old),
    })
}

fn begin<S: State>(directory: &Path, node: &str, sizes: &Sizes) -> Result<Opened<S>, JournalError> {
    remove_unfinished(directory)?;
    let adopted = adopt::<S>(directory)?;
    let encoded = adopted.state.encode();
    let options = Options {
        node: node.to_owned(),
        incarnation: adopted.incarnation + 1,
        epoch: adopted.epoch,
        sizes: Sizes {
            log_bytes: sizes.log_bytes,
            checkpoint_bytes: area_bytes(sizes, encoded.len() as u64),
        },
    };
    let path = directory.join(format!("{}{SUFFIX}", options.incarnation));
    let unfinished = directory.join(format!("{}{UNFINISHED_SUFFIX}", options.incarnation));
    let state = (adopted.incarnation > 0).then_some(&encoded[..]);
    let journal = Journal::create_as(&unfinished, &path, &options, state, adopted.lsn)?;
    fs::rename(&unfinished, &path)
        .map_err(|error| JournalError::io(&path.display().to_string(), "rename to", error))?;
    files::sync_directory(&path)?;
    remove_older(directory, options.incarnation)?;
    Ok(Opened {
        journal,
        state: adopted.state,
        tail: adopted.tail,
    })
}

/// What was live before must fit, also when it outgrew the old areas, and leave room to work in.
fn area_bytes(sizes: &Sizes, state_bytes: u64) -> u64 {
    let needed = state_bytes + state_bytes / 2;
    sizes
        .checkpoint_bytes
        .max(needed.next_multiple_of(PAGE_BYTES))
}

/// Removes what a crash left before its rename: nothing ever depended on it.
fn remove_unfinished(directory: &Path) -> Result<(), JournalError> {
    let name = directory.display().to_string();
    let io = |error| JournalError::io(&name, "remove an unfinished journal", error);
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.to_string_lossy().ends_with(UNFINISHED_SUFFIX) {
            fs::remove_file(&path).map_err(io)?;
        }
    }
    Ok(())
}

fn remove_older(directory: &Path, incarnation: u64) -> Result<(), JournalError> {
    for (older, path) in journals(directory)? {
        if older < incarnation {
            // Most often there is none.
            let _ = fs::remove_file(failure_mark(&path));
            fs::remove_file(&path)
                .map_err(|error| JournalError::io(&path.display().to_string(), "remove", error))?;
        }
    }
    Ok(())
}
