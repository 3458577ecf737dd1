//! Rights and holds of tokens. Rights that calls hold for their duration are the engine's; it passes the
//! strongest of them on the handle as `calls`.

use super::super::limits::GRANTS_MAX;
use super::{Corrupt, DmError, Effect, FsId, Grant, Handle, Model, Plan, Record, Right};
use super::{SessionId, Token};

/// Can the two not be held by different holders at one time?
pub fn conflicts(held: Right, wanted: Right) -> bool {
    match (held, wanted) {
        (Right::Null, _) | (_, Right::Null) => false,
        (Right::Shared, Right::Shared) => false,
        (Right::Exclusive, _) | (_, Right::Exclusive) => true,
    }
}

/// The stronger of two rights.
pub fn stronger(one: Right, other: Right) -> Right {
    one.max(other)
}

impl Model {
    /// The strongest right that tokens hold on a handle, without that of `except`.
    pub fn strongest_right(&self, handle: Handle, except: Option<Token>) -> Right {
        self.holders_of(handle)
            .filter(|(token, _)| Some(*token) != except)
            .map(|(_, grant)| grant.right)
            .fold(Right::Null, stronger)
    }

    /// A token (if one is given) must hold `need` or more on the handle, else `EACCES`. The token was checked.
    pub fn check_right(
        &self,
        token: Option<Token>,
        handle: Handle,
        need: Right,
    ) -> Result<(), DmError> {
        match token {
            Some(token) if self.right_of(token, handle) < need => Err(DmError::NoRight),
            _ => Ok(()),
        }
    }

    /// `dm_request_right`. `Ok(None)`: others hold a right that conflicts, and the caller wants to wait.
    pub fn plan_request_right(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        right: Right,
        wait: bool,
        calls: Right,
    ) -> Result<Option<Plan<()>>, DmError> {
        if right == Right::Null {
            return Err(DmError::Invalid);
        }
        let token = self.check_right_call(session, handle, token)?;
        let has = self.right_of(token, handle);
        if has >= right {
            return Ok(Some(Plan::new(Vec::new(), ())));
        }
        if has == Right::Shared && wait {
            // Two that wait for each other's share would wait for ever.
            return Err(DmError::NoRight);
        }
        if self.is_contended(token, handle, right, calls) {
            return match wait {
                true => Ok(None),
                false => Err(DmError::Again),
            };
        }
        self.check_grant_room(token, handle)?;
        Ok(Some(set(token, handle, right)))
    }

