//! dmapid: a supervisor that does next to nothing, and a worker that does everything.
//!
//! The two share one descriptor table, so the death of the worker closes nothing: accesses that wait
//! go on waiting, and the next worker, a few milliseconds later, answers them. If the supervisor dies
//! the worker becomes the supervisor of a new worker. docs/architecture.md tells the rest.

mod background;
mod board;
mod control;
mod inheritance;
mod notify;
mod settings;
mod supervisor;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

pub use settings::{Arguments, Settings};

/// Runs the daemon as the arguments of the process say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let outcome = Settings::resolve(&arguments).and_then(|settings| {
        let foreground = arguments.foreground
            || arguments.resume.is_some()
            || std::env::var_os("NOTIFY_SOCKET").is_some();
        if foreground {
            supervisor::run(settings, arguments.resume.as_deref())
        } else {
            background::start(&settings)
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("dmapid: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DMAPI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
