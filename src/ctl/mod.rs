//! dmctl: the operator's command. One module per command; this one only tells them apart.
//!
//! Exit codes of all commands: 0 good, 1 the answer is bad news (damaged, not served), 2 it could
//! not be done.

mod journal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Looks after the DMAPI service of this node.
#[derive(Parser)]
#[command(name = "dmctl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads a journal file, also a damaged one, also while a daemon writes it.
    #[command(subcommand)]
    Journal(journal::Command),
}

/// Runs the command that the process's arguments name.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Journal(command) => journal::run(&command),
    }
}
