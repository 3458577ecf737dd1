//! The slice of fuzz/ in `make test`: each target on changed copies of good inputs, the same ones each time
//! (`DMAPI_FUZZ_SEED` chooses others).
//! `fuzz/run.sh TARGET` goes on where this ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use targets::Target;

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % count.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        const USUAL: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xff, b' ', b'\\'];
        match self.below(2) {
            0 => USUAL[self.below(USUAL.len())],
            _ => self.below(256) as u8,
        }
    }
}

/// One change: a byte, a bit, a number, a piece that goes, comes twice or comes from another input.
fn change(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let at = dice.below(input.len());
    let end = input.len().min(at + 1 + dice.below(16));
    match dice.below(7) {
        0 if !input.is_empty() => input[at] = dice.byte(),
        1 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        2 => input.truncate(at),
        3 => {
            input.drain(at.min(end)..end);
        }
        4 => {
            let piece = input[at.min(end)..end].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let from = dice.below(other.len());
            let piece = other[from..].iter().take(1 + dice.below(64)).copied();
            input.splice(at..at, piece);
        }
        _ => {
            let number = [dice.byte(), dice.byte(), dice.byte(), dice.byte()];
            let count = end.saturating_sub(at).min(4);
            input.splice(at..at + count, number[..count].iter().copied());
        }
    }
}

fn slice_of(name: &str) {
    let all = targets::all();
    let target: &Target = all
        .iter()
        .find(|target| target.name == name)
        .expect("a target");
    let seeds = (target.seeds)();
    for seed in &seeds {
        run(target, seed);
    }
    let seed = std::env::var("DMAPI_FUZZ_SEED").map(|seed| seed.parse());
    let mut dice = Dice(seed.map_or(1, |seed| seed.expect("a number")));
    for _ in 0..target.slice {
        let mut input = seeds[dice.below(seeds.len())].clone();
        let other = seeds[dice.below(seeds.len())].clone();
        for _ in 0..=dice.below(4) {
            change(&mut input, &other, &mut dice);
        }
        run(target, &input);
    }
}

fn run(target: &Target, input: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    if let Err(panic) = outcome {
        eprintln!("target {}, input {input:?}", target.name);
        resume_unwind(panic);
    }
}

macro_rules! slices {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            slice_of(stringify!($name));
        })*

        #[test]
        fn no_target_is_forgotten() {
            let names: Vec<_> = targets::all().iter().map(|target| target.name).collect();
            for name in names {
                assert!([$(stringify!($name)),*].contains(&name), "{name} has no slice");
            }
        }
    };
}

slices! {
    journal control_page entries checkpoint call back engine handle object_state syscall_line mountinfo events
    notifications fuse_request
}

/// For run.sh: writes the good inputs of all targets below the directory `FUZZ_SEEDS`.
#[test]
fn write_seeds() {
    let Some(dir) = std::env::var_os("FUZZ_SEEDS").map(std::path::PathBuf::from) else {
        return;
    };
    for target in targets::all() {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir).expect("a directory");
        for (at, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(dir.join(format!("seed{at}")), seed).expect("written");
        }
    }
}
