//! libFuzzer over one of the targets: `FUZZ_TARGET` names it. See run.sh.
#![no_main]

use std::sync::OnceLock;

mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let all = targets::all();
        let names: Vec<_> = all.iter().map(|target| target.name).collect();
        let found = all.into_iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("FUZZ_TARGET is {name:?}, not one of {names:?}"))
    });
    (target.run)(bytes);
});
