//! `dmctl sessions`: who handles events, and what waits for each.

use std::process::ExitCode;

use serde::Serialize;

use super::show;
use super::snapshot::Snapshot;
use crate::model::SessionId;
use crate::model::machine::Model;

#[derive(Serialize)]
struct Session {
    session: u32,
    info: String,
    /// Not fetched yet.
    queued: usize,
    /// Fetched, not answered.
    outstanding: usize,
    wants_mounts: bool,
    dispositions: Vec<Disposition>,
}

#[derive(Serialize)]
struct Disposition {
    fs: String,
    path: String,
    events: Vec<&'static str>,
}

fn dispositions(model: &Model, session: SessionId) -> Vec<Disposition> {
    let held = model.dispositions_of(session).unwrap_or_default();
    held.into_iter()
        .map(|(fs, events)| Disposition {
            fs: format!("{:016x}", fs.0),
            path: model
                .file_system(fs)
                .map(|row| show::text(&row.mount.path))
                .unwrap_or_default(),
            events: events.iter().map(|event| event.name()).collect(),
        })
        .collect()
}

/// Runs the command.
pub(super) fn run(json: bool) -> ExitCode {
    let snapshot = match Snapshot::take() {
        Ok(snapshot) => snapshot,
        Err(problem) => return show::failed(problem),
    };
    let model = snapshot.model();
    let sessions: Vec<Session> = model
        .session_ids()
        .into_iter()
        .map(|session| Session {
            session: session.0,
            info: show::text(model.session_info(session).unwrap_or_default()),
            queued: model.queued_count(session),
            outstanding: model.outstanding_count(session),
            wants_mounts: model.wants_mounts(session),
            dispositions: dispositions(model, session),
        })
        .collect();
    if json {
        show::json(&sessions);
        return ExitCode::from(show::GOOD);
    }
    let rows: Vec<Vec<String>> = sessions
        .iter()
        .map(|one| {
            let mut wants: Vec<String> = one
                .dispositions
                .iter()
                .map(|on| format!("{}: {}", on.path, on.events.join(" ")))
                .collect();
            if one.wants_mounts {
                wants.insert(0, "MOUNT".into());
            }
            vec![
                one.session.to_string(),
                one.queued.to_string(),
                one.outstanding.to_string(),
                one.info.clone(),
                wants.join("; "),
            ]
        })
        .collect();
    show::table(
        &["SESSION", "QUEUED", "OUTSTANDING", "STRING", "DISPOSITIONS"],
        &rows,
    );
    ExitCode::from(show::GOOD)
}
