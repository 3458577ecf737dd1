//! From bodies to state: what recovery and every reader do with a journal.

use std::path::Path;

use super::Lsn;
use super::error::JournalError;
use super::follower::Follower;
use super::recover::Recovered;
use crate::model::Entry;
use crate::model::Model;

/// A state that is made by applying entries, and nothing else.
pub trait State: Default {
    /// Applies one entry; an error in words means that the journal contradicts itself.
    fn apply_entry(&mut self, entry: &Entry) -> Result<(), String>;
    /// The bytes of a checkpoint.
    fn encode(&self) -> Vec<u8>;
    /// The reverse; an error in words.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

impl State for Model {
    fn apply_entry(&mut self, entry: &Entry) -> Result<(), String> {
        // The effects were carried out by the writer that appended the entry.
        self.apply(entry)
            .map(|_effects| ())
            .map_err(|corrupt| corrupt.why)
    }

    fn encode(&self) -> Vec<u8> {
        let (later, views) = self.later();
        let all = postcard::to_stdvec(self)
            .and_then(|bytes| postcard::to_extend(later, bytes))
            .and_then(|bytes| postcard::to_extend(views, bytes));
        all.expect("the model has no type that postcard cannot write")
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let none = |error| format!("it is no state: {error}");
        let (model, rest): (Self, _) = postcard::take_from_bytes(bytes).map_err(none)?;
        let (later, rest) = take_or_default(rest).map_err(none)?;
        let (views, rest) = take_or_default(rest).map_err(none)?;
        match rest {
            [] => Ok(model.with_later(later, views)),
            rest => Err(format!("{} bytes follow the state", rest.len())),
        }
    }
}

/// A part of a checkpoint. Where nothing is left it is of a format that did not have it.
fn take_or_default<'a, T>(bytes: &'a [u8]) -> postcard::Result<(T, &'a [u8])>
where
    T: Default + serde::Deserialize<'a>,
{
    match bytes {
        [] => Ok((T::default(), bytes)),
        bytes => postcard::take_from_bytes(bytes),
    }
}

/// The body of the record that holds an entry.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    postcard::to_stdvec(entry).expect("an entry has no type that postcard cannot write")
}

/// The entry that the body of a record holds; an error in words.
pub fn decode_entry(body: &[u8]) -> Result<Entry, String> {
    match postcard::take_from_bytes(body) {
        Ok((entry, [])) => Ok(entry),
        Ok((_, rest)) => Err(format!("{} bytes follow the entry", rest.len())),
        Err(error) => Err(format!("it is no entry: {error}")),
    }
}

fn decode_state<S: State>(name: &str, checkpoint: Option<&[u8]>) -> Result<S, JournalError> {
    checkpoint
        .map_or_else(|| Ok(S::default()), S::decode)
        .map_err(|why| JournalError::damaged(name, format!("the checkpoint: {why}")))
}

fn apply_all<S: State>(
    name: &str,
    state: &mut S,
    entries: &[(Lsn, Vec<u8>)],
) -> Result<(), JournalError> {
    for (lsn, body) in entries {
        decode_entry(body)
            .and_then(|entry| state.apply_entry(&entry))
            .map_err(|why| JournalError::damaged(name, format!("record {lsn}: {why}")))?;
    }
    Ok(())
}

/// The state that a recovered journal holds; `name` is for messages.
pub fn replay<S: State>(name: &str, recovered: &Recovered) -> Result<S, JournalError> {
    let mut state = decode_state(name, recovered.checkpoint.as_deref())?;
    apply_all(name, &mut state, &recovered.entries)?;
    Ok(state)
}

/// A state that follows a journal being written.
pub struct Replica<S> {
    follower: Follower,
    state: S,
    lsn: Lsn,
    name: String,
}

impl<S: State> Replica<S> {
    /// Follows the journal that the control page names.
    pub fn open(control: &Path) -> Result<Self, JournalError> {
        Ok(Self {
            follower: Follower::open(control)?,
            state: S::default(),
            lsn: Lsn(0),
            name: control.display().to_string(),
        })
    }

    /// Applies what was published since the last call, and tells the last record of it.
    pub fn catch_up(&mut self) -> Result<Lsn, JournalError> {
        let found = self.follower.catch_up()?;
        if let Some(checkpoint) = &found.restarted {
            self.state = decode_state(&self.name, checkpoint.as_deref())?;
        }
        apply_all(&self.name, &mut self.state, &found.entries)?;
        self.lsn = found.lsn;
        Ok(self.lsn)
    }

    /// The state as it was found last.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The state now, if it holds record `lsn`; `None`: the journal is not that far.
    pub fn state_at(&mut self, lsn: Lsn) -> Result<Option<&S>, JournalError> {
        Ok((self.catch_up()? >= lsn).then_some(&self.state))
    }
}
