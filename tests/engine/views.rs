//! Several FUSE mounts of one file system: which of them the engine knows.

use std::path::Path;

use dmapi::journal::Start;
use dmapi::model::{FuseMount, FuseOptions, Handle, MountBody, Record};
use dmapi::proto::{Reply, Request, Target};
use dmapi::source::EventSink;

use crate::stand_in::{FS, Told, mount};
use crate::{Bench, Client, open_with, prepare_with};

fn body(path: &[u8]) -> MountBody {
    MountBody {
        path: path.to_vec(),
        ..mount()
    }
}

/// A journal in which the file system is served through several FUSE mounts: the oldest, and those with these numbers.
fn prepare_views(dir: &Path, further: &[u64]) {
    let fuse = FuseMount {
        options: FuseOptions::SHARED,
        attributes: 0,
    };
    let mount = body(b"/nowhere/oldest");
    let first = [
        Record::FsAdded { fs: FS, mount },
        Record::FsThroughFuse { fs: FS, fuse },
    ];
    let more = further.iter().map(|device| Record::FuseViewAdded {
        fs: FS,
        device: *device,
        mount: body(format!("/nowhere/{device}").as_bytes()),
        fuse,
    });
    prepare_with(dir, first.into_iter().chain(more).collect());
}

/// A worker with FUSE mounts: the journal's further ones, and those that the source kept.
fn bench_with_views(further: &[u64], kept: &[u64]) -> Bench {
    let dir = tempfile::tempdir().expect("tempdir");
    prepare_views(dir.path(), further);
    open_views(dir, kept)
}

fn open_views(dir: tempfile::TempDir, kept: &[u64]) -> Bench {
    let (engine, source) = open_with(dir.path(), Start::Worker, Vec::new(), None, kept);
    let client = Client::new(&engine, 1);
    Bench {
        dir,
        engine,
        source,
        client,
    }
}

impl Bench {
    /// Names and devices of the mounts, as clients see them.
    fn views(&mut self) -> Vec<(String, u64)> {
        let entries = match self.client.ask(Request::FileSystems) {
            Ok(Reply::FileSystems(entries)) => entries,
            other => panic!("{other:?}"),
        };
        let shown = entries.iter().map(|entry| {
            assert_eq!(entry.fs, FS);
            let path = String::from_utf8_lossy(&entry.mount.path);
            let name = path.rsplit('/').next().unwrap_or_default();
            (name.to_owned(), entry.device)
        });
        shown.collect()
    }

    fn told_of_mount(&mut self) -> Vec<u8> {
        let session = self.client.session();
        let target = Target {
            session,
            handle: Handle::Fs(FS),
            token: None,
        };
        match self.client.ask(Request::GetMountInfo { target }) {
            Ok(Reply::MountInfo(body)) => body.path,
            other => panic!("{other:?}"),
        }
    }

    /// The next worker finds these mounts in the source.
    fn restart_with(self, kept: &[u64]) -> Self {
        open_views(self.down(), kept)
    }
}

fn named(views: &[(&str, u64)]) -> Vec<(String, u64)> {
    let views = views.iter();
    views
        .map(|(name, device)| ((*name).to_owned(), *device))
        .collect()
}

#[test]
fn mounts_come_and_go_while_one_is_left() {
    let mut bench = bench_with_views(&[8, 7], &[5, 8, 7]);
    assert_eq!(bench.views(), named(&[("oldest", 5), ("8", 8), ("7", 7)]));
    assert_eq!(bench.told_of_mount(), b"/nowhere/oldest");
    // dmctl may say that it unmounted something; the source tells what that was.
    let unmounted = Request::Unmounted {
        fs: FS,
        errno: 0,
        forced: false,
    };
    assert_eq!(bench.client.ask(unmounted), Ok(Reply::Nothing));
    assert_eq!(bench.views().len(), 3);

    bench.engine.view_gone(FS, 8);
    assert!(bench.source.told().contains(&Told::DetachView(8)));
    assert_eq!(bench.views(), named(&[("oldest", 5), ("7", 7)]));
    // Told twice, or of a mount that nobody knows: nothing happens.
    bench.engine.view_gone(FS, 8);
    bench.engine.view_gone(FS, 99);
    assert_eq!(bench.views().len(), 2);
    bench.engine.view_gone(FS, 5);
    assert_eq!(bench.views(), named(&[("7", 7)]));
    assert_eq!(bench.told_of_mount(), b"/nowhere/7");
    assert!(!bench.source.told().contains(&Told::Detach));

    let mut bench = bench.restart_with(&[7]);
    assert_eq!(bench.views(), named(&[("7", 7)]));
    bench.engine.unmounted(FS);
    assert!(bench.source.told().contains(&Told::Detach));
    assert_eq!(bench.views(), named(&[]));
}

#[test]
fn a_worker_finds_what_died_between_source_and_journal() {
    // 9 is in the source alone; 8 in the journal alone, and nowhere mounted.
    let mut bench = bench_with_views(&[8, 7], &[5, 7, 9]);
    assert!(bench.source.told().contains(&Told::DetachView(9)));
    assert_eq!(bench.views(), named(&[("oldest", 5), ("7", 7)]));

    // The source forgot the oldest, and the worker died before it recorded that.
    let mut bench = bench.restart_with(&[7]);
    assert_eq!(bench.views(), named(&[("7", 7)]));
    assert_eq!(bench.told_of_mount(), b"/nowhere/7");

    // Nothing is left, in no place.
    let mut bench = bench.restart_with(&[]);
    assert_eq!(bench.views(), named(&[]));
}

#[test]
fn of_several_dead_mounts_the_last_takes_the_file_system_along() {
    let mut bench = bench_with_views(&[8, 7], &[]);
    assert_eq!(bench.views(), named(&[]));
    assert!(bench.source.told().contains(&Told::Detach));
}
