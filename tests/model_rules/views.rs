//! Several FUSE mounts of one file system.

use dmapi::journal::State;
use dmapi::model::limits;
use dmapi::model::{DmError, Entry, FuseMount, FuseOptions, Model, MountBody, Record};

use crate::node::{FS, Node, mount_body};

fn fuse(options: FuseOptions) -> FuseMount {
    FuseMount {
        options,
        attributes: 0,
    }
}

fn at(path: &[u8]) -> MountBody {
    MountBody {
        path: path.to_vec(),
        ..mount_body()
    }
}

#[test]
fn how_a_file_system_is_mounted_behind_fuse_is_known_while_it_is_served() {
    let mut node = Node::new();
    let fuse = FuseMount {
        options: FuseOptions::CACHED,
        attributes: 1,
    };
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), fuse))
        .unwrap();
    assert_eq!(node.model.fuse_mount(FS), Some(fuse));
    let restored = Model::decode(&node.model.encode()).unwrap();
    assert_eq!(restored, node.model);
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    assert_eq!(node.model.fuse_mount(FS), None);
    let records = vec![Record::FsThroughFuse { fs: FS, fuse }];
    let late = Entry {
        records,
        reply: None,
    };
    assert!(node.model.apply(&late).is_err());
}

#[test]
fn further_mounts_take_the_place_of_the_oldest() {
    let mut node = Node::new();
    let shared = fuse(FuseOptions::SHARED);
    let cached = fuse(FuseOptions::SHARED.with(FuseOptions::CACHED));
    let paths = |model: &Model| -> Vec<Vec<u8>> {
        let row = model.file_system(FS).unwrap().mount.path.clone();
        let further = model.further_mounts(FS).map(|one| one.mount.path.clone());
        [row].into_iter().chain(further).collect()
    };
    let early = node.model.plan_add_view(FS, 2, at(b"/2"), shared);
    assert_eq!(early, Err(DmError::BadHandle));
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), shared))
        .unwrap();
    for (device, path) in [(9, b"/2"), (3, b"/3"), (7, b"/4")] {
        node.run(|model| model.plan_add_view(FS, device, at(path), cached))
            .unwrap();
    }
    for (device, path, how) in [
        (5, b"/mnt".as_slice(), shared),
        (5, b"/3", shared),
        (9, b"/5", shared),
        (5, b"/5", fuse(FuseOptions::CACHED)),
    ] {
        let refused = node.model.plan_add_view(FS, device, at(path), how);
        assert_eq!(refused, Err(DmError::Exists), "{device} {path:?}");
    }
    assert_eq!(
        paths(&node.model),
        [b"/mnt".as_slice(), b"/2", b"/3", b"/4"]
    );
    assert_eq!(Model::decode(&node.model.encode()), Ok(node.model.clone()));

    // One in the middle, then the oldest, whose place the next one takes.
    node.run(|model| model.plan_view_gone(FS, Some(3))).unwrap();
    assert_eq!(
        node.model.plan_view_gone(FS, Some(3)),
        Err(DmError::NotFound)
    );
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    assert_eq!(paths(&node.model), [b"/2", b"/4"]);
    assert_eq!(node.model.fuse_mount(FS), Some(cached));
    // What comes anew is the youngest, also with a number that was there before.
    node.run(|model| model.plan_add_view(FS, 3, at(b"/1"), shared))
        .unwrap();
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    assert_eq!(paths(&node.model), [b"/4", b"/1"]);
    node.run(|model| model.plan_view_gone(FS, None)).unwrap();
    let last = node.model.plan_view_gone(FS, None);
    assert_eq!(last, Err(DmError::NotFound), "that is the end of all");

    node.run(|model| model.plan_add_view(FS, 4, at(b"/6"), shared))
        .unwrap();
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    assert_eq!(node.model.further_mounts(FS).count(), 0);
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), fuse(FuseOptions::CACHED)))
        .unwrap();
    let alone = node.model.plan_add_view(FS, 4, at(b"/6"), shared);
    assert_eq!(alone, Err(DmError::Exists), "the first is not shared");
}

#[test]
fn a_file_system_that_is_watched_itself_has_no_further_mounts() {
    let mut node = Node::with_fs();
    let shared = fuse(FuseOptions::SHARED);
    let refused = node.model.plan_add_view(FS, 2, mount_body(), shared);
    assert_eq!(refused, Err(DmError::Exists));
    let record = Record::FuseViewAdded {
        fs: FS,
        device: 2,
        mount: mount_body(),
        fuse: shared,
    };
    let entry = Entry {
        records: vec![record],
        reply: None,
    };
    assert!(node.model.apply(&entry).is_err());
}

#[test]
fn further_mounts_are_limited() {
    let mut node = Node::new();
    let shared = fuse(FuseOptions::SHARED);
    node.run(|model| model.plan_add_fs_behind(FS, mount_body(), shared))
        .unwrap();
    let at = |number: u64| at(format!("/{number}").as_bytes());
    for number in 0..limits::VIEWS_MAX as u64 {
        node.run(|model| model.plan_add_view(FS, number, at(number), shared))
            .unwrap();
    }
    let refused = node.model.plan_add_view(FS, 9999, at(9999), shared);
    assert_eq!(refused, Err(DmError::NoSpace));
}
