//! `dmctl journal`: says what a journal file holds. Needs no daemon and no privilege beyond reading the
//! file, takes no lock and changes nothing.

mod record;
mod verify;

use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::journal::inspect::{Inspection, inspect};

use self::record::Shown;
use self::verify::Findings;

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

/// Runs the command: 0 good, 1 damaged or no journal, 2 it could not be read.
pub(super) fn run(command: &Command) -> ExitCode {
    let (Command::Verify { file, .. } | Command::Dump { file, .. }) = command;
    let inspection = match inspect(file) {
        Ok(inspection) => inspection,
        Err(error) => {
            eprintln!("dmctl: {error}");
            return ExitCode::from(2);
        }
    };
    let findings = Findings::of(&inspection);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match command {
        Command::Verify { json: true, .. } => writeln!(out, "{}", findings.to_json(&inspection)),
        Command::Verify { json: false, .. } => findings.to_words(&inspection, &mut out),
        Command::Dump { json, .. } => dump(&inspection, *json, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => {}
        // `dmctl journal dump | head` is no error.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("dmctl: standard output: {error}");
            return ExitCode::from(2);
        }
    }
    match findings.first_bad() {
        None => ExitCode::SUCCESS,
        Some(bad) => {
            if matches!(command, Command::Dump { .. }) {
                eprintln!("dmctl: {bad}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Every record, and after a bad place also the whole ones that do not count any more.
fn dump(inspection: &Inspection, json: bool, out: &mut impl Write) -> io::Result<()> {
    let Ok(log) = &inspection.log else {
        return Ok(());
    };
    for (verified, body) in &log.records {
        let shown = Shown::of(verified.offset, &verified.header, body);
        if json {
            writeln!(out, "{}", shown.to_json())?;
        } else {
            shown.to_words(out)?;
        }
    }
    if json {
        return Ok(());
    }
    writeln!(out, "-- {}", log.end_words())?;
    for (offset, header) in &log.later {
        writeln!(
            out,
            "-- does not count: LSN {} at offset {offset}, epoch {}, {} bytes",
            header.lsn, header.epoch, header.body_bytes
        )?;
    }
    Ok(())
}
