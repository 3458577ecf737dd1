//! The node's state as its journal tells it: also while the worker is dead or stopped.

use std::path::PathBuf;

use crate::client::place;
use crate::journal::Replica;
use crate::model::machine::Model;

/// The state that was last published.
pub struct Snapshot {
    replica: Replica<Model>,
}

impl Snapshot {
    /// Reads the journal that the control page names. The error is a sentence for people.
    pub fn take() -> Result<Self, String> {
        let page = control_page();
        let mut replica = Replica::open(&page).map_err(|error| {
            format!("{error}; is this node served? Start dmapid, or set DMAPI_SOCKET or DMAPI_NODE")
        })?;
        replica.catch_up().map_err(|error| error.to_string())?;
        Ok(Self { replica })
    }

    /// The state.
    pub fn model(&self) -> &Model {
        self.replica.state()
    }
}

fn control_page() -> PathBuf {
    place::socket_path().with_file_name("control")
}
