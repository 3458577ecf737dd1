//! Where C enters: the guard round every exported function, and access to the caller's memory.
//!
//! A bad address must give `EFAULT`, never a crash, so memory of the caller is never dereferenced: it is read
//! and written by process_vm_readv(2) and process_vm_writev(2) on the own process, which report it. Outputs are
//! probed page by page before the first byte is stored, so a failing call leaves none half written.

use std::ffi::c_int;
use std::ffi::c_void;
use std::mem::{MaybeUninit, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;

use super::memory;
use crate::client;
use crate::model::DmError;

/// Runs the body of an exported function: no panic gets out, and errno is set as the last thing.
pub(super) fn dm_call(body: impl FnOnce() -> Result<c_int, DmError>) -> c_int {
    dm_call_or(-1, body)
}

/// Like [`dm_call`] for functions whose result is no plain int; `failed` is what they return with errno.
pub(super) fn dm_call_or<T>(failed: T, body: impl FnOnce() -> Result<T, DmError>) -> T {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(DmError::Io));
    outcome.unwrap_or_else(|error| {
        // Last: what was dropped above may have changed errno.
        Errno::from_raw(client::errno(error)).set();
        failed
    })
}

/// Types without padding or invalid values, which may be copied from and to C as bytes.
///
/// # Safety
/// Any bytes are a valid value, and a value built by [`zeroed`] has no uninitialised byte.
pub(super) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        // SAFETY: made of integers only; its padding, if any, is zero from `zeroed` or a copy of the caller's.
        $(unsafe impl Plain for $type {})+
    };
}

plain!(
    u8,
    i32,
    u32,
    i64,
    u64,
    usize,
    super::types::dm_attrlist,
    super::types::dm_attrname,
    super::types::dm_cancel_event,
    super::types::dm_data_event,
    super::types::dm_destroy_event,
    super::types::dm_dioinfo,
    super::types::dm_dispinfo,
    super::types::dm_eventmsg,
    super::types::dm_extent,
    super::types::dm_fileattr,
    super::types::dm_inherit,
    super::types::dm_mount_event,
    super::types::dm_namesp_event,
    super::types::dm_region,
    super::types::dm_stat,
    super::types::dm_timestruct,
    super::types::dm_vardata,
    super::types::dm_xstat,
);

/// A value of all zero bytes, padding included.
pub(super) fn zeroed<T: Plain>() -> T {
    let value = MaybeUninit::<T>::zeroed();
    // SAFETY: `Plain` says that any bytes are a valid value.
    unsafe { value.assume_init() }
}

/// The bytes of a value.
pub(super) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `value` is a live `T` of that many bytes, and `Plain` says that all are initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// Reads one value from the caller.
pub(super) fn read<T: Plain>(from: *const T) -> Result<T, DmError> {
    let mut value = zeroed::<T>();
    let room = std::ptr::from_mut(&mut value).cast::<u8>();
    // SAFETY: `value` is a live `T` of that many bytes that nothing else uses while `bytes` lives.
    let bytes = unsafe { std::slice::from_raw_parts_mut(room, size_of::<T>()) };
    memory::read(from.addr(), bytes)?;
    Ok(value)
}

/// Reads `count` bytes from the caller. The function's own limit on `count` was checked before.
pub(super) fn read_bytes(from: *const c_void, count: usize) -> Result<Vec<u8>, DmError> {
    let mut bytes = vec![0; count];
    memory::read(from.addr(), &mut bytes)?;
    Ok(bytes)
}

/// Reads `count` elements from the caller. The function's own limit on `count` was checked before.
pub(super) fn read_array<T: Plain>(from: *const T, count: usize) -> Result<Vec<T>, DmError> {
    let bytes = read_bytes(from.cast(), count * size_of::<T>())?;
    bytes
        .chunks_exact(size_of::<T>())
        .map(|chunk| read(chunk.as_ptr().cast::<T>()))
        .collect()
}

/// Reads a string with at most `limit` bytes before its NUL; `too_long` if there are more.
pub(super) fn read_string(
    from: *const std::ffi::c_char,
    limit: usize,
    too_long: DmError,
) -> Result<Vec<u8>, DmError> {
    let mut text = Vec::new();
    let mut address = from.addr();
    loop {
        // Never past the page: the string may end in the last one that is mapped.
        let in_page = memory::PAGE_BYTES - address % memory::PAGE_BYTES;
        let mut piece = vec![0; in_page.min(limit + 1 - text.len())];
        memory::read(address, &mut piece)?;
        if let Some(end) = piece.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&piece[..end]);
            return Ok(text);
        }
        text.extend_from_slice(&piece);
        if text.len() > limit {
            return Err(too_long);
        }
        address = address.wrapping_add(piece.len());
    }
}

/// A place of the caller for one value, probed: a store will succeed.
pub(super) struct Out<T>(usize, std::marker::PhantomData<T>);

impl<T: Plain> Out<T> {
    /// `EFAULT` if the place cannot be written.
    pub(super) fn new(place: *mut T) -> Result<Self, DmError> {
        memory::probe(place.addr(), size_of::<T>())?;
        Ok(Self(place.addr(), std::marker::PhantomData))
    }

    /// Stores the value.
    pub(super) fn set(&self, value: T) -> Result<(), DmError> {
        memory::write(self.0, bytes_of(&value))
    }
}

impl Out<usize> {
    /// Hands the outcome on; if it says how many bytes are needed, that is stored.
    pub(super) fn needed<T>(&self, outcome: Result<T, DmError>) -> Result<T, DmError> {
        if let Err(DmError::TooBig { need: Some(need) }) = outcome {
            self.set(usize::try_from(need).unwrap_or(usize::MAX))?;
        }
        outcome
    }
}

