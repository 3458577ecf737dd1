//! Applications that recall and migrate without a pause.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dmapi::model::{Answer, DmError, Handle};
use dmapi::source::EventSource;

use super::deeds::{ALL, recall, region};
use super::rig::Rig;
use super::sink::lock;

/// The right of each file: who migrates or recalls holds it meanwhile, as DMAPI wants. Who works alone needs none.
#[derive(Clone, Default)]
pub struct Rights(Arc<Vec<(Handle, Mutex<()>)>>);

impl Rights {
    pub fn on(files: impl IntoIterator<Item = Handle>) -> Self {
        let each = files.into_iter().map(|file| (file, Mutex::new(())));
        Self(Arc::new(each.collect()))
    }

    pub fn files(&self) -> impl Iterator<Item = Handle> {
        self.0.iter().map(|(file, _)| *file)
    }

    pub fn of(&self, file: Handle) -> Option<MutexGuard<'_, ()>> {
        let found = self.0.iter().find(|(of, _)| *of == file);
        found.map(|(_, right)| lock(right))
    }
}

/// An application that recalls whatever is asked for, until it is dropped.
pub struct Recaller {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recaller {
    pub fn new(rig: &Rig, rights: &Rights) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let (source, sink) = (Arc::clone(&rig.source), Arc::clone(&rig.sink));
        let (mount, rights) = (Arc::clone(&rig.mount), rights.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let Some(event) = sink.next_within(Duration::from_millis(20)) else {
                    continue;
                };
                let Some(serial) = event.serial else { continue };
                {
                    let _right = rights.of(event.file());
                    recall(source.as_ref(), &mount, event.file());
                }
                source.intend(serial, Answer::Continue);
                sink.forget(serial);
                source.answer(serial, Answer::Continue);
                counted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self {
            stop,
            count,
            thread: Some(thread),
        }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

impl Drop for Recaller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Migrates the files as often as it can until the time is over; returns how often it could.
pub fn migrate_all_the_time(rig: &Rig, rights: &Rights, milliseconds: u64) -> usize {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    let mut migrated = 0;
    while Instant::now() < end {
        for file in rights.files() {
            {
                let _right = rights.of(file);
                let guarded = rig.source.set_regions(file, &[region(0, 0, ALL)], false);
                match guarded.and_then(|_| rig.punch(file)) {
                    Ok(()) => migrated += 1,
                    // In use: whoever waits meanwhile recalls it; it is whole.
                    Err(DmError::Busy) => {}
                    Err(error) => panic!("migration: {error}"),
                }
            }
            // Others may want the right.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    migrated
}
