//! The journal and its crashes. Each test names the instant at which the power or the process goes.

#[path = "../common/mod.rs"]
mod common;
mod crash;
mod ctl;
mod disk;
mod faults;
mod figures;
mod follow;
mod nodes;
mod process;
mod refuse;
mod torn;

use dmapi::journal::{Journal, Lsn, Options, Priority, Sizes};

/// Small enough that every byte and sector can be tried.
pub const SMALL: Sizes = Sizes {
    log_bytes: 16 << 10,
    checkpoint_bytes: 4 << 10,
};

/// Options of a journal of these sizes.
pub fn options(sizes: Sizes) -> Options {
    Options {
        node: "n1".to_owned(),
        incarnation: 1,
        epoch: 1,
        sizes,
    }
}

/// The body that every test gives to record `lsn`: its number, then a length and bytes of its own.
pub fn body(lsn: u64) -> Vec<u8> {
    let mut body = lsn.to_le_bytes().to_vec();
    let more = (lsn * 37 % 211) as usize;
    body.extend((0..more).map(|i| (lsn as usize * 7 + i) as u8));
    body
}

/// Appends the next record with the body that belongs to it.
pub fn append(journal: &mut Journal) -> Lsn {
    let next = journal.lsn().next();
    let lsn = journal
        .append(&body(next.0), Priority::Normal)
        .expect("there is room");
    assert_eq!(lsn, next);
    lsn
}

/// The state after record `lsn`: tells the number, and has the length of a few sectors.
pub fn state(lsn: u64) -> Vec<u8> {
    let mut state = lsn.to_le_bytes().to_vec();
    state.extend((0..700 + lsn * 13 % 600).map(|i| (lsn * 3 + i) as u8));
    state
}

/// Asserts that what was recovered is the records up to some number, each with its bytes; gives it.
pub fn check_prefix(recovered: &dmapi::journal::Recovered) -> u64 {
    let from = match &recovered.checkpoint {
        None => 0,
        Some(bytes) => {
            let (lsn, _) = bytes.split_first_chunk::<8>().expect("a whole state");
            let lsn = u64::from_le_bytes(*lsn);
            assert_eq!(bytes, &state(lsn), "the state of record {lsn}");
            lsn
        }
    };
    assert_eq!(recovered.checkpoint_lsn, Lsn(from));
    for (index, (lsn, bytes)) in recovered.entries.iter().enumerate() {
        assert_eq!(lsn.0, from + 1 + index as u64, "numbers without a gap");
        assert_eq!(bytes, &body(lsn.0), "the bytes of record {lsn}");
    }
    recovered.lsn().0
}
