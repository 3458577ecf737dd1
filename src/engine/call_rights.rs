//! Rights that calls hold for their duration, and the line of those who wait for a right on an object.
//! Tokens and calls stand in one line, first come, first served; so a waiter for EXCL is not starved.

use std::collections::{HashMap, VecDeque};

use super::ConnId;
use crate::model::machine::{conflicts, stronger};
use crate::model::{Handle, Right, Token};

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// The connection whose request waits; it carries one at a time.
    pub conn: ConnId,
    /// What it waits for.
    pub right: Right,
    /// Whose own right does not count against it.
    pub token: Option<Token>,
}

#[derive(Debug, Default)]
struct Line {
    holders: Vec<(ConnId, Right)>,
    waiting: VecDeque<Waiter>,
}

/// All lines.
#[derive(Debug, Default)]
pub struct CallRights {
    lines: HashMap<Handle, Line>,
}

impl CallRights {
    /// The strongest right that calls hold.
    pub fn held(&self, handle: Handle) -> Right {
        self.lines.get(&handle).map_or(Right::Null, |line| {
            line.holders
                .iter()
                .map(|(_, right)| *right)
                .fold(Right::Null, stronger)
        })
    }

    /// The strongest right that calls hold or anybody waits for: what a newcomer stands behind.
    pub fn held_or_wanted(&self, handle: Handle) -> Right {
        let waiting = self.lines.get(&handle).map_or(Right::Null, |line| {
            line.waiting
                .iter()
                .map(|waiter| waiter.right)
                .fold(Right::Null, stronger)
        });
        stronger(self.held(handle), waiting)
    }

    /// Takes the right for a call if nobody has or waits for one that conflicts; `tokens` is the
    /// strongest right of tokens on the object.
    pub fn try_take(&mut self, handle: Handle, conn: ConnId, right: Right, tokens: Right) -> bool {
        let free = !conflicts(tokens, right) && !conflicts(self.held_or_wanted(handle), right);
        if free {
            let line = self.lines.entry(handle).or_default();
            line.holders.push((conn, right));
        }
        free
    }

    /// Joins the end of the line.
    pub fn wait(&mut self, handle: Handle, waiter: Waiter) {
        self.lines
            .entry(handle)
            .or_default()
            .waiting
            .push_back(waiter);
    }

    /// The call holds nothing there any more.
    pub fn release(&mut self, handle: Handle, conn: ConnId) {
        self.change(handle, |line| {
            line.holders.retain(|(holder, _)| *holder != conn);
        });
    }

    /// The call does not wait there any more.
    pub fn cancel(&mut self, handle: Handle, conn: ConnId) {
        self.change(handle, |line| {
            line.waiting.retain(|waiter| waiter.conn != conn);
        });
    }

    fn change(&mut self, handle: Handle, change: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&handle) {
            change(line);
            if line.holders.is_empty() && line.waiting.is_empty() {
                self.lines.remove(&handle);
            }
        }
    }

    /// Gives rights to those at the front of the line who can have them now; they hold them as calls.
    /// `tokens` tells the strongest right of tokens on the object, without that of the one named.
    pub fn grant(
        &mut self,
        handle: Handle,
        tokens: impl Fn(Option<Token>) -> Right,
    ) -> Vec<Waiter> {
        let mut granted = Vec::new();
        while let Some(next) = self
            .lines
            .get(&handle)
            .and_then(|line| line.waiting.front())
            .copied()
        {
            let free = !conflicts(tokens(next.token), next.right)
                && !conflicts(self.held(handle), next.right);
            if !free {
                break;
            }
            if let Some(line) = self.lines.get_mut(&handle) {
                line.waiting.pop_front();
                line.holders.push((next.conn, next.right));
            }
            granted.push(next);
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    const HANDLE: Handle = Handle::Fs(FsId(7));

    fn waiter(conn: u64, right: Right) -> Waiter {
        Waiter {
            conn: ConnId(conn),
            right,
            token: None,
        }
    }

    #[test]
    fn readers_share_and_a_writer_waits() {
        let mut rights = CallRights::default();
        assert!(rights.try_take(HANDLE, ConnId(1), Right::Shared, Right::Null));
        assert!(rights.try_take(HANDLE, ConnId(2), Right::Shared, Right::Shared));
        assert!(!rights.try_take(HANDLE, ConnId(3), Right::Exclusive, Right::Null));
        rights.wait(HANDLE, waiter(3, Right::Exclusive));
        // A newcomer does not overtake.
        assert!(!rights.try_take(HANDLE, ConnId(4), Right::Shared, Right::Null));
        rights.release(HANDLE, ConnId(1));
        assert!(rights.grant(HANDLE, |_| Right::Null).is_empty());
        rights.release(HANDLE, ConnId(2));
        assert_eq!(
            rights.grant(HANDLE, |_| Right::Null),
            vec![waiter(3, Right::Exclusive)]
        );
        assert_eq!(rights.held(HANDLE), Right::Exclusive);
        rights.release(HANDLE, ConnId(3));
        assert!(rights.lines.is_empty());
    }

    #[test]
    fn a_token_keeps_calls_out() {
        let mut rights = CallRights::default();
        assert!(!rights.try_take(HANDLE, ConnId(1), Right::Shared, Right::Exclusive));
        rights.wait(HANDLE, waiter(1, Right::Shared));
        assert!(rights.grant(HANDLE, |_| Right::Exclusive).is_empty());
        assert_eq!(rights.grant(HANDLE, |_| Right::Shared).len(), 1);
    }

    #[test]
    fn who_gives_up_lets_the_next_one_go() {
        let mut rights = CallRights::default();
        assert!(rights.try_take(HANDLE, ConnId(1), Right::Shared, Right::Null));
        rights.wait(HANDLE, waiter(2, Right::Exclusive));
        rights.wait(HANDLE, waiter(3, Right::Shared));
        assert!(rights.grant(HANDLE, |_| Right::Null).is_empty());
        rights.cancel(HANDLE, ConnId(2));
        assert_eq!(
            rights.grant(HANDLE, |_| Right::Null),
            vec![waiter(3, Right::Shared)]
        );
    }
}
