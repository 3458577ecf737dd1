//! What reads bytes that others made, one target each. A target gets any bytes and must come back: a panic,
//! an overflow, an endless loop or an assertion is a finding. main.rs gives them to libFuzzer, tests/fuzz.rs
//! runs a fixed slice in `make test`.

mod journal;
mod kernel;
mod model;
mod packets;
#[path = "../../tests/support/stand_in.rs"]
#[allow(dead_code)]
mod stand_in;

/// One entry of outside bytes.
pub struct Target {
    /// For run.sh.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
    /// Inputs that are taken as good.
    #[allow(dead_code)]
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs that `make test` tries: fewer where one of them takes milliseconds.
    #[allow(dead_code)]
    pub slice: u32,
}

/// All targets.
pub fn all() -> Vec<Target> {
    let parts = [
        journal::targets(),
        kernel::targets(),
        model::targets(),
        packets::targets(),
    ];
    parts.into_iter().flatten().collect()
}

/// Cuts an input into pieces, each with its length before it (u16, little endian); what is left is the last one.
pub fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*head)).min(rest.len());
        let (piece, rest) = rest.split_at(length);
        found.push(piece);
        bytes = rest;
    }
    found
}

/// The reverse of [`pieces`].
pub fn join(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend((piece.len() as u16).to_le_bytes());
        bytes.extend(piece);
    }
    bytes
}
