//! The one writer.
//!
//! Append: one pwrite, then publish. Checkpoint: state into the idle area, fdatasync, superblock into
//! the idle slot, fdatasync, and only then is the log written from its beginning again. Any failed
//! write or fdatasync is final ([`JournalError::Fatal`]): what lies on the disk is unknown from there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lsn;
use super::control::Control;
use super::control::Tail;
use super::error::JournalError;
use super::files;
use super::format::{SUPERBLOCK_OFFSETS, Superblock};
use super::record::BODY_BYTES_MAX;
use super::record::Expected;
use super::record::{encode_record, record_bytes};
use super::recover::{Recovered, Survey};
use super::storage::Storage;
use super::sync::Syncer;
use crate::model::Entry;

/// How much room an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// New work: leaves the reserve alone.
    Normal,
    /// Small records that drain the state (answers, ends of sessions): may use the reserve.
    Reserved,
}

/// The parts of the file whose size is chosen at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of each of the two checkpoint areas.
    pub checkpoint_bytes: u64,
}

impl Default for Sizes {
    /// 32 MiB in all: room for about 30,000 waiting events, and half a log between two checkpoints.
    fn default() -> Self {
        Self {
            log_bytes: 16 << 20,
            checkpoint_bytes: 8 << 20,
        }
    }
}

impl Sizes {
    /// Room that only [`Priority::Reserved`] may use: thousands of answers, so that a full log can be
    /// drained until its state fits a checkpoint again.
    pub fn reserve_bytes(&self) -> u64 {
        const RESERVE_BYTES_MAX: u64 = 256 << 10;
        RESERVE_BYTES_MAX.min(self.log_bytes / 4)
    }

    /// Bytes of log after which a checkpoint is due: recovery time is bounded by it.
    fn checkpoint_due_bytes(&self) -> u64 {
        const DUE_BYTES_MAX: u64 = 8 << 20;
        DUE_BYTES_MAX.min(self.log_bytes / 2)
    }
}

/// What a new journal is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the node.
    pub node: String,
    /// Which start of the node's daemon this is.
    pub incarnation: u64,
    /// The epoch of the first records.
    pub epoch: u64,
    /// How big.
    pub sizes: Sizes,
}

/// The first generation. Generation `g` lies in superblock slot and checkpoint area `g % 2`.
const FIRST_GENERATION: u64 = 2;

/// A journal open for writing: at most one in the world, by an exclusive flock.
pub struct Journal {
    storage: Arc<dyn Storage>,
    superblock: Superblock,
    /// What the next record will be.
    next: Expected,
    epoch: u64,
    syncer: Arc<Syncer>,
    control: Option<Control>,
    /// Log bytes in use at which [`Journal::needs_checkpoint`] says yes.
    due_bytes: u64,
    /// Kept, as every append needs one.
    buffer: Vec<u8>,
    path: PathBuf,
    /// Held as long as the journal is open for writing.
    pub(super) locks: Vec<files::Lock>,
}

impl Journal {
    /// Creates an empty journal; the file must not exist. All its room is allocated here.
    pub fn create(path: &Path, options: &Options) -> Result<Self, JournalError> {
        Self::create_with(path, options, None, Lsn(0))
    }

    /// Creates a journal that goes on after record `lsn` from `state` (`None`: the empty one).
    pub fn create_with(
        path: &Path,
        options: &Options,
        state: Option<&[u8]>,
        lsn: Lsn,
    ) -> Result<Self, JournalError> {
        Self::create_as(path, path, options, state, lsn)
    }

    /// [`Journal::create_with`] in a file that is going to be renamed to `path`.
    pub(super) fn create_as(
        temporary: &Path,
        path: &Path,
        options: &Options,
        state: Option<&[u8]>,
        lsn: Lsn,
    ) -> Result<Self, JournalError> {
        let created = files::Created::at(temporary, path, &options.sizes)?;
        created.probe_mapping()?;
        let mut journal = Self::create_on(created.storage(), options, state, lsn)?;
        journal.locks.push(created.keep()?);
        Ok(journal)
    }

