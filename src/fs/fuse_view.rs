//! Handles of objects that are reached through a FUSE mount of the service.
//!
//! The FUSE source names each object by the numbers of its handle, and the root by 1. The kernel's own file
//! handle of an object has them, so no path and no request is needed.

use std::os::fd::BorrowedFd;

use crate::model::DmError;
use crate::model::Handle;
use crate::sys::handle::KernelHandle;
use crate::sys::handle::name_to_handle;
use crate::sys::statx;

/// Node number u64 as two words, the upper one first; generation u32.
const INO64_GEN: i32 = 0x81;
/// The same with the parent's behind it.
const INO64_GEN_PARENT: i32 = 0x82;
const ROOT_NODE: u64 = 1;

/// The FUSE mount through which users see a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseView {
    /// `st_dev` of the mount.
    pub device: u64,
    /// The handle of its root.
    pub root: Handle,
}

impl FuseView {
    /// The handle of an open object (O_PATH will do). `NotManaged` if it was not reached through this mount.
    pub fn handle_of(&self, fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
        // The server is not asked: it may be the caller.
        if statx::place(fd)?.device != self.device {
            return Err(DmError::NotManaged);
        }
        self.named(&name_to_handle(fd)?)
    }

    fn named(&self, kernel: &KernelHandle) -> Result<Handle, DmError> {
        let words = |at: usize| -> Option<u32> {
            let word = kernel.bytes().get(4 * at..4 * at + 4)?;
            Some(u32::from_ne_bytes(word.try_into().ok()?))
        };
        let (INO64_GEN | INO64_GEN_PARENT, Some(upper), Some(lower), Some(generation)) =
            (kernel.kind(), words(0), words(1), words(2))
        else {
            return Err(DmError::Io);
        };
        let inode = u64::from(upper) << 32 | u64::from(lower);
        let fs = self.root.fs().ok_or(DmError::Io)?;
        Ok(match inode {
            ROOT_NODE => self.root,
            inode => Handle::Object {
                fs,
                inode,
                generation,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FsId;

    const FS: FsId = FsId(9);

    fn named(kind: i32, words: &[u32]) -> Result<Handle, DmError> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let view = FuseView {
            device: 5,
            root: object(128, 0),
        };
        view.named(&KernelHandle::new(kind, &bytes).expect("it is short"))
    }

    fn object(inode: u64, generation: u32) -> Handle {
        Handle::Object {
            fs: FS,
            inode,
            generation,
        }
    }

    #[test]
    fn a_node_is_the_object_of_its_numbers() {
        assert_eq!(named(INO64_GEN, &[1, 2, 3]), Ok(object((1 << 32) | 2, 3)));
        assert_eq!(
            named(INO64_GEN_PARENT, &[0, 7, 3, 0, 1, 0]),
            Ok(object(7, 3))
        );
        assert_eq!(named(INO64_GEN, &[0, 1, 0]), Ok(object(128, 0)));
    }

    #[test]
    fn another_kind_of_handle_is_refused() {
        assert_eq!(named(1, &[1, 2, 3]), Err(DmError::Io));
        assert_eq!(named(INO64_GEN, &[1, 2]), Err(DmError::Io));
    }
}
