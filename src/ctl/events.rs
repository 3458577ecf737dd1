//! `dmctl events`: every event that somebody still has to fetch or answer.

use std::process::ExitCode;

use serde::Serialize;

use super::show;
use super::snapshot::Snapshot;
use crate::model::Event;
use crate::model::machine::{Model, Place};

/// An event as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    pub sequence: u64,
    pub token: Option<u32>,
    pub kind: &'static str,
    /// `waiting`, `queued`, `outstanding`.
    pub state: &'static str,
    pub session: Option<u32>,
    /// The session's string.
    pub info: Option<String>,
    pub object: Option<String>,
    pub offset: Option<u64>,
    pub length: Option<u64>,
    pub pid: u32,
    pub process: Option<String>,
    pub made_ms: u64,
    /// Rights of the token, in words.
    pub rights: Vec<String>,
}

impl Shown {
    pub(super) fn of(model: &Model, event: &Event, place: Place) -> Self {
        let (state, session) = match place {
            Place::Waiting(_) => ("waiting", None),
            Place::Queued(session) => ("queued", Some(session)),
            Place::Outstanding(session) => ("outstanding", Some(session)),
        };
        let range = show::range(&event.body);
        Self {
            sequence: event.sequence.0,
            token: event.token.map(|token| token.0),
            kind: event.kind.name(),
            state,
            session: session.map(|session| session.0),
            info: session
                .and_then(|session| model.session_info(session).ok())
                .map(show::text),
            object: show::object(&event.body).map(|handle| show::handle(&handle)),
            offset: range.map(|(offset, _)| offset),
            length: range.map(|(_, length)| length),
            pid: event.pid,
            process: show::process_name(event.pid),
            made_ms: event.made_ms,
            rights: model
                .rights()
                .filter(|(token, ..)| Some(*token) == event.token)
                .map(|(_, handle, right, held)| {
                    let hold = if held { ", held" } else { "" };
                    format!("{} on {}{hold}", show::right(right), show::handle(&handle))
                })
                .collect(),
        }
    }

    fn row(&self) -> Vec<String> {
        let or_dash = |value: Option<u32>| value.map_or("-".into(), |value| value.to_string());
        let range = match (self.offset, self.length) {
            (Some(offset), Some(length)) => format!("{offset}+{length}"),
            _ => String::new(),
        };
        vec![
            self.sequence.to_string(),
            or_dash(self.token),
            self.kind.into(),
            self.state.into(),
            or_dash(self.session),
            show::age(self.made_ms),
            show::process(self.pid),
            format!("{} {range}", self.object.as_deref().unwrap_or("-")),
        ]
    }
}

/// Runs the command.
pub(super) fn run(json: bool) -> ExitCode {
    let snapshot = match Snapshot::take() {
        Ok(snapshot) => snapshot,
        Err(problem) => return show::failed(problem),
    };
    let model = snapshot.model();
    let shown: Vec<Shown> = model
        .live_events()
        .map(|(event, place)| Shown::of(model, event, place))
        .collect();
    if json {
        show::json(&shown);
    } else {
        let rows: Vec<Vec<String>> = shown.iter().map(Shown::row).collect();
        let headings = [
            "SEQUENCE", "TOKEN", "EVENT", "STATE", "SESSION", "SINCE", "PROCESS", "OBJECT",
        ];
        show::table(&headings, &rows);
    }
    ExitCode::from(show::GOOD)
}
