//! Reads that leave no page behind, and faults that look like them.

use dmapi::model::EventType;
use nix::libc;

use super::rig::{on_xfs, region};
use super::user::User;

const SIZE: usize = 64 * 1024;
const PAGE: u64 = 4096;

#[test]
fn a_fault_through_a_descriptor_with_o_direct_is_an_event_of_its_page() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        rig.guard(file, &[region(0, 0, 1)]);
        let fd = user.open(&rig.join("f"), "RDONLY|DIRECT");
        let base = user.map(fd, SIZE, libc::PROT_READ);
        let load = format!("load {} 10 9000", base + 9000);
        rig.passed(&mut user, &load, EventType::Read, (2 * PAGE, PAGE))
            .is_right(10);
        rig.is_quiet();
    });
}

#[test]
fn each_direct_read_of_a_region_that_stays_is_an_event() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        rig.guard(file, &[region(0, 0, 1)]);
        let fd = user.open(&rig.join("f"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 0 8192");
        for _ in 0..20 {
            rig.passed(&mut user, &line, EventType::Read, (0, 8192))
                .is_right(8192);
        }
        rig.is_quiet();
    });
}
