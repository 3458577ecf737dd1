//! What is good and bad about a journal.

use std::io;
use std::io::Write;

use serde_json::{Value, json};

use crate::journal::State;
use crate::journal::format::FoundSuperblock;
use crate::journal::inspect::{Inspection, Log};
use crate::journal::replay::decode_entry;
use crate::model::Model;

/// The checks, each with its outcome in words.
pub(super) struct Findings {
    checks: Vec<(&'static str, Result<String, String>)>,
}

impl Findings {
    pub(super) fn of(inspection: &Inspection) -> Self {
        let mut checks = Vec::new();
        match &inspection.log {
            Err(error) => checks.push(("journal", Err(error.to_string()))),
            Ok(log) => {
                let checkpoint = check_checkpoint(log);
                let state = match &checkpoint {
                    Ok(_) => check_replay(log),
                    Err(_) => Err("not to be had without the checkpoint".to_owned()),
                };
                checks.push(("checkpoint", checkpoint));
                checks.push(("log", check_log(&inspection.name, log)));
                checks.push(("state", state));
            }
        }
        Self { checks }
    }

    /// The first thing that is bad, in words.
    pub(super) fn first_bad(&self) -> Option<&str> {
        self.checks
            .iter()
            .find_map(|(_, outcome)| outcome.as_ref().err().map(String::as_str))
    }

    pub(super) fn to_words(&self, inspection: &Inspection, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {} bytes", inspection.name, inspection.file_bytes)?;
        for (name, found) in ["A", "B"].into_iter().zip(&inspection.superblocks) {
            let counts = match (found, &inspection.log) {
                (FoundSuperblock::Valid(found), Ok(log)) => *found == log.superblock,
                _ => false,
            };
            let counts = if counts { "; it counts" } else { "" };
            writeln!(
                out,
                "superblock {name}: {}{counts}",
                superblock_words(found)
            )?;
        }
        for (name, outcome) in &self.checks {
            match outcome {
                Ok(words) => writeln!(out, "{name}: {words}")?,
                Err(words) => writeln!(out, "{name}: BAD: {words}")?,
            }
        }
        let verdict = match self.first_bad() {
            None => "good",
            Some(_) => "NOT GOOD: see above; a daemon does not use this journal",
        };
        writeln!(out, "{verdict}")
    }

    pub(super) fn to_json(&self, inspection: &Inspection) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|(name, outcome)| {
                let (good, words) = match outcome {
                    Ok(words) => (true, words),
                    Err(words) => (false, words),
                };
                json!({ "check": name, "good": good, "words": words })
            })
            .collect();
        let log = inspection.log.as_ref().ok().map(|log| {
            json!({
                "generation": log.superblock.generation,
                "node": log.superblock.node,
                "incarnation": log.superblock.incarnation,
                "checkpoint_lsn": log.superblock.checkpoint_lsn.0,
                "checkpoint_bytes": log.superblock.checkpoint_bytes,
                "records": log.records.len(),
                "lsn": log.lsn().0,
                "epoch": log.end.epoch_min,
                "end_offset": log.end.offset,
                "log_offset": log.superblock.sizes.log_offset(),
                "log_bytes": log.superblock.sizes.log_bytes,
                "later_records": log.later.len(),
            })
        });
        json!({
            "file": inspection.name,
            "file_bytes": inspection.file_bytes,
            "superblocks": inspection.superblocks.each_ref().map(superblock_words),
            "log": log,
            "checks": checks,
            "good": self.first_bad().is_none(),
        })
    }
}

fn superblock_words(found: &FoundSuperblock) -> String {
    match found {
        FoundSuperblock::Valid(superblock) => format!(
            "generation {}, node {}, incarnation {}, epoch {}, checkpoint up to LSN {}",
            superblock.generation,
            superblock.node,
            superblock.incarnation,
            superblock.epoch,
            superblock.checkpoint_lsn
        ),
        FoundSuperblock::TooNew(format) => format!("of format {format}, made by a later version"),
        FoundSuperblock::Empty => "never written".to_owned(),
        FoundSuperblock::Torn(why) => format!("not whole: {why}"),
        FoundSuperblock::Foreign => "none".to_owned(),
    }
}

fn check_checkpoint(log: &Log) -> Result<String, String> {
    let lsn = log.superblock.checkpoint_lsn;
    match &log.checkpoint {
        Err(error) => Err(error.to_string()),
        Ok(None) => Ok(format!("the empty state, up to LSN {lsn}")),
        Ok(Some(state)) => match Model::decode(state) {
            Ok(_) => Ok(format!("{} bytes, up to LSN {lsn}", state.len())),
            Err(why) => Err(format!("{} bytes, but {why}", state.len())),
        },
    }
}

fn check_log(name: &str, log: &Log) -> Result<String, String> {
    log.judge(name).map_err(|error| error.to_string())?;
    let sizes = &log.superblock.sizes;
    let records = match log.records.len() {
        0 => "no records".to_owned(),
        count => format!(
            "{count} records, LSN {} to {}",
            log.superblock.checkpoint_lsn.next(),
            log.lsn()
        ),
    };
    Ok(format!(
        "{records}, {} of {} bytes; {}",
        log.end.offset - sizes.log_offset(),
        sizes.log_bytes,
        log.end_words()
    ))
}

fn check_replay(log: &Log) -> Result<String, String> {
    let mut model = match &log.checkpoint {
        Ok(Some(state)) => Model::decode(state)?,
        _ => Model::default(),
    };
    for (verified, body) in &log.records {
        decode_entry(body)
            .and_then(|entry| model.apply_entry(&entry))
            .map_err(|why| {
                let (lsn, offset) = (verified.header.lsn, verified.offset);
                format!("record {lsn} at offset {offset}: {why}")
            })?;
    }
    model.check().map_err(|corrupt| corrupt.to_string())?;
    Ok(format!(
        "replays to its end, {} bytes as a checkpoint",
        model.encode().len()
    ))
}
