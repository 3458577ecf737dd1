//! A disk that remembers every write, so that any crash can be played afterwards, and that can fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use dmapi::journal::Storage;

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub enum Op {
    Write { offset: usize, bytes: Vec<u8> },
    Sync,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The n-th write or sync from now fails with this errno.
    At { op: usize, errno: i32 },
}

#[derive(Default)]
struct Inner {
    /// The bytes before the first of `ops`.
    base: Vec<u8>,
    live: Vec<u8>,
    ops: Vec<Op>,
    fault: Option<(usize, i32)>,
    marked: bool,
}

pub struct Disk(Mutex<Inner>);

impl Disk {
    pub fn of(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            base: bytes.clone(),
            live: bytes,
            ..Inner::default()
        })))
    }

    pub fn empty(bytes: u64) -> Arc<Self> {
        Self::of(vec![0; bytes as usize])
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().expect("no test panics in here")
    }

    pub fn live(&self) -> Vec<u8> {
        self.inner().live.clone()
    }

    /// How many writes and syncs there were.
    pub fn ops(&self) -> usize {
        self.inner().ops.len()
    }

    pub fn break_at(&self, fault: Fault) {
        let Fault::At { op, errno } = fault;
        let mut inner = self.inner();
        inner.fault = Some((inner.ops.len() + op, errno));
    }

    /// Was it told that it failed?
    pub fn marked(&self) -> bool {
        self.inner().marked
    }

    pub fn mend(&self) {
        self.inner().fault = None;
    }

    /// Forgets the history: all is durable now.
    pub fn settle(&self) {
        let mut inner = self.inner();
        inner.base = inner.live.clone();
        inner.ops.clear();
    }

    /// The history from the last [`Disk::settle`], to be crashed anywhere.
    pub fn history(&self) -> History {
        let inner = self.inner();
        History {
            base: inner.base.clone(),
            ops: inner.ops.clone(),
        }
    }
}

impl Inner {
    fn step(&mut self, op: Op) -> io::Result<()> {
        if let Some((at, errno)) = self.fault
            && self.ops.len() >= at
        {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if let Op::Write { offset, bytes } = &op {
            self.live[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        self.ops.push(op);
        Ok(())
    }
}

impl Storage for Disk {
    fn name(&self) -> String {
        "disk".to_owned()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().live.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let inner = self.inner();
        let from = inner.live.get(offset as usize..).unwrap_or(&[]);
        let from = from
            .get(..buffer.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner().step(Op::Write {
            offset: offset as usize,
            bytes: bytes.to_vec(),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.inner().step(Op::Sync)
    }

    fn mark_failed(&self) {
        self.inner().marked = true;
    }
}

/// All that was done to a disk.
pub struct History {
    base: Vec<u8>,
    ops: Vec<Op>,
}

impl History {
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// The same without any sync: what a disk does that lies about them.
    pub fn without_syncs(&self) -> Self {
        let mut ops = self.ops.clone();
        // Kept in number, so that instants stay comparable.
        for op in &mut ops {
            if matches!(op, Op::Sync) {
                *op = Op::Write {
                    offset: 0,
                    bytes: Vec::new(),
                };
            }
        }
        Self {
            base: self.base.clone(),
            ops,
        }
    }

    /// Power is lost after `done` operations.
    pub fn power_loss(&self, done: usize) -> PowerLoss {
        let synced = self.ops[..done]
            .iter()
            .rposition(|op| matches!(op, Op::Sync))
            .map_or(0, |index| index + 1);
        let mut durable = self.base.clone();
        for op in &self.ops[..synced] {
            apply(&mut durable, op);
        }
        let mut live = durable.clone();
        let mut sectors = BTreeMap::<usize, Vec<Vec<u8>>>::new();
        for op in &self.ops[synced..done] {
            apply(&mut live, op);
            if let Op::Write { offset, bytes } = op
                && !bytes.is_empty()
            {
                for sector in offset / SECTOR_BYTES..=(offset + bytes.len() - 1) / SECTOR_BYTES {
                    let at = sector * SECTOR_BYTES;
                    let version = live[at..at + SECTOR_BYTES].to_vec();
                    sectors.entry(sector).or_default().push(version);
                }
            }
        }
        PowerLoss {
            durable,
            sectors: sectors.into_iter().collect(),
        }
    }

    /// The writer dies in the middle of operation `done`, after `bytes` of it.
    pub fn process_death(&self, done: usize, bytes: usize) -> Vec<u8> {
        let mut live = self.base.clone();
        for op in &self.ops[..done] {
            apply(&mut live, op);
        }
        if let Some(Op::Write {
            offset,
            bytes: written,
        }) = self.ops.get(done)
        {
            let part = &written[..bytes.min(written.len())];
            live[*offset..offset + part.len()].copy_from_slice(part);
        }
        live
    }

    /// Length of operation `done`, 0 for a sync.
    pub fn op_bytes(&self, done: usize) -> usize {
        match &self.ops[done] {
            Op::Write { bytes, .. } => bytes.len(),
            Op::Sync => 0,
        }
    }
}

fn apply(image: &mut [u8], op: &Op) {
    if let Op::Write { offset, bytes } = op {
        image[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// What may be on the disk: each unsynced sector in any of its versions, independent of the others.
pub struct PowerLoss {
    durable: Vec<u8>,
    sectors: Vec<(usize, Vec<Vec<u8>>)>,
}

impl PowerLoss {
    /// All images if there are at most `images_max`, else that many chosen by `seed`.
    pub fn images(&self, images_max: usize, seed: u64) -> Vec<Vec<u8>> {
        let total = self
            .sectors
            .iter()
            .map(|(_, versions)| versions.len() + 1)
            .try_fold(1_usize, usize::checked_mul)
            .filter(|total| *total <= images_max);
        let mut chance = seed | 1;
        let mut draw = move || {
            // xorshift64: any spread will do, it only has to be the same in each run.
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance as usize
        };
        (0..total.unwrap_or(images_max))
            .map(|index| {
                let mut digits = index;
                self.image(|versions| {
                    match (total, index) {
                        (Some(_), _) => {}
                        // Nothing and everything are always among them.
                        (None, 0) => return 0,
                        (None, 1) => return versions - 1,
                        (None, _) => return draw() % versions,
                    }
                    let digit = digits % versions;
                    digits /= versions;
                    digit
                })
            })
            .collect()
    }

    /// The image in which `choose(versions + 1)` picks the version of each sector, 0 for the durable one.
    fn image(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (sector, versions) in &self.sectors {
            if let Some(version) = choose(versions.len() + 1).checked_sub(1) {
                let at = sector * SECTOR_BYTES;
                image[at..at + SECTOR_BYTES].copy_from_slice(&versions[version]);
            }
        }
        image
    }
}
