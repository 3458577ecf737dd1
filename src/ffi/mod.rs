//! ffi: see docs/architecture.md.
