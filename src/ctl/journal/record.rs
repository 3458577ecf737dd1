//! One record for people and for programs.
//!
//! Both come from the serialized form of the model's records, so a new kind of record is shown without
//! a change here.

use std::io;
use std::io::Write;

use serde_json::{Map, Value, json};

use crate::journal::record::Header;
use crate::journal::replay::decode_entry;

/// A record with its entry, decoded as far as it can be.
pub(super) struct Shown {
    offset: u64,
    header: Header,
    entry: Result<Value, String>,
}

impl Shown {
    pub(super) fn of(offset: u64, header: &Header, body: &[u8]) -> Self {
        let entry = decode_entry(body).and_then(|entry| {
            let reply = entry.reply.as_ref().map(|(request, reply)| {
                json!({
                    "client": format!("{:016x}", request.client.0),
                    "request": request.number,
                    "bytes": reply.len(),
                })
            });
            let records =
                serde_json::to_value(&entry.records).map_err(|error| error.to_string())?;
            Ok(json!({ "records": readable("", records), "reply": reply }))
        });
        Self {
            offset,
            header: *header,
            entry,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = json!({
            "lsn": self.header.lsn.0,
            "offset": self.offset,
            "epoch": self.header.epoch,
            "bytes": self.header.body_bytes,
            "durable_before": self.header.durable().map(|lsn| lsn.0),
        });
        match &self.entry {
            Ok(entry) => {
                object["records"] = entry["records"].clone();
                object["reply"] = entry["reply"].clone();
            }
            Err(why) => object["bad"] = json!(why),
        }
        object
    }

    /// A line for each change of state, so that `grep token=7` finds the life of an event.
    pub(super) fn to_words(&self, out: &mut impl Write) -> io::Result<()> {
        let lsn = self.header.lsn;
        write!(
            out,
            "LSN {lsn}  offset {}  epoch {}",
            self.offset, self.header.epoch
        )?;
        let entry = match &self.entry {
            Ok(entry) => entry,
            Err(why) => return writeln!(out, "  {} bytes: {why}", self.header.body_bytes),
        };
        if let Some(reply) = entry["reply"].as_object() {
            let (client, request) = (&reply["client"], &reply["request"]);
            write!(out, "  reply kept for client {client} request {request}")?;
        }
        writeln!(out)?;
        for record in entry["records"].as_array().into_iter().flatten() {
            for (kind, fields) in record.as_object().into_iter().flatten() {
                let mut words = String::new();
                flatten("", fields, &mut words);
                writeln!(out, "    {kind}{words}")?;
            }
        }
        Ok(())
    }
}

/// Lists of bytes become text where they are text, else hexadecimal digits; numbers of events stay numbers.
fn readable(key: &str, value: Value) -> Value {
    match value {
        Value::Array(items) => match bytes(&items) {
            Some(bytes) if key != "sequences" && !bytes.is_empty() => json!(words_of(&bytes)),
            _ => items.into_iter().map(|item| readable("", item)).collect(),
        },
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| {
                    let value = readable(&key, value);
                    (key, value)
                })
                .collect::<Map<_, _>>(),
        ),
        other => other,
    }
}

fn bytes(items: &[Value]) -> Option<Vec<u8>> {
    items
        .iter()
        .map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()))
        .collect()
}

fn words_of(bytes: &[u8]) -> String {
    let text = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    match std::str::from_utf8(text) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// ` name=value` for each field, also those of fields.
fn flatten(name: &str, value: &Value, words: &mut String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let inner = match name {
                    "" => key.clone(),
                    _ => format!("{name}.{key}"),
                };
                flatten(&inner, value, words);
            }
        }
        Value::Null => {}
        other => words.push_str(&format!(" {name}={other}")),
    }
}