    /// `dm_release_right`.
    pub fn plan_release_right(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Plan<()>, DmError> {
        let token = self.check_right_call(session, handle, token)?;
        match self.right_of(token, handle) {
            Right::Null => Err(DmError::NoRight),
            Right::Shared | Right::Exclusive => Ok(set(token, handle, Right::Null)),
        }
    }

    /// `dm_query_right`: `Null` where the token has nothing.
    pub fn query_right(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Right, DmError> {
        let token = self.check_right_call(session, handle, token)?;
        Ok(self.right_of(token, handle))
    }

    /// `dm_upgrade_right`: never waits.
    pub fn plan_upgrade_right(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        calls: Right,
    ) -> Result<Plan<()>, DmError> {
        let token = self.check_right_call(session, handle, token)?;
        match self.right_of(token, handle) {
            Right::Null => Err(DmError::NotPermitted),
            Right::Exclusive => Ok(Plan::new(Vec::new(), ())),
            Right::Shared if self.is_contended(token, handle, Right::Exclusive, calls) => {
                Err(DmError::Again)
            }
            Right::Shared => Ok(set(token, handle, Right::Exclusive)),
        }
    }

    /// `dm_downgrade_right`.
    pub fn plan_downgrade_right(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Plan<()>, DmError> {
        let token = self.check_right_call(session, handle, token)?;
        match self.right_of(token, handle) {
            Right::Exclusive => Ok(set(token, handle, Right::Shared)),
            Right::Shared | Right::Null => Err(DmError::NotPermitted),
        }
    }

    /// `dm_obj_ref_hold`: `EBUSY` if the token holds it already.
    pub fn plan_hold(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Plan<()>, DmError> {
        let token = self.check_hold_call(session, handle, token)?;
        if self.is_held(token, handle) {
            return Err(DmError::Busy);
        }
        self.check_grant_room(token, handle)?;
        let held = true;
        Ok(Plan::one(
            Record::HoldSet {
                token,
                handle,
                held,
            },
            (),
        ))
    }

    /// `dm_obj_ref_rele`: `EACCES` if it does not.
    pub fn plan_release_hold(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Plan<()>, DmError> {
        let token = self.check_hold_call(session, handle, token)?;
        if !self.is_held(token, handle) {
            return Err(DmError::NoRight);
        }
        let held = false;
        Ok(Plan::one(
            Record::HoldSet {
                token,
                handle,
                held,
            },
            (),
        ))
    }

    /// `dm_obj_ref_query`.
    pub fn query_hold(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<bool, DmError> {
        let token = self.check_hold_call(session, handle, token)?;
        Ok(self.is_held(token, handle))
    }

    /// Does a token have a right or hold on the file system or an object of it? Then it cannot be unmounted.
    pub fn is_fs_in_use(&self, fs: FsId) -> bool {
        self.grants
            .keys()
            .any(|(_, handle)| handle.fs() == Some(fs))
    }

    /// Does a token have a right or hold on the object?
    pub fn is_in_use(&self, handle: Handle) -> bool {
        self.holders_of(handle).next().is_some()
    }

    /// All rights and holds, for people: token, handle, right, held.
    pub fn rights(&self) -> impl Iterator<Item = (Token, Handle, Right, bool)> {
        self.grants
            .iter()
            .map(|((token, handle), grant)| (token, handle, grant.right, grant.held))
    }

    /// Right calls take a real token, and any handle but the global one.
    fn check_right_call(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Token, DmError> {
        self.check_call(session, token)?;
        let token = token.ok_or(DmError::Invalid)?;
        let fs = handle.fs().ok_or(DmError::BadHandle)?;
        self.file_system(fs)?;
        Ok(token)
    }

    /// Only objects can be held.
    fn check_hold_call(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<Token, DmError> {
        let token = self.check_right_call(session, handle, token)?;
        match handle {
            Handle::Object { .. } => Ok(token),
            Handle::Fs(_) | Handle::Global => Err(DmError::BadHandle),
        }
    }

    fn check_grant_room(&self, token: Token, handle: Handle) -> Result<(), DmError> {
        match self.grants.len() < GRANTS_MAX || self.grants.has((token, handle)) {
            true => Ok(()),
            false => Err(DmError::NoMemory),
        }
    }

    fn is_contended(&self, token: Token, handle: Handle, wanted: Right, calls: Right) -> bool {
        conflicts(self.strongest_right(handle, Some(token)), wanted) || conflicts(calls, wanted)
    }

    fn right_of(&self, token: Token, handle: Handle) -> Right {
        let grant = self.grants.get((token, handle));
        grant.map_or(Right::Null, |grant| grant.right)
    }

    fn is_held(&self, token: Token, handle: Handle) -> bool {
        let grant = self.grants.get((token, handle));
        grant.is_some_and(|grant| grant.held)
    }

    fn holders_of(&self, handle: Handle) -> impl Iterator<Item = (Token, Grant)> + '_ {
        self.holders
            .range((handle, Token(0))..=(handle, Token(u32::MAX)))
            .filter_map(|((handle, token), ())| Some((token, *self.grants.get((token, handle))?)))
    }

    fn put_grant(&mut self, token: Token, handle: Handle, grant: Grant) {
        if grant.right == Right::Null && !grant.held {
            self.grants.remove((token, handle));
            self.holders.remove((handle, token));
        } else {
            self.grants.insert((token, handle), grant);
            self.holders.insert((handle, token), ());
        }
    }

    /// The token of a right or hold must be outstanding somewhere, its file system served.
    fn check_holder(&self, token: Token, handle: Handle) -> Result<Grant, Corrupt> {
        let place = self.tokens.get(token).and_then(|at| self.places.get(*at));
        if !matches!(place, Some(super::Place::Outstanding(_))) {
            return Err(Corrupt::new(format!(
                "token {} is not outstanding",
                token.0
            )));
        }
        match handle.fs() {
            Some(fs) => self.fs_row(fs)?,
            None => return Err(Corrupt::new("a right on the global handle")),
        };
        let none = Grant {
            right: Right::Null,
            held: false,
        };
        Ok(self.grants.get((token, handle)).copied().unwrap_or(none))
    }

    pub(super) fn right_set(
        &mut self,
        token: Token,
        handle: Handle,
        right: Right,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let grant = self.check_holder(token, handle)?;
        if self.is_contended(token, handle, right, Right::Null) {
            return Err(Corrupt::new(format!(
                "the right of token {} conflicts with another",
                token.0
            )));
        }
        if right < grant.right {
            let handles = vec![handle];
            effects.push(Effect::RightsReleased { handles });
        }
        self.put_grant(token, handle, Grant { right, ..grant });
        Ok(())
    }

    pub(super) fn hold_set(
        &mut self,
        token: Token,
        handle: Handle,
        held: bool,
    ) -> Result<(), Corrupt> {
        let grant = self.check_holder(token, handle)?;
        if grant.held == held {
            return Err(Corrupt::new(format!(
                "the hold of token {} does not change",
                token.0
            )));
        }
        self.put_grant(token, handle, Grant { held, ..grant });
        Ok(())
    }

    /// All rights and holds of a token end.
    pub(super) fn release_grants(&mut self, token: Token, effects: &mut Vec<Effect>) {
        // `Global` is the lowest of all handles and has no grants.
        let keys: Vec<(Token, Handle)> = self
            .grants
            .range((token, Handle::Global)..)
            .map(|(key, _)| key)
            .take_while(|(owner, _)| *owner == token)
            .collect();
        self.release(keys, effects);
    }

    /// All rights and holds on a file system and its objects end.
    pub(super) fn release_fs_grants(&mut self, fs: FsId, effects: &mut Vec<Effect>) {
        let keys: Vec<(Token, Handle)> = self
            .grants
            .keys()
            .filter(|(_, handle)| handle.fs() == Some(fs))
            .collect();
        self.release(keys, effects);
    }

    fn release(&mut self, keys: Vec<(Token, Handle)>, effects: &mut Vec<Effect>) {
        let mut handles = Vec::new();
        for (token, handle) in keys {
            self.grants.remove((token, handle));
            self.holders.remove((handle, token));
            handles.push(handle);
        }
        handles.sort_unstable();
        handles.dedup();
        if !handles.is_empty() {
            effects.push(Effect::RightsReleased { handles });
        }
    }
}

fn set(token: Token, handle: Handle, right: Right) -> Plan<()> {
    Plan::one(
        Record::RightSet {
            token,
            handle,
            right,
        },
        (),
    )
}
