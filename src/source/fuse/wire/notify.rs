//! What the server tells the kernel by itself.

use super::abi;
use super::layout::NotifyDeleteOut;
use super::layout::NotifyInvalEntryOut;
use super::layout::NotifyInvalInodeOut;
use super::layout::NotifyStoreOut;
use super::layout::Wire;

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `FUSE_NOTIFY_...`
    pub code: i32,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// The name as the kernel takes it: with NUL, which the length does not count.
fn named<T: Wire>(fixed: &T, name: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(T::BYTES + name.len() + 1);
    fixed.put(&mut body);
    body.extend_from_slice(name);
    body.push(0);
    body
}

/// No name is longer than `NAME_MAX`; of one that is the kernel would say so.
fn length(name: &[u8]) -> u32 {
    u32::try_from(name.len()).unwrap_or(u32::MAX)
}

impl Notice {
    /// What is cached of an object is old: attributes and the pages from `offset` on, `length` bytes, 0 for all.
    /// Waits for requests of these pages, so never from a thread that they need.
    pub fn inval_inode(node: u64, offset: i64, length: i64) -> Self {
        let body = NotifyInvalInodeOut {
            ino: node,
            off: offset,
            len: length,
        };
        Self {
            code: abi::FUSE_NOTIFY_INVAL_INODE,
            body: body.bytes(),
        }
    }

    /// Only the attributes are old. Waits for nothing.
    pub fn inval_attributes(node: u64) -> Self {
        Self::inval_inode(node, -1, 0)
    }

    /// What a name stands for is old. Takes the lock of the directory: never from a thread that serves a request
    /// which changes that directory.
    pub fn inval_entry(parent: u64, name: &[u8]) -> Self {
        let fixed = NotifyInvalEntryOut {
            parent,
            namelen: length(name),
            flags: 0,
        };
        Self {
            code: abi::FUSE_NOTIFY_INVAL_ENTRY,
            body: named(&fixed, name),
        }
    }

    /// The name is to be asked for again when it is next used; the object stays in the cache.
    pub fn expire_entry(parent: u64, name: &[u8]) -> Self {
        let fixed = NotifyInvalEntryOut {
            parent,
            namelen: length(name),
            flags: abi::FUSE_EXPIRE_ONLY,
        };
        Self {
            code: abi::FUSE_NOTIFY_INVAL_ENTRY,
            body: named(&fixed, name),
        }
    }

    /// The name is gone: who watches the directory hears of it.
    pub fn delete(parent: u64, child: u64, name: &[u8]) -> Self {
        let fixed = NotifyDeleteOut {
            parent,
            child,
            namelen: length(name),
            padding: 0,
        };
        Self {
            code: abi::FUSE_NOTIFY_DELETE,
            body: named(&fixed, name),
        }
    }

    /// Puts bytes into the page cache of an object. The data follow the body in the same write.
    pub fn store(node: u64, offset: u64, bytes: u32) -> Self {
        let body = NotifyStoreOut {
            nodeid: node,
            offset,
            size: bytes,
            padding: 0,
        };
        Self {
            code: abi::FUSE_NOTIFY_STORE,
            body: body.bytes(),
        }
    }

    /// All that was read and not answered is to be sent again, with the mark of it.
    pub fn resend() -> Self {
        Self {
            code: abi::FUSE_NOTIFY_RESEND,
            body: Vec::new(),
        }
    }
}