    /// Opens an existing journal to go on writing: everything it recovers is durable on return.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let (storage, lock) = files::open_to_write(path)?;
        let (mut journal, recovered) = Self::open_on(storage)?;
        journal.locks.push(lock);
        Ok((journal, recovered))
    }

    /// [`Journal::create_with`] on any storage that has the size of the journal: fills it with zeros,
    /// so that later writes change no metadata of the file.
    pub fn create_on(
        storage: Arc<dyn Storage>,
        options: &Options,
        state: Option<&[u8]>,
        lsn: Lsn,
    ) -> Result<Self, JournalError> {
        let name = storage.name();
        if let Some(complaint) = options.sizes.complaint() {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, complaint);
            return Err(JournalError::io(&name, "create", error));
        }
        let create = |error| files::creation_error(&name, &options.sizes, error);
        fill_zeros(&*storage, 0, options.sizes.file_bytes()).map_err(create)?;
        let state = state.unwrap_or(&[]);
        let area = (FIRST_GENERATION % 2) as u32;
        check_state(&options.sizes, state)?;
        storage
            .write_at(state, options.sizes.area_offset(area))
            .map_err(create)?;
        storage.sync().map_err(create)?;
        let superblock = Superblock {
            generation: FIRST_GENERATION,
            identity: files::random_u64().map_err(create)?,
            incarnation: options.incarnation,
            epoch: options.epoch,
            checkpoint_lsn: lsn,
            checkpoint_bytes: state.len() as u64,
            checkpoint_crc: crc32c::crc32c(state),
            checkpoint_area: area,
            chain: 0,
            sizes: options.sizes,
            node: options.node.clone(),
        };
        storage
            .write_at(&superblock.encode(), slot_offset(&superblock))
            .map_err(create)?;
        storage.sync().map_err(create)?;
        let next = superblock.start();
        Ok(Self::of(storage, superblock, next))
    }

    /// [`Journal::open`] on any storage.
    pub fn open_on(storage: Arc<dyn Storage>) -> Result<(Self, Recovered), JournalError> {
        let survey = Survey::of(&*storage)?;
        let name = storage.name();
        let write = |error: std::io::Error| JournalError::Fatal {
            name: name.clone(),
            what: format!("making the recovered log durable failed: {error}"),
        };
        if survey.beyond.records > 0 {
            // Whole records after a torn one: were the torn one written again with the same bytes,
            // they would count again, though this recovery says that they never were.
            let end = survey.superblock.sizes.file_bytes();
            fill_zeros(&*storage, survey.next.offset, end).map_err(write)?;
        }
        // What was recovered is acted upon from here on, so it must not be lost any more.
        storage.sync().map_err(write)?;
        let journal = Self::of(storage, survey.superblock, survey.next);
        Ok((journal, survey.recovered))
    }

    fn of(storage: Arc<dyn Storage>, superblock: Superblock, next: Expected) -> Self {
        let durable = Lsn(next.lsn.0 - 1);
        Self {
            syncer: Arc::new(Syncer::new(Arc::clone(&storage), durable)),
            due_bytes: superblock.sizes.checkpoint_due_bytes(),
            epoch: next.epoch_min,
            control: None,
            buffer: Vec::new(),
            path: PathBuf::from(storage.name()),
            locks: Vec::new(),
            storage,
            superblock,
            next,
        }
    }

    /// Appends one record and publishes it. It survives the death of any process from here on;
    /// power loss only after [`Syncer::sync_to`].
    pub fn append(&mut self, body: &[u8], priority: Priority) -> Result<Lsn, JournalError> {
        self.syncer.check()?;
        if body.len() > BODY_BYTES_MAX {
            return Err(JournalError::BodyTooLong { bytes: body.len() });
        }
        if record_bytes(body.len()) > self.room(priority) {
            return Err(JournalError::Full);
        }
        let expected = self.next;
        let durable = self.syncer.durable();
        let crc = encode_record(&mut self.buffer, &expected, self.epoch, durable, body);
        if let Err(error) = self.storage.write_at(&self.buffer, expected.offset) {
            return Err(self
                .syncer
                .fail(format!("a write to the log failed: {error}")));
        }
        self.next = Expected {
            epoch_min: self.epoch,
            lsn: expected.lsn.next(),
            chain: crc,
            offset: expected.offset + self.buffer.len() as u64,
            ..expected
        };
        self.syncer.note_written(expected.lsn);
        self.publish();
        Ok(expected.lsn)
    }

    /// [`Journal::append`] of an entry of the model.
    pub fn append_entry(&mut self, entry: &Entry, priority: Priority) -> Result<Lsn, JournalError> {
        self.append(&super::replay::encode_entry(entry), priority)
    }

    /// Bytes of log that records of this priority may still use.
    pub fn room(&self, priority: Priority) -> u64 {
        let sizes = &self.superblock.sizes;
        let kept = match priority {
            Priority::Normal => sizes.reserve_bytes(),
            Priority::Reserved => 0,
        };
        (sizes.log_bytes - self.log_used()).saturating_sub(kept)
    }

    /// Bytes of log in use.
    pub fn log_used(&self) -> u64 {
        self.next.offset - self.superblock.sizes.log_offset()
    }

    /// Is the log so full that the writer should checkpoint soon?
    pub fn needs_checkpoint(&self) -> bool {
        self.log_used() >= self.due_bytes
    }

    /// Makes `state` (all records up to [`Journal::lsn`] applied) the new start of recovery and
    /// restarts the log. Durable on return. [`JournalError::StateTooBig`] leaves all as it was.
    pub fn checkpoint(&mut self, state: &[u8]) -> Result<(), JournalError> {
        self.syncer.check()?;
        let sizes = self.superblock.sizes;
        if let Err(error) = check_state(&sizes, state) {
            // Asked again only after some more log, as making the state costs time.
            self.due_bytes = self.log_used() + sizes.log_bytes / 16;
            return Err(error);
        }
        let generation = self.superblock.generation + 1;
        let area = (generation % 2) as u32;
        let superblock = Superblock {
            generation,
            epoch: self.epoch,
            checkpoint_lsn: self.lsn(),
            checkpoint_bytes: state.len() as u64,
            checkpoint_crc: crc32c::crc32c(state),
            checkpoint_area: area,
            chain: self.next.chain,
            ..self.superblock.clone()
        };
        self.write(state, sizes.area_offset(area), "the checkpoint")?;
        // The checkpoint, and with it the whole log it replaces, before the superblock that names it.
        self.syncer.barrier()?;
        self.write(
            &superblock.encode(),
            slot_offset(&superblock),
            "the superblock",
        )?;
        // The superblock before the first record that overwrites the log it retires.
        self.syncer.barrier()?;
        self.next = superblock.start();
        self.due_bytes = sizes.checkpoint_due_bytes();
        self.superblock = superblock;
        self.publish();
        Ok(())
    }

    fn write(&self, bytes: &[u8], offset: u64, what: &str) -> Result<(), JournalError> {
        self.storage
            .write_at(bytes, offset)
            .map_err(|error| self.syncer.fail(format!("writing {what} failed: {error}")))
    }

    /// For group commit: callable by any thread, without the writer.
    pub fn syncer(&self) -> Arc<Syncer> {
        Arc::clone(&self.syncer)
    }

    /// Publishes the journal on the control page from here on.
    pub fn publish_on(&mut self, control: Control) -> Result<(), JournalError> {
        control.name_journal(&self.path, &self.superblock, self.tail(), self.lsn())?;
        self.control = Some(control);
        Ok(())
    }

    fn publish(&self) {
        if let Some(control) = &self.control {
            control.publish(self.tail(), self.lsn());
        }
    }

    fn tail(&self) -> Tail {
        Tail {
            generation: self.next.generation,
            offset: self.next.offset,
        }
    }

    /// The last record written.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.next.lsn.0 - 1)
    }

    /// Which start of the node's daemon made this file.
    pub fn incarnation(&self) -> u64 {
        self.superblock.incarnation
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The epoch of the next record.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Raises the epoch of the records from here on. A lower one is a programmer's error: epochs only rise.
    pub fn raise_epoch(&mut self, epoch: u64) {
        assert!(epoch >= self.epoch, "epochs only rise");
        self.epoch = epoch;
    }
}

fn slot_offset(superblock: &Superblock) -> u64 {
    SUPERBLOCK_OFFSETS[(superblock.generation % 2) as usize]
}

fn check_state(sizes: &Sizes, state: &[u8]) -> Result<(), JournalError> {
    let (bytes, bytes_max) = (state.len() as u64, sizes.checkpoint_bytes);
    if bytes > bytes_max {
        return Err(JournalError::StateTooBig { bytes, bytes_max });
    }
    Ok(())
}

fn fill_zeros(storage: &dyn Storage, from: u64, to: u64) -> std::io::Result<()> {
    let zeros = vec![0; (to - from).min(1 << 20) as usize];
    let mut offset = from;
    while offset < to {
        let bytes = (to - offset).min(zeros.len() as u64);
        storage.write_at(&zeros[..bytes as usize], offset)?;
        offset += bytes;
    }
    Ok(())
}
