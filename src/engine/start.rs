//! A worker begins: the journal is replayed, what the source has and what the model knows are made one.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::core::Core;
use super::{Config, Engine, Host, housekeeping};
use crate::fs::{identify, store};
use crate::journal::{Control, Journal, JournalError, Opened, Sizes, Start};
use crate::model::machine::Model;
use crate::model::{EventBody, FsId, FuseMount, MountBody, Origin};
use crate::source::{EventSink, EventSource};
use crate::sys::clock;

/// The live state has limits (model/limits.rs); all of it at once fits.
const SIZES: Sizes = Sizes {
    log_bytes: 16 << 20,
    checkpoint_bytes: 20 << 20,
};

impl Engine {
    /// Opens the node's journal and takes up what the source holds. The error is a sentence for people.
    pub fn open(
        config: Config,
        source: Arc<dyn EventSource>,
        host: Arc<dyn Host>,
    ) -> Result<Arc<Self>, String> {
        let Opened {
            mut journal,
            state: model,
            tail,
        } = open_journal(&config).map_err(|error| error.to_string())?;
        let path = journal.path().to_owned();
        tracing::info!(journal = %path.display(), tail, "journal recovered");
        model.check().map_err(|corrupt| {
            format!(
                "{}: {corrupt}; `dmctl journal verify` looks at it, a copy of an earlier state directory replaces it",
                path.display()
            )
        })?;
        let control = Control::create(&config.control).map_err(|error| error.to_string())?;
        journal
            .publish_on(control)
            .map_err(|error| error.to_string())?;
        let syncer = journal.syncer();
        serve_side_store(&config);
        let core = Core::new(model, journal, Arc::clone(&source));
        let engine = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            config,
            core: Mutex::new(core),
            syncer,
            source,
            host,
            room: Condvar::new(),
            journal_path: path.display().to_string(),
            started_ms: clock::realtime_ms(),
        });
        // Before the source makes new serials: after the death of both processes it begins with the same ones.
        engine.drop_lost_events();
        engine.take_up_file_systems();
        let sink: Arc<dyn EventSink> = Arc::clone(&engine) as Arc<dyn EventSink>;
        Arc::clone(&engine.source)
            .start(sink)
            .map_err(|error| format!("event source: {error}"))?;
        engine.drop_lost_events();
        engine.mount_lost_ones_again();
        engine.keep_house()?;
        Ok(engine)
    }

    pub(super) fn own(&self) -> Option<Arc<Self>> {
        self.me.upgrade()
    }

    fn keep_house(&self) -> Result<(), String> {
        let engine = self.me.clone();
        std::thread::Builder::new()
            .name("housekeeping".into())
            .spawn(move || housekeeping::run(&engine))
            .map(drop)
            .map_err(|error| format!("no thread for housekeeping: {error}"))
    }

    /// File systems of the model that the source has lost (both processes died) are taken up again if
    /// they are still mounted; others are dropped. What only the source has was never offered to anybody.
    fn take_up_file_systems(&self) {
        let known: Vec<FsId> = {
            let mut core = self.lock();
            core.mounting = core.unanswered_mounts().collect();
            core.model.file_systems().map(|(fs, _)| fs).collect()
        };
        for mount in self.source.mounts() {
            if !known.contains(&mount.fs) {
                self.source.detach(mount.fs);
            }
        }
        for fs in self.behind_fuse() {
            self.take_up_views(fs);
        }
        for (fs, body, fuse) in self.lost_file_systems() {
            if fuse.is_none() {
                let path = Path::new(std::ffi::OsStr::from_bytes(&body.path));
                let outcome = reattach(path, fs, self.source.as_ref());
                self.taken_up(fs, path, outcome);
            }
        }
        self.managed_changed();
    }

    /// Those behind FUSE are mounted anew. The source must run: a path may lead through another one.
    fn mount_lost_ones_again(&self) {
        for fs in self.behind_fuse() {
            self.mount_lost_views(fs);
        }
        self.managed_changed();
    }

    pub(super) fn behind_fuse(&self) -> Vec<FsId> {
        let core = self.lock();
        let all = core.model.file_systems().map(|(fs, _)| fs);
        all.filter(|fs| core.model.fuse_mount(*fs).is_some())
            .collect()
    }

    fn lost_file_systems(&self) -> Vec<(FsId, MountBody, Option<FuseMount>)> {
        let core = self.lock();
        let rows = core.model.file_systems();
        rows.filter(|(fs, _)| self.source.mount(*fs).is_none())
            .map(|(fs, row)| (fs, row.mount.clone(), core.model.fuse_mount(fs)))
            .collect()
    }

    fn taken_up(&self, fs: FsId, path: &Path, outcome: Result<(), String>) {
        if !tell_taken_up(path, outcome) {
            self.with(|core, out| core.drop_fs(fs, out));
        }
    }

    /// Operations that no source holds any more (the machine was restarted) wait for nothing.
    fn drop_lost_events(&self) {
        // In this order: the source reads events already. One that came after the look at the source
        // would seem lost, and its process would wait for ever.
        let known = self.lock().model.source_events();
        let blocked = self.source.blocked();
        let lost = known
            .into_iter()
            .map(|(serial, _)| serial)
            .filter(|serial| !blocked.iter().any(|(held, ..)| held == serial));
        for serial in lost {
            self.withdraw(serial);
        }
    }
}

