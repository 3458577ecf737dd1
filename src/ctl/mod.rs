//! ctl: see docs/architecture.md.
