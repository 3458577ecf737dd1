//! Requests of one system call that wait for one answer.
//!
//! The kernel cuts a large direct read into several requests and sends them all before it waits. The first that owes
//! the event leads; the others wait for its answer and make no event of their own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::serve::Task;
use crate::model::EventType;
use crate::source::call::Done;

/// A system call of a thread on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    /// The thread.
    pub thread: u32,
    /// The file.
    pub node: u64,
    /// What it owes.
    pub kind: EventType,
    /// Its number, arguments and place.
    pub call: u64,
    /// How many the thread has finished.
    pub done: Done,
}

/// Who waits with whom.
#[derive(Debug, Default)]
pub struct SameCalls {
    followers: Mutex<HashMap<CallId, Vec<Task<'static>>>>,
}

impl SameCalls {
    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Vec<Task<'static>>>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A request owes an event. It is given back if it is the first of its call, which then leads.
    pub fn join(&self, mut task: Task<'static>, call: Option<CallId>) -> Option<Task<'static>> {
        let Some(call) = call else { return Some(task) };
        let mut followers = self.lock();
        if let Some(others) = followers.get_mut(&call) {
            others.push(task);
            return None;
        }
        followers.insert(call, Vec::new());
        task.leads = Some(call);
        Some(task)
    }

    /// The one that leads waits no more: those that waited with it.
    pub fn leave(&self, task: &mut Task<'_>) -> Vec<Task<'static>> {
        let led = task.leads.take();
        led.and_then(|call| self.lock().remove(&call))
            .unwrap_or_default()
    }
}