impl Out<u32> {
    /// Hands the outcome on; if it says how many elements are needed, that is stored.
    pub(super) fn needed<T>(&self, outcome: Result<T, DmError>) -> Result<T, DmError> {
        if let Err(DmError::TooBig { need: Some(need) }) = outcome {
            self.set(u32::try_from(need).unwrap_or(u32::MAX))?;
        }
        outcome
    }
}

/// A buffer of the caller for bytes, and the place for their number.
pub(super) struct OutBuffer {
    address: usize,
    room: usize,
    length: Out<usize>,
}

impl OutBuffer {
    /// `EFAULT` if the length cannot be stored, or if the buffer is not aligned to `align`.
    pub(super) fn new(
        buffer: *mut c_void,
        room: usize,
        length: *mut usize,
        align: usize,
    ) -> Result<Self, DmError> {
        let length = Out::new(length)?;
        if !buffer.addr().is_multiple_of(align) {
            return Err(DmError::BadAddress);
        }
        Ok(Self {
            address: buffer.addr(),
            room,
            length,
        })
    }

    /// The caller's room in bytes, as it said.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// `EFAULT` if not even the first byte of the buffer can be written.
    pub(super) fn probe_start(&self) -> Result<(), DmError> {
        memory::probe(self.address, self.room.min(1))
    }

    /// Stores the size that is needed where the outcome says it, and hands the outcome on.
    pub(super) fn needed<T>(&self, outcome: Result<T, DmError>) -> Result<T, DmError> {
        self.length.needed(outcome)
    }

    /// Stores bytes and their number. Too little room: `E2BIG` and the number only.
    pub(super) fn fill(&self, bytes: &[u8]) -> Result<(), DmError> {
        if bytes.len() > self.room {
            return self.length.needed(Err(DmError::need(bytes.len())));
        }
        let length = bytes.len();
        memory::write_two((self.address, bytes), (self.length.0, bytes_of(&length)))
    }
}

/// An array of the caller, and the place for the number of elements.
pub(super) struct OutArray<T> {
    address: usize,
    room: u32,
    count: Out<u32>,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> OutArray<T> {
    /// `EFAULT` if the count cannot be stored.
    pub(super) fn new(array: *mut T, room: u32, count: *mut u32) -> Result<Self, DmError> {
        Ok(Self {
            address: array.addr(),
            room,
            count: Out::new(count)?,
            element: std::marker::PhantomData,
        })
    }

    /// Stores elements and their number. Too little room: `E2BIG` and the number only.
    pub(super) fn fill(&self, elements: &[T]) -> Result<(), DmError> {
        let count = u32::try_from(elements.len()).unwrap_or(u32::MAX);
        if count > self.room {
            return self.count.needed(Err(DmError::need(elements.len())));
        }
        let bytes: Vec<u8> = elements.iter().flat_map(bytes_of).copied().collect();
        memory::write_two((self.address, &bytes), (self.count.0, bytes_of(&count)))
    }
}

/// Gives each exported function its version node (the test of the symbols checks it).
macro_rules! dm_version {
    ($node:literal: $($name:ident),+ $(,)?) => {
        $(std::arch::global_asm!(concat!(
            ".symver ", stringify!($name), ", ", stringify!($name), "@@", $node
        ));)+
    };
}
pub(super) use dm_version;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_eio_and_errno_is_last() {
        let got = dm_call(|| panic!("a panic must not reach C"));
        assert_eq!((got, Errno::last()), (-1, Errno::EIO));
        struct Spoils;
        impl Drop for Spoils {
            fn drop(&mut self) {
                Errno::EBADMSG.set();
            }
        }
        let got = dm_call(|| {
            let _spoils = Spoils;
            Err(DmError::Busy)
        });
        assert_eq!((got, Errno::last()), (-1, Errno::EBUSY));
    }

    #[test]
    fn null_and_wild_addresses_are_refused() {
        for address in [0usize, 8, 0xDEAD_BEEF, usize::MAX, usize::MAX - 7] {
            let wild = std::ptr::without_provenance_mut::<u64>(address);
            assert_eq!(read(wild.cast_const()), Err(DmError::BadAddress));
            assert!(Out::new(wild).is_err());
            assert_eq!(read_bytes(wild.cast(), 3), Err(DmError::BadAddress));
        }
    }

    #[test]
    fn a_value_goes_there_and_back() {
        let mut slot = 5u64;
        let out = Out::new(&raw mut slot).expect("a local can be written");
        out.set(7).expect("a local can be written");
        assert_eq!(read(&raw const slot), Ok(7));
    }

    #[test]
    fn a_string_ends_at_its_nul_or_is_too_long() {
        let text = c"abc";
        let long = DmError::need(0);
        assert_eq!(read_string(text.as_ptr(), 3, long), Ok(b"abc".to_vec()));
        assert_eq!(read_string(text.as_ptr(), 2, long), Err(long));
    }

    #[test]
    fn too_little_room_stores_the_need_and_nothing_else() {
        let mut room = [9u8; 4];
        let mut length = 1usize;
        let out = OutBuffer::new(room.as_mut_ptr().cast(), 4, &raw mut length, 1).expect("a local");
        assert_eq!(out.fill(&[1; 5]), Err(DmError::need(5)));
        assert_eq!((room, length), ([9; 4], 5));
        assert_eq!(out.fill(&[1; 2]), Ok(()));
        assert_eq!((room, length), ([1, 1, 9, 9], 2));
    }
}
