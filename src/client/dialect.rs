//! The readings of the standard that differ between families: the IBM one, or with `DMAPI_DIALECT=sgi` the SGI one.

use std::sync::atomic::{AtomicU8, Ordering};

/// Which reading the process wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The standard's, as IBM reads it.
    Standard,
    /// SGI's.
    Sgi,
}

const UNKNOWN: u8 = 0;
const STANDARD: u8 = 1;
const SGI: u8 = 2;

static DIALECT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The reading in force: what [`set_dialect`] said, else the environment.
pub fn dialect() -> Dialect {
    match DIALECT.load(Ordering::Relaxed) {
        STANDARD => Dialect::Standard,
        SGI => Dialect::Sgi,
        _ => {
            let wanted = match std::env::var_os("DMAPI_DIALECT") {
                Some(name) if name.eq_ignore_ascii_case("sgi") => Dialect::Sgi,
                _ => Dialect::Standard,
            };
            set_dialect(wanted);
            wanted
        }
    }
}

/// Sets the reading for the whole process.
pub fn set_dialect(wanted: Dialect) {
    let code = match wanted {
        Dialect::Standard => STANDARD,
        Dialect::Sgi => SGI,
    };
    DIALECT.store(code, Ordering::Relaxed);
}
