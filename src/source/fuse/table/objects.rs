//! Objects that are open, or have ended.

use std::os::fd::RawFd;

use super::{FREE, OBJECT, OBJECTS, ROW_WORDS, Table, USED, minus, plus};

const O_STATE: usize = 0;
const O_NODE: usize = 1;
const O_GENERATION: usize = 2;
const O_BACKING: usize = 3;
pub(super) const O_BACKING_FD: usize = 4;
pub(super) const O_ENDED_FD: usize = 5;
const O_FLAGS: usize = 6;

/// DESTROY is in the object's own list.
const FLAG_LISTED: u64 = 1;
/// The last name is gone.
const FLAG_ENDED: u64 = 2;
/// The engine was told so.
const FLAG_DESTROYED: u64 = 4;

/// An object with something that must outlive the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its place.
    pub row: usize,
    /// Its node.
    pub node: u64,
    /// Its generation.
    pub generation: u32,
    /// Its backing file as the kernel knows it, and our descriptor of that.
    pub backing: Option<(i32, RawFd)>,
    /// A descriptor that keeps an object without names.
    pub ended: Option<RawFd>,
    /// The last name is gone.
    pub is_ended: bool,
    /// DESTROY was in its own list.
    pub listed: bool,
    /// DESTROY was told.
    pub is_destroyed: bool,
}

impl Table {
    /// Enters an object. `None`: there is no room.
    pub fn add_object(&self, node: u64, generation: u32) -> Option<usize> {
        let row = Self::take(&self.free_objects)?;
        let word = OBJECT + row * ROW_WORDS;
        for field in [O_BACKING, O_BACKING_FD, O_ENDED_FD, O_FLAGS] {
            self.memory.set(word + field, 0);
        }
        self.memory.set(word + O_NODE, node);
        self.memory.set(word + O_GENERATION, u64::from(generation));
        self.memory.set(word + O_STATE, USED);
        Some(row)
    }

    /// What is in a row; `None` if it is free.
    pub fn object(&self, row: usize) -> Option<Object> {
        let word = OBJECT + row * ROW_WORDS;
        let get = |field: usize| self.memory.get(word + field);
        (get(O_STATE) == USED).then(|| Object {
            row,
            node: get(O_NODE),
            generation: get(O_GENERATION) as u32,
            backing: minus(get(O_BACKING_FD)).map(|fd| (get(O_BACKING) as i32, fd)),
            ended: minus(get(O_ENDED_FD)),
            is_ended: get(O_FLAGS) & FLAG_ENDED != 0,
            listed: get(O_FLAGS) & FLAG_LISTED != 0,
            is_destroyed: get(O_FLAGS) & FLAG_DESTROYED != 0,
        })
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        (0..OBJECTS).filter_map(|row| self.object(row))
    }

    /// Notes the backing file of an object, or that it has none.
    pub fn set_backing(&self, row: usize, backing: Option<(i32, RawFd)>) {
        let word = OBJECT + row * ROW_WORDS;
        if let Some((id, _)) = backing {
            self.memory.set(word + O_BACKING, id as u64);
        }
        let fd = backing.map(|(_, fd)| fd);
        self.memory.set(word + O_BACKING_FD, plus(fd));
    }

    /// The object has no name any more; `fd` keeps it, `listed`: DESTROY is in its own list.
    pub fn set_ended(&self, row: usize, fd: Option<RawFd>, listed: bool) {
        let word = OBJECT + row * ROW_WORDS;
        let flags = FLAG_ENDED | if listed { FLAG_LISTED } else { 0 };
        self.memory.set(word + O_ENDED_FD, plus(fd));
        self.memory.set(word + O_FLAGS, flags);
    }

    /// DESTROY was told of it.
    pub fn set_destroyed(&self, row: usize) {
        let word = OBJECT + row * ROW_WORDS + O_FLAGS;
        self.memory
            .set(word, self.memory.get(word) | FLAG_DESTROYED);
    }

    /// The object has a name after all. The descriptor that kept it is the caller's from now on.
    pub fn clear_ended(&self, row: usize) -> Option<RawFd> {
        let word = OBJECT + row * ROW_WORDS;
        let fd = minus(self.memory.get(word + O_ENDED_FD));
        self.memory.set(word + O_ENDED_FD, 0);
        self.memory.set(word + O_FLAGS, 0);
        fd
    }

    /// Forgets an object. Its descriptors are the caller's from now on.
    pub fn remove_object(&self, row: usize) {
        self.memory.set(OBJECT + row * ROW_WORDS + O_STATE, FREE);
        Self::give(&self.free_objects, row);
    }
}
