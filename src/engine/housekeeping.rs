//! What nobody asks for: clients that never come back, mounts that nobody finishes.

use std::sync::Weak;
use std::time::Duration;

use super::Engine;
use crate::model::FsId;
use crate::model::ids::{ClientId, RequestId};
use crate::sys::clock;

const EVERY: Duration = Duration::from_secs(5);
/// A client tries this long to reach a new worker (twice its default limit).
const GONE_FOR_GOOD_MS: u64 = 60_000;

/// Looks after the engine as long as it lives.
pub fn run(engine: &Weak<Engine>) {
    loop {
        std::thread::sleep(EVERY);
        match engine.upgrade() {
            Some(engine) => engine.tidy(clock::boottime_ms()),
            None => return,
        }
    }
}

impl Engine {
    fn tidy(&self, now_ms: u64) {
        let (clients, mounts) = {
            let core = self.lock();
            let clients: Vec<ClientId> = core
                .gone
                .iter()
                .filter(|(_, since_ms)| now_ms.saturating_sub(**since_ms) > GONE_FOR_GOOD_MS)
                .map(|(client, _)| *client)
                .collect();
            let mounts: Vec<(FsId, RequestId)> = core
                .mounting
                .iter()
                .filter(|(_, id)| clients.contains(&id.client))
                .map(|(fs, id)| (*fs, *id))
                .collect();
            (clients, mounts)
        };
        for (fs, id) in mounts {
            tracing::warn!(
                fs = fs.0,
                "the process that mounted it is gone; the mount is given up"
            );
            self.cancel_mount(id, fs);
        }
        for client in clients {
            self.with(|core, out| {
                core.gone.remove(&client);
                let plan = core.model.plan_client_gone(client);
                if !plan.records.is_empty()
                    && let Err(error) = core.commit(plan.records, None, out)
                {
                    tracing::warn!(%error, "a kept reply stays");
                }
            });
        }
    }
}