/// For the log; is it served again?
pub(super) fn tell_taken_up(path: &Path, outcome: Result<(), String>) -> bool {
    match &outcome {
        Ok(()) => tracing::warn!(
            path = %path.display(),
            "taken up again; accesses while no dmapid ran were not seen, or failed if they go through FUSE"
        ),
        Err(why) => tracing::info!(path = %path.display(), why, "not served any more; dropped"),
    }
    outcome.is_ok()
}

impl Core {
    fn unanswered_mounts(&self) -> impl Iterator<Item = (FsId, crate::model::ids::RequestId)> + '_ {
        self.model
            .live_events()
            .filter_map(|(event, _)| match (&event.body, event.origin) {
                (EventBody::Mount(body), Origin::Request(id)) => Some((body.fs.fs()?, id)),
                _ => None,
            })
    }
}

/// In a user namespace links and special files have their attributes below the state directory, where clients
/// read them; they know the socket's directory.
fn serve_side_store(config: &Config) {
    let Some(link) = config
        .control
        .parent()
        .map(|dir| dir.join(store::STATE_LINK))
    else {
        return;
    };
    if !store::is_unprivileged() || std::fs::read_link(&link).is_ok_and(|to| to == config.state) {
        return;
    }
    let _ = std::fs::remove_file(&link);
    if let Err(error) = std::os::unix::fs::symlink(&config.state, &link) {
        tracing::warn!(
            %error,
            link = %link.display(),
            "clients cannot read DM attributes of symbolic links: make the directory writable"
        );
    }
}

fn open_journal(config: &Config) -> Result<Opened<Model>, JournalError> {
    match Journal::open_in(&config.state, &config.node, config.start, &SIZES) {
        // The first worker died before it had made one.
        Err(JournalError::Missing { .. }) if config.start == Start::Worker => {
            Journal::open_in(&config.state, &config.node, Start::Daemon, &SIZES)
        }
        opened => opened,
    }
}

fn reattach(path: &Path, fs: FsId, source: &dyn EventSource) -> Result<(), String> {
    use std::os::fd::AsFd;
    let dir: OwnedFd = File::open(path).map_err(|error| error.to_string())?.into();
    let found = identify::identify(dir.as_fd()).map_err(|error| error.to_string())?;
    if found.fs != fs {
        return Err("another file system is there".into());
    }
    source
        .attach(dir.into())
        .map(drop)
        .map_err(|error| error.to_string())
}
