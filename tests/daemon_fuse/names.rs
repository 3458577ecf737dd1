//! Names are made and taken away while workers die: each operation is done once, whatever the worker was doing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::Deadline;
use crate::service::{Service, serial};

const USERS: usize = 4;
/// `DMAPI_TEST_KILLS` asks for more.
const KILLS: usize = 6;
/// A worker that lives shorter than a second is taken for one that cannot start.
const LIFE: Duration = Duration::from_millis(1200);

/// Every step must find what the one before has left.
fn live(dir: &Path, stop: &AtomicBool) -> std::io::Result<usize> {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mut rounds = 0;
    std::fs::create_dir(dir)?;
    let at = |name: &str| dir.join(name);
    while !stop.load(Ordering::Acquire) {
        std::fs::create_dir(at("d"))?;
        std::fs::write(at("d/f"), b"some bytes")?;
        std::fs::hard_link(at("d/f"), at("g"))?;
        std::fs::rename(at("d/f"), at("d/h"))?;
        symlink("g", at("s"))?;
        std::fs::set_permissions(at("g"), std::fs::Permissions::from_mode(0o600))?;
        // Two names of one file: nothing happens.
        std::fs::rename(at("g"), at("d/h"))?;
        std::fs::rename(at("d/h"), at("s"))?;
        std::fs::remove_file(at("g"))?;
        if std::fs::read(at("s"))? != b"some bytes" {
            return Err(std::io::Error::other("other bytes"));
        }
        std::fs::remove_file(at("s"))?;
        std::fs::remove_dir(at("d"))?;
        rounds += 1;
    }
    let left = std::fs::read_dir(dir)?.count();
    match left {
        0 => Ok(rounds),
        left => Err(std::io::Error::other(format!("{left} names are left"))),
    }
}

#[test]
fn names_are_right_whenever_workers_die() {
    let _one = serial();
    let _deadline = Deadline::new("names_are_right_whenever_workers_die", 240);
    let Some(service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..USERS)
        .map(|user| {
            let (stop, failed) = (Arc::clone(&stop), Arc::clone(&failed));
            let dir = service.users.join(format!("user{user}"));
            std::thread::spawn(move || {
                let done = live(&dir, &stop);
                if done.is_err() {
                    failed.fetch_add(1, Ordering::AcqRel);
                }
                done
            })
        })
        .collect();
    let kills = std::env::var("DMAPI_TEST_KILLS").ok();
    let kills = kills.and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    for _ in 0..kills {
        std::thread::sleep(LIFE);
        if failed.load(Ordering::Acquire) == 0 {
            service.daemon.kill_worker();
        }
    }
    stop.store(true, Ordering::Release);
    for user in users {
        let rounds = user
            .join()
            .expect("it ends")
            .expect("every step is done once");
        eprintln!("{rounds} rounds");
        assert!(rounds > 0);
    }
    service.end();
}
