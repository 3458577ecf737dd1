//! Steps of the orders that a test leaves out, to see that they are needed.

use std::sync::atomic::{AtomicU32, Ordering};

/// A set of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skip(pub u32);

impl Skip {
    /// A migration of a file that is open past us goes on.
    pub const OPEN_COUNT: Self = Self(1);
    /// The lease test.
    pub const LEASE: Self = Self(1 << 1);
    /// The kernel is not told that a backing file is over.
    pub const BACKING_CLOSE: Self = Self(1 << 2);
    /// Pages are not dropped before a migration.
    pub const PAGES_BEFORE: Self = Self(1 << 3);
    /// Pages are not dropped after a migration.
    pub const PAGES_AFTER: Self = Self(1 << 4);
    /// Reads and writes do not keep a punch out.
    pub const IO_LOCK: Self = Self(1 << 5);
    /// A change of the data meanwhile is not seen.
    pub const CHANGES: Self = Self(1 << 6);
    /// Opens are not held while a file is migrated.
    pub const HOLD_OPENS: Self = Self(1 << 7);
    /// Only the oldest mount prepares.
    pub const OTHER_MOUNTS: Self = Self(1 << 8);

    /// Both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What is left out now.
#[derive(Debug, Default)]
pub struct Skipped(AtomicU32);

impl Skipped {
    /// From now on.
    pub fn set(&self, skip: Skip) {
        self.0.store(skip.0, Ordering::Release);
    }

    /// Is it?
    pub fn has(&self, skip: Skip) -> bool {
        self.0.load(Ordering::Acquire) & skip.0 == skip.0
    }
}
