//! What supervisor and worker tell each other: a few shared words that outlive both.
//!
//! Each word has one writer at a time: the supervisor those about processes, the worker the others.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::sys::shared_memory::{SharedMemory, memfd};

const MAGIC: u64 = 0x646d_6170_6962_0001;
const BYTES: u64 = 4096;

/// The words, by number. A number never changes its meaning: an older or newer image may read it.
#[derive(Clone, Copy, Debug)]
enum Word {
    Magic = 0,
    Generation = 1,
    Supervisor = 2,
    Managed = 3,
    StopForced = 4,
    Ready = 5,
}

/// The shared words.
#[derive(Debug)]
pub struct Board {
    words: SharedMemory,
    fd: OwnedFd,
}

impl Board {
    /// A new board.
    pub fn create() -> io::Result<Self> {
        let board = Self::map(memfd(c"dmapi-board", BYTES)?)?;
        board.set(Word::Magic, MAGIC);
        Ok(board)
    }

    /// The board of an earlier image of this daemon.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let board = Self::map(fd)?;
        if board.get(Word::Magic) != MAGIC {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(board)
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        let words = SharedMemory::map(fd.as_fd())?;
        Ok(Self { words, fd })
    }

    fn get(&self, word: Word) -> u64 {
        self.words.get(word as usize)
    }

    fn set(&self, word: Word, value: u64) {
        self.words.set(word as usize, value);
    }

    /// The number of its descriptor.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Grows with each worker.
    pub fn generation(&self) -> u64 {
        self.get(Word::Generation)
    }

    /// The supervisor is about to start a worker.
    pub fn next_generation(&self) {
        self.set(Word::Generation, self.generation() + 1);
    }

    /// The supervisor's process id.
    pub fn supervisor(&self) -> u32 {
        u32::try_from(self.get(Word::Supervisor)).unwrap_or(0)
    }

    /// This process is the supervisor.
    pub fn set_supervisor(&self, pid: u32) {
        self.set(Word::Supervisor, u64::from(pid));
    }

    /// File systems that are served.
    pub fn managed(&self) -> u64 {
        self.get(Word::Managed)
    }

    /// So many file systems are served.
    pub fn set_managed(&self, count: u64) {
        self.set(Word::Managed, count);
    }

    /// Shall the next SIGTERM end the daemon although file systems are served?
    pub fn stop_forced(&self) -> bool {
        self.get(Word::StopForced) != 0
    }

    /// See [`Self::stop_forced`].
    pub fn set_stop_forced(&self) {
        self.set(Word::StopForced, 1);
    }

    /// Does the present worker serve?
    pub fn is_ready(&self) -> bool {
        self.get(Word::Ready) == self.generation()
    }

    /// The present worker serves from now on.
    pub fn set_ready(&self) {
        self.set(Word::Ready, self.generation());
    }
}
