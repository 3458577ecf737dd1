//! The invariants, checked over the whole state: after a checkpoint was read, and in tests.

use super::super::limits::{ANSWERED_MAX, KEPT_REPLIES_MAX, VIEWS_MAX};
use super::{Corrupt, Model, Origin, Place, Right, conflicts};

impl Model {
    /// Does the state hold all that [`super`] promises? A checkpoint that does not is damaged.
    pub fn check(&self) -> Result<(), Corrupt> {
        self.check_events()?;
        self.check_tokens()?;
        self.check_grants()?;
        self.check_interests()
    }

    fn check_events(&self) -> Result<(), Corrupt> {
        let mut bytes = 0;
        let (mut waiting, mut queued, mut outstanding, mut serials) = (0, 0, 0, 0);
        for (sequence, event) in self.events.iter() {
            bytes += event.message_bytes() as u64;
            let indexed = match (self.places.get(sequence), event.token) {
                (Some(Place::Waiting(fs)), Some(_)) => {
                    waiting += 1;
                    self.waiting.has((*fs, sequence)) && self.file_systems.has(*fs)
                }
                (Some(Place::Queued(session)), _) => {
                    queued += 1;
                    self.queues.has((*session, sequence)) && self.sessions.has(*session)
                }
                (Some(Place::Outstanding(session)), Some(token)) => {
                    outstanding += 1;
                    self.outstanding.has((*session, token)) && self.sessions.has(*session)
                }
                _ => false,
            };
            let has_serial = match event.origin {
                Origin::Source(serial) => {
                    serials += 1;
                    self.serials.get(serial) == Some(&sequence)
                }
                Origin::Nobody | Origin::Request(_) => true,
            };
            let is_old = sequence.0 < self.counters.next_sequence;
            demand(
                event.sequence == sequence && indexed && has_serial && is_old,
                || format!("event {} is in no place, or in two", sequence.0),
            )?;
        }
        demand(
            self.places.len() == self.events.len()
                && self.waiting.len() == waiting
                && self.queues.len() == queued
                && self.outstanding.len() == outstanding
                && self.serials.len() == serials,
            || "an event is in two places".into(),
        )?;
        let asked_live = self.asked.keys().all(|sequence| self.events.has(sequence));
        demand(asked_live, || "a mount that is gone was asked for".into())?;
        demand(bytes == self.counters.event_bytes, || {
            "the bytes of the events are counted wrong".into()
        })
    }

    fn check_tokens(&self) -> Result<(), Corrupt> {
        let with_token = self
            .events
            .iter()
            .filter(|(_, event)| event.token.is_some());
        demand(with_token.count() == self.tokens.len(), || {
            "a token names no event".into()
        })?;
        for (token, &sequence) in self.tokens.iter() {
            let named = self.events.get(sequence).and_then(|event| event.token);
            demand(named == Some(token) && !self.answered.has(token), || {
                format!("token {} names no event of its own", token.0)
            })?;
        }
        demand(
            self.answered.len() <= ANSWERED_MAX && self.kept.len() <= KEPT_REPLIES_MAX,
            || "too much is remembered".into(),
        )
    }

    fn check_grants(&self) -> Result<(), Corrupt> {
        demand(self.grants.len() == self.holders.len(), || {
            "a right is indexed wrong".into()
        })?;
        for ((token, handle), grant) in self.grants.iter() {
            let place = self.tokens.get(token).and_then(|at| self.places.get(*at));
            let others = self.strongest_right(handle, Some(token));
            demand(
                matches!(place, Some(Place::Outstanding(_)))
                    && self.holders.has((handle, token))
                    && (grant.held || grant.right != Right::Null)
                    && !conflicts(others, grant.right)
                    && handle.fs().is_some_and(|fs| self.file_systems.has(fs)),
                || format!("the right of token {} cannot be", token.0),
            )?;
        }
        Ok(())
    }

    fn check_interests(&self) -> Result<(), Corrupt> {
        for ((fs, kind), session) in self.dispositions.iter() {
            demand(
                self.sessions.has(*session) && self.file_systems.has(fs),
                || format!("the disposition of {} belongs to nobody", kind.name()),
            )?;
        }
        for (fs, row) in self.file_systems.iter() {
            let alive = row
                .return_on_destroy
                .is_none_or(|(session, _)| self.sessions.has(session));
            demand(alive, || {
                format!("return-on-destroy of {:#x} belongs to nobody", fs.0)
            })?;
        }
        let fuse_served = self
            .later
            .fuse_mounts
            .keys()
            .all(|fs| self.file_systems.has(fs));
        demand(fuse_served, || "a FUSE mount serves nothing".into())?;
        self.check_views()?;
        // What waits has no disposition, else it would be queued.
        for ((fs, sequence), ()) in self.waiting.iter() {
            let kind = self.events.get(sequence).map(|event| event.kind);
            let wanted = kind.is_some_and(|kind| self.dispositions.has((fs, kind)));
            demand(!wanted, || {
                format!("event {} waits although it is wanted", sequence.0)
            })?;
        }
        Ok(())
    }

    fn check_views(&self) -> Result<(), Corrupt> {
        let mut devices = std::collections::BTreeSet::new();
        for ((fs, number), view) in self.views.further.iter() {
            demand(
                self.later.fuse_mounts.has(fs) && devices.insert((fs, view.device)),
                || format!("further FUSE mount {number} of {:#x} cannot be", fs.0),
            )?;
        }
        demand(self.views.further.len() <= VIEWS_MAX, || {
            "too many further FUSE mounts".into()
        })
    }
}

fn demand(holds: bool, why: impl FnOnce() -> String) -> Result<(), Corrupt> {
    match holds {
        true => Ok(()),
        false => Err(Corrupt::new(why())),
    }
}
