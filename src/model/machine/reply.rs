//! Kept replies: a request that is sent again after the death of a worker is answered, not repeated.

use serde::{Deserialize, Serialize};

use super::super::event::{Answer, Origin};
use super::super::ids::{ClientId, RequestId};
use super::super::limits::KEPT_REPLIES_MAX;
use super::{Model, Plan, Record, Sequence};

/// What is known of a request that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It never happened, or changed nothing: carry it out.
    Unknown,
    /// It was carried out; these are the bytes of [`super::Entry::reply`].
    Reply(Vec<u8>),
    /// Its event (`dm_send_msg` SYNC, a mount) is not answered yet: the request waits again.
    Waits(Sequence),
    /// Its event was answered so.
    Answered(Answer),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum What {
    Reply(Vec<u8>),
    Answer(Answer),
}

/// The last reply to one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptRow {
    number: u64,
    /// When it was kept, in replies.
    stamp: u64,
    what: What,
}

impl Model {
    /// What became of a request.
    pub fn kept(&self, id: RequestId) -> Kept {
        if let Some(row) = self
            .kept
            .get(id.client)
            .filter(|row| row.number == id.number)
        {
            return match &row.what {
                What::Reply(bytes) => Kept::Reply(bytes.clone()),
                What::Answer(answer) => Kept::Answered(*answer),
            };
        }
        let origin = Origin::Request(id);
        self.events
            .iter()
            .find(|(_, event)| event.origin == origin)
            .map_or(Kept::Unknown, |(sequence, _)| Kept::Waits(sequence))
    }

    /// Clients with a kept reply. Those that are gone for good should be ended by
    /// [`Model::plan_client_gone`].
    pub fn clients(&self) -> Vec<ClientId> {
        self.kept.keys().collect()
    }

    /// A client will never ask again; without records if nothing is kept for it.
    pub fn plan_client_gone(&self, client: ClientId) -> Plan<()> {
        let records = match self.kept.has(client) {
            true => vec![Record::ClientGone { client }],
            false => Vec::new(),
        };
        Plan::new(records, ())
    }

    pub(super) fn keep_reply(&mut self, id: RequestId, bytes: Vec<u8>) {
        self.keep_row(id, What::Reply(bytes));
    }

    pub(super) fn keep_answer(&mut self, id: RequestId, answer: Answer) {
        self.keep_row(id, What::Answer(answer));
    }

    fn keep_row(&mut self, id: RequestId, what: What) {
        // An answer may come for a request that its client has given up long ago.
        if self
            .kept
            .get(id.client)
            .is_some_and(|row| row.number > id.number)
        {
            return;
        }
        let stamp = self.counters.replies;
        self.counters.replies += 1;
        let number = id.number;
        self.kept.insert(
            id.client,
            KeptRow {
                number,
                stamp,
                what,
            },
        );
        if self.kept.len() > KEPT_REPLIES_MAX {
            let oldest = self.kept.iter().min_by_key(|(_, row)| row.stamp);
            if let Some(client) = oldest.map(|(client, _)| client) {
                self.kept.remove(client);
            }
        }
    }
}
