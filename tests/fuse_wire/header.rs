//! Sizes, offsets and numbers are those of linux/fuse.h, as far as the installed one is new enough.

use std::collections::BTreeMap;

use dmapi::source::fuse::wire::abi;
use dmapi::source::fuse::wire::layout;

use crate::c_header::{layouts, number};

/// What the header of 7.38 does not have, and what structures got since: checked as soon as a header has it.
const NEWER_STRUCTURES: [&str; 4] = [
    "fuse_sx_time",
    "fuse_statx",
    "fuse_statx_in",
    "fuse_statx_out",
];
const NEWER_FIELDS: [(&str, &str); 3] = [
    ("fuse_open_out", "backing_id"),
    ("fuse_init_out", "max_stack_depth"),
    ("fuse_init_out", "request_timeout"),
];
const SINCE_38: [&str; 17] = [
    "FUSE_EXT_GROUPS",
    "FUSE_CREATE_SUPP_GROUP",
    "FUSE_DIRECT_IO_ALLOW_MMAP",
    "FUSE_PASSTHROUGH",
    "FUSE_NO_EXPORT_SUPPORT",
    "FUSE_HAS_RESEND",
    "FUSE_ALLOW_IDMAP",
    "FUSE_OVER_IO_URING",
    "FUSE_REQUEST_TIMEOUT",
    "FUSE_STATX",
    "FUSE_COPY_FILE_RANGE_64",
    "FUSE_NOTIFY_RESEND",
    "FUSE_NOTIFY_INC_EPOCH",
    "FUSE_NOTIFY_PRUNE",
    "FOPEN_PASSTHROUGH",
    "FUSE_HAS_EXPIRE_ONLY",
    "FUSE_KERNEL_MINOR_VERSION",
];

/// Sizes of what the newest protocol has, for headers that lack it.
const CARRIED: [(&str, usize); 9] = [
    ("fuse_sx_time", 16),
    ("fuse_statx", 256),
    ("fuse_statx_in", 24),
    ("fuse_statx_out", 288),
    ("fuse_open_out", 16),
    ("fuse_init_out", 64),
    ("fuse_copy_file_range_out", 8),
    ("fuse_ext_header", 8),
    ("fuse_in_header", 40),
];

/// `size name`, `offset name field`, `value name`, as libclang reads the header.
fn header_facts() -> BTreeMap<String, i128> {
    // Macros with shifts and suffixes are constants only for who evaluates them.
    let mut source = String::from("#include <linux/fuse.h>\n");
    for (name, _) in abi::NUMBERS {
        source += &format!("#ifdef {name}\nenum {{ DM_{name} = (long long)({name}) }};\n#endif\n");
    }
    let bindings = bindgen::Builder::default()
        .header_contents("all.h", &source)
        .layout_tests(true)
        .derive_default(false)
        .generate()
        .expect("libclang reads linux/fuse.h; `make deps` installs it")
        .to_string();
    let mut facts = layouts(&bindings);
    for line in bindings.lines() {
        let Some(rest) = line.trim().strip_prefix("pub const ") else {
            continue;
        };
        let name = rest.split(':').next().unwrap_or("");
        let value = rest.rsplit('=').next().and_then(number);
        for prefix in ["DM_FUSE_", "DM_FOPEN_", "DM_FATTR_"] {
            let constant = name.find(prefix).map(|at| &name[at + 3..]);
            if let (Some(constant), Some(value)) = (constant, value) {
                facts.insert(format!("value {constant}"), value);
            }
        }
        // Enumerators of the header itself.
        let constant = name.find("_FUSE_").map(|at| &name[at + 1..]);
        if let (Some(constant), Some(value)) = (constant, value) {
            let what = format!("value {constant}");
            facts.entry(what).or_insert(value);
        }
    }
    facts
}

/// The minor version of the installed header.
fn minor(facts: &BTreeMap<String, i128>) -> i128 {
    let what = "value FUSE_KERNEL_MINOR_VERSION";
    *facts.get(what).expect("the header has a version")
}

#[test]
fn structures_are_those_of_the_header() {
    let facts = header_facts();
    let is_old = minor(&facts) < 45;
    let mut wrong = Vec::new();
    let mut check = |what: String, expected: usize, may_lack: bool| match facts.get(&what) {
        Some(found) if *found == expected as i128 => {}
        None if may_lack && is_old => {}
        found => wrong.push(format!("{what}: {expected} here, {found:?} in the header")),
    };
    for layout in layout::layouts() {
        let name = layout.name;
        let newer = NEWER_STRUCTURES.contains(&name) || name == "fuse_copy_file_range_out";
        check(format!("size {name}"), layout.bytes, newer);
        for (field, offset, _) in layout.fields {
            // bindgen renames what is a word of Rust, and words that begin with two underscores stay.
            let field = field
                .strip_prefix("r#")
                .map_or(field.to_owned(), |field| format!("{field}_"));
            let newer_field = NEWER_FIELDS.contains(&(name, field.as_str()));
            // The unused rest of INIT begins where the newest field ends.
            let moved = is_old && name == "fuse_init_out" && field == "unused";
            if !moved {
                check(
                    format!("offset {name} {field}"),
                    offset,
                    newer || newer_field,
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn numbers_are_those_of_the_header() {
    let facts = header_facts();
    let is_old = minor(&facts) < 45;
    let mut wrong = Vec::new();
    for (name, expected) in abi::NUMBERS {
        let found = facts.get(&format!("value {name}"));
        let may_differ = SINCE_38.contains(name) && is_old;
        match found {
            None if may_differ => {}
            Some(_) if *name == "FUSE_KERNEL_MINOR_VERSION" => {}
            // A bit 31 of a C int is negative.
            Some(found) if *found as u64 == *expected || *found as u32 as u64 == *expected => {}
            found => wrong.push(format!("{name}: {expected} here, {found:?} in the header")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_structure_has_a_gap() {
    for layout in layout::layouts() {
        for (field, offset, bytes) in &layout.fields {
            // Arrays and nested structures are aligned as their parts, of which none is above 8 bytes.
            let align = match bytes {
                2 | 4 | 8 => *bytes,
                _ => 2,
            };
            assert_eq!(offset % align, 0, "{}.{field}", layout.name);
        }
        assert_eq!(layout.bytes % 4, 0, "{}", layout.name);
    }
}

#[test]
fn structures_that_headers_lack_have_the_size_of_the_protocol() {
    let layouts = layout::layouts();
    for (name, bytes) in CARRIED {
        let found = layouts.iter().find(|layout| layout.name == name);
        assert_eq!(found.map(|layout| layout.bytes), Some(bytes), "{name}");
    }
}
