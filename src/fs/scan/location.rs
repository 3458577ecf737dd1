//! Locations: a position and check bits, so that garbage is refused and not taken for a place.

use crate::fs::FsKind;

/// Values of a sealed location have 56 bits; check bits are above.
const VALUE_BITS: u32 = 56;
/// The greatest value: the scan is at its end.
pub(super) const VALUE_END: u64 = (1 << VALUE_BITS) - 1;

/// What a location belongs to: one of the other kind is garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Directory,
    Bulk,
    /// Inode numbers that need 63 bits (overlayfs, NFS) and leave no room for check bits: the sign bit marks them.
    WideBulk,
}

const WIDE: u64 = 1 << 63;
/// The end in [`Space::WideBulk`]; the greatest value has one less.
const WIDE_END: u64 = WIDE - 1;

impl Space {
    /// That of bulk scans of a kind of file system.
    pub(super) fn of_bulk(kind: FsKind) -> Self {
        match kind {
            FsKind::Other(_) => Self::WideBulk,
            _ => Self::Bulk,
        }
    }

    /// The value of the end.
    pub(super) fn end(self) -> u64 {
        match self {
            Self::WideBulk => WIDE_END,
            Self::Directory | Self::Bulk => VALUE_END,
        }
    }
}

fn check_bits(value: u64, space: Space) -> u64 {
    let salt = match space {
        Space::Directory => 0x5bd1_e995_97f4_a7c5,
        Space::Bulk | Space::WideBulk => 0x27d4_eb2f_1656_67c5,
    };
    // Odd, so that no sealed location is 0, where every scan begins.
    ((value ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> VALUE_BITS) | 1
}

/// The location of a value; values that do not fit are the end.
pub(super) fn seal(value: u64, space: Space) -> u64 {
    if space == Space::WideBulk {
        // The very last number is kept free: no location is -1.
        return match value {
            0 => 0,
            value if value >= WIDE_END => 1,
            value => WIDE | value,
        };
    }
    let value = value.min(VALUE_END);
    check_bits(value, space) << VALUE_BITS | value
}

/// The value of a location; `None` for garbage. 0 is value 0, the start.
pub(super) fn unseal(location: u64, space: Space) -> Option<u64> {
    if space == Space::WideBulk {
        return match location {
            0 => Some(0),
            1 => Some(WIDE_END),
            u64::MAX => None,
            _ => (location & WIDE != 0).then_some(location & !WIDE),
        };
    }
    let value = location & VALUE_END;
    (location == 0 || seal(value, space) == location).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_opened_in_its_space_only() {
        for value in [0, 1, 128, 1 << 40, VALUE_END] {
            let location = seal(value, Space::Bulk);
            assert_eq!(unseal(location, Space::Bulk), Some(value));
        }
        for value in [0, 1, 128, 1 << 62, WIDE_END] {
            let location = seal(value, Space::WideBulk);
            assert_eq!(unseal(location, Space::WideBulk), Some(value));
        }
        assert_eq!(unseal(0, Space::Directory), Some(0));
        assert_eq!(unseal(seal(7, Space::Bulk), Space::Directory), None);
        for garbage in [1, 100, 0xdead_beef, u64::MAX - 100] {
            assert_eq!(unseal(garbage, Space::Bulk), None, "{garbage}");
            assert_eq!(unseal(garbage, Space::Directory), None, "{garbage}");
        }
    }
}
