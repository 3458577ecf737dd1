//! Which DELETE_SELF is the end of an object.
//!
//! The kernel tells it whenever a name of an object without links goes out of its cache: for a file that had
//! two names and is open under one, at the second unlink and at the last close. And the last one to let
//! go may be this process, by the descriptor of an event or by having looked whether the object is alive.

use std::collections::{HashMap, VecDeque};

use crate::model::Handle;

/// Ends that are remembered. Two notifications of one end come close together.
const TOLD_MAX: usize = 256;
/// A look at an object without a name in the cache makes a DELETE_SELF of its own, for ever.
const OWN_LOOKS_MAX: u8 = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Objects that were alive when it was told, and how often because of ourselves.
    alive: HashMap<Handle, u8>,
    told: VecDeque<Handle>,
}

impl Ends {
    /// Should the object be looked at? `own`: this process caused the notification.
    pub fn may_be_over(&mut self, object: Handle, own: bool) -> bool {
        if self.told.contains(&object) {
            return false;
        }
        let looks = self.alive.entry(object).or_default();
        *looks = if own { *looks + 1 } else { 0 };
        *looks <= OWN_LOOKS_MAX
    }

    /// It cannot be found any more.
    pub fn is_over(&mut self, object: Handle) {
        self.alive.remove(&object);
        if self.told.len() == TOLD_MAX {
            self.told.pop_front();
        }
        self.told.push_back(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    fn object(inode: u64) -> Handle {
        Handle::Object {
            fs: FsId(1),
            inode,
            generation: 7,
        }
    }

    #[test]
    fn an_end_is_told_once() {
        let mut ends = Ends::default();
        assert!(ends.may_be_over(object(1), false));
        assert!(ends.may_be_over(object(1), false));
        ends.is_over(object(1));
        assert!(!ends.may_be_over(object(1), false));
        assert!(!ends.may_be_over(object(1), true));
        for inode in 2..=TOLD_MAX as u64 + 1 {
            ends.is_over(object(inode));
        }
        assert!(ends.may_be_over(object(1), false));
    }

    #[test]
    fn our_own_looks_come_to_an_end() {
        let mut ends = Ends::default();
        let looks = (0..100).take_while(|_| ends.may_be_over(object(1), true));
        assert_eq!(looks.count(), usize::from(OWN_LOOKS_MAX));
        assert!(ends.may_be_over(object(1), false));
        assert!(ends.may_be_over(object(1), true));
    }
}
