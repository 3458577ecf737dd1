//! DMAPI (XDSM, X/Open C429) for stock Linux, in user space.
//!
//! ```text
//! application -> ffi -> client -(socket)-> daemon worker -> engine -> model
//!                          \-(reads)-> journal map            |  |-> journal -> sys
//! dmctl -> ctl -> client                                      |  \-> source -> fs -> sys
//! ```
//!
//! Who may import whom is held by `tests/layering.rs`; docs/architecture.md tells the rest.

pub mod client;
pub mod ctl;
pub mod daemon;
pub mod engine;
pub mod ffi;
pub mod fs;
pub mod journal;
pub mod model;
pub mod proto;
pub mod source;
pub mod sys;
