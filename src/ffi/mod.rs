//! The C ABI, one file per family of the standard. A function here checks and copies its arguments, calls
//! `client`, and copies the outputs; the rules of the standard are in `model`.

pub mod constants;
pub mod types;
