//! Objects as this worker knows them. Their numbers mean the same to every worker, so all of it can be made
//! again: what must not be lost is in the [`super::table`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use super::backing::Backing;
use super::serve::Task;
use super::table::Way;
use crate::fs::ObjectState;
use crate::model::{Handle, Kinds};

/// The kernel's number of the root.
pub const ROOT: u64 = 1;
const SHARDS: usize = 64;

/// An object.
#[derive(Debug)]
pub struct Node {
    /// The kernel's number.
    pub id: u64,
    /// Its handle.
    pub handle: Handle,
    /// What it is.
    pub kind: Kinds,
    /// What changes. Held while an open is answered, never across I/O on the file's data or a wait.
    pub inner: Mutex<Inner>,
    /// Who reads or writes the backing file for the kernel holds it shared until the kernel has the answer;
    /// who punches holds it exclusively.
    pub io: RwLock<()>,
    /// Grows with each change of the data by a user.
    pub writes: AtomicU64,
    /// The kernel has looked it up.
    is_looked_up: AtomicBool,
}

/// What changes about an object.
#[derive(Debug, Default)]
pub struct Inner {
    /// Regions, event list and punches. Only this worker changes them, so they are read once.
    pub state: Option<Arc<ObjectState>>,
    /// Grows with each change of the state: what was read before is old.
    pub state_changes: u32,
    /// Opens that were answered and not released.
    pub opens: u32,
    /// How it is open, while it is.
    pub way: Option<Way>,
    /// Its row in the table of objects.
    pub row: Option<usize>,
    /// The backing file, while it is open.
    pub backing: Option<Arc<Backing>>,
    /// The last name is gone.
    pub is_ended: bool,
    /// DESTROY was told.
    pub is_destroyed: bool,
    /// DESTROY was in its own list when that was last looked at.
    pub listed: bool,
    /// Requests that wait for the answer to an event.
    pub held: u32,
    /// A migration or a change of regions is under way.
    pub changing: bool,
    /// Requests that wait for the end of that.
    pub waiting: Vec<Task<'static>>,
    /// READs of several pages were refused, so pages may be marked as failed.
    pub has_refused: bool,
    /// The last of them, and how often.
    pub refused: Option<((u64, u32), u32)>,
    /// Size and mtime of the data when the file was last opened here, on a mount made with `shared`.
    pub seen_data: Option<(u64, (i64, u32))>,
    /// Somebody was told of it (DEBUT).
    pub is_known: bool,
}

impl Node {
    fn new(id: u64, handle: Handle, kind: Kinds) -> Self {
        Self {
            id,
            handle,
            kind,
            inner: Mutex::default(),
            io: RwLock::default(),
            writes: AtomicU64::new(0),
            is_looked_up: AtomicBool::new(false),
        }
    }

    /// Its inode number.
    pub fn inode(&self) -> u64 {
        match self.handle {
            Handle::Object { inode, .. } => inode,
            _ => 0,
        }
    }

    /// Its generation.
    pub fn generation(&self) -> u32 {
        match self.handle {
            Handle::Object { generation, .. } => generation,
            _ => 0,
        }
    }

    /// A state to be kept; most objects have the empty one.
    pub fn shared(state: ObjectState) -> Arc<ObjectState> {
        static EMPTY: LazyLock<Arc<ObjectState>> = LazyLock::new(Arc::default);
        if state == **EMPTY {
            return Arc::clone(&EMPTY);
        }
        Arc::new(state)
    }

    /// What changes.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic ends the worker, so nobody is left to see a poisoned mutex.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Is there a reason to keep it in memory although the kernel has forgotten it?
    fn is_needed(&self) -> bool {
        self.opens > 0
            || self.row.is_some()
            || self.held > 0
            || self.changing
            || !self.waiting.is_empty()
    }
}

/// The nodes of a mount.
#[derive(Debug)]
pub struct Nodes {
    shards: Vec<Mutex<HashMap<u64, Arc<Node>>>>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Nodes {
    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Arc<Node>>> {
        let shard = &self.shards[id as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node that this worker has met.
    pub fn get(&self, id: u64) -> Option<Arc<Node>> {
        self.shard(id).get(&id).cloned()
    }

    /// The node of an object that was just found for the kernel. A number that came back with another generation is
    /// another object.
    pub fn meet(&self, id: u64, handle: Handle, kind: Kinds) -> Arc<Node> {
        let mut shard = self.shard(id);
        let node = Self::meet_in(&mut shard, id, handle, kind);
        node.is_looked_up.store(true, Ordering::Release);
        node
    }

    /// The node of an object that an application changes; [`Self::leave`] follows.
    pub fn meet_unseen(&self, id: u64, handle: Handle, kind: Kinds) -> Arc<Node> {
        Self::meet_in(&mut self.shard(id), id, handle, kind)
    }

    /// The end of [`Self::meet_unseen`]: what the kernel never heard of goes.
    pub fn leave(&self, node: &Arc<Node>) {
        let mut shard = self.shard(node.id);
        let is_this = shard
            .get(&node.id)
            .is_some_and(|found| Arc::ptr_eq(found, node));
        // The shard has one, the caller has one: any other is that of a request.
        let is_alone = Arc::strong_count(node) == 2;
        let is_unseen = !node.is_looked_up.load(Ordering::Acquire);
        if is_this && is_alone && is_unseen && !node.lock().is_needed() {
            shard.remove(&node.id);
        }
    }

    fn meet_in(
        shard: &mut HashMap<u64, Arc<Node>>,
        id: u64,
        handle: Handle,
        kind: Kinds,
    ) -> Arc<Node> {
        if let Some(node) = shard.get(&id)
            && node.handle == handle
        {
            return Arc::clone(node);
        }
        let node = Arc::new(Node::new(id, handle, kind));
        shard.insert(id, Arc::clone(&node));
        node
    }

    /// The kernel has forgotten it. Returns it if it has to be kept all the same.
    pub fn forget(&self, id: u64) -> Option<Arc<Node>> {
        let mut shard = self.shard(id);
        let node = shard.get(&id)?;
        // The kernel may have looked it up again, and FORGETs are read late: a request that has the node is about
        // to count on it, and all that use an object must have the same one.
        if Arc::strong_count(node) > 1 || node.lock().is_needed() {
            return Some(Arc::clone(node));
        }
        shard.remove(&id);
        None
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Node>> {
        let each = self.shards.iter();
        each.flat_map(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values().cloned().collect::<Vec<_>>()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    fn handle(inode: u64) -> Handle {
        Handle::Object {
            fs: FsId(1),
            inode,
            generation: 1,
        }
    }

    #[test]
    fn a_node_in_use_is_not_forgotten() {
        let nodes = Nodes::default();
        let used = nodes.meet(5, handle(5), Kinds::REGULAR);
        assert!(nodes.forget(5).is_some());
        let again = nodes.meet(5, handle(5), Kinds::REGULAR);
        assert!(Arc::ptr_eq(&used, &again));
        drop((used, again));
        assert!(nodes.forget(5).is_none());
        assert!(nodes.get(5).is_none());
    }

    #[test]
    fn what_only_an_application_used_goes_unless_a_request_has_it() {
        let nodes = Nodes::default();
        let unseen = nodes.meet_unseen(5, handle(5), Kinds::REGULAR);
        let of_request = nodes.get(5);
        nodes.leave(&unseen);
        assert!(nodes.get(5).is_some());
        drop(of_request);
        nodes.leave(&unseen);
        assert!(nodes.get(5).is_none());
    }
}
