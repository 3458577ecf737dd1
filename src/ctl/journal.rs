//! `dmctl journal`: says in words what a journal file holds.

use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with the file.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Checks everything and says where the first bad place is, and why.
    Verify {
        /// The journal.
        file: PathBuf,
        /// One JSON object instead of words.
        #[arg(long)]
        json: bool,
    },
    /// Shows every record.
    Dump {
        /// The journal.
        file: PathBuf,
        /// One JSON object a line instead of words.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(super) fn run(command: &Command) -> ExitCode {
    match command {
        Command::Verify { file, json } | Command::Dump { file, json } => {
            eprintln!("dmctl: {}: json {json}", file.display());
            ExitCode::from(2)
        }
    }
}
