//! The rules of the standard, one test each, on the model alone.

mod applying;
mod dispositions;
mod events;
mod messages;
mod node;
mod rights;
mod sessions;
mod tokens;
mod views;
