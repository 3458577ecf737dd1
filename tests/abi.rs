//! The binary interface: exported symbols with their versions, the soname, the guard in every function, and
//! the sizes, offsets and numbers of the header as a C compiler sees them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dmapi::ffi::constants::{CONSTANTS, VERSION_STRING};
use dmapi::ffi::types::LAYOUTS;

#[path = "support/header.rs"]
mod header;

use header::{layouts, number};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| {
            panic!("{program} cannot be run ({error}); `make deps` installs it")
        });
    assert!(output.status.success(), "{program} {arguments:?} failed");
    String::from_utf8(output.stdout).expect("the tools print text")
}

/// The library that cargo built for this test run.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("a process has a path");
    let beside = test.parent().expect("a program lies in a directory");
    let library = beside.join("libdmapi.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

fn listed() -> Vec<String> {
    let text = fs::read_to_string(root().join("abi/dmapi.symbols")).expect("abi/dmapi.symbols");
    text.lines().map(str::to_owned).collect()
}

fn family_sources() -> Vec<(PathBuf, String)> {
    fs::read_dir(root().join("src/ffi"))
        .expect("src/ffi is there")
        .map(|entry| entry.expect("src/ffi is readable").path())
        .map(|path| {
            (
                path.clone(),
                fs::read_to_string(path).expect("a source is text"),
            )
        })
        .collect()
}

#[test]
fn exported_symbols_are_the_listed_ones_and_all_have_a_version() {
    let path = library().display().to_string();
    let table = run(
        "nm",
        &["-D", "--defined-only", "--with-symbol-versions", &path],
    );
    let mut exported: Vec<String> = table
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        // The version nodes themselves are absolute symbols.
        .filter(|name| !name.starts_with("DMAPI_"))
        .map(str::to_owned)
        .collect();
    exported.sort();
    assert_eq!(
        exported,
        listed(),
        "the exported symbols are not those of abi/dmapi.symbols (left: exported)"
    );
}

#[test]
fn the_soname_is_set() {
    let path = library().display().to_string();
    let dynamic = run("readelf", &["-d", &path]);
    assert!(dynamic.contains("[libdmapi.so.1]"), "{dynamic}");
}

/// Each exported function runs its body in a guard, and is bound to a version.
#[test]
fn every_function_has_a_guard_and_a_version() {
    let mut count = 0;
    for (path, text) in family_sources() {
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |code, line| code + line + "\n");
        if path.ends_with("boundary.rs") {
            continue;
        }
        let parts: Vec<&str> = code.split("extern \"C\" fn ").skip(1).collect();
        let versions = code.split("dm_version!(").nth(1).unwrap_or("");
        for part in &parts {
            let name = part.split('(').next().unwrap_or("");
            let body = part
                .split_once('{')
                .map_or("", |(_, body)| body)
                .trim_start();
            assert!(
                body.starts_with("dm_call(") || body.starts_with("dm_call_or("),
                "{name} in {} does not begin with dm_call",
                path.display()
            );
            assert!(
                versions.contains(name),
                "{name} in {} has no dm_version!",
                path.display()
            );
        }
        assert_eq!(parts.len(), code.matches("#[unsafe(no_mangle)]").count());
        count += parts.len();
    }
    assert_eq!(count, listed().len());
}

/// What bindgen reads in the header: `size name`, `offset name field`, `value name`.
fn header_facts() -> BTreeMap<String, i64> {
    let bindings = bindgen::Builder::default()
        .header_contents("all.h", "#include <dmapi.h>\n")
        .clang_arg(format!("-I{}", root().join("include").display()))
        .layout_tests(true)
        .derive_default(false)
        .generate()
        .expect("libclang reads include/dmapi.h")
        .to_string();
    let mut facts = layouts(&bindings);
    for line in bindings.lines() {
        if let Some(rest) = line.trim().strip_prefix("pub const ") {
            let name = rest.split(':').next().unwrap_or("");
            // A constant of an enumeration is called after it, too.
            let name = name.find("DM_").map_or(name, |at| &name[at..]);
            let value = rest.rsplit('=').next().and_then(number);
            facts.extend(value.map(|value| (format!("value {name}"), value)));
        }
    }
    facts
}

#[test]
fn the_header_has_the_layouts_and_numbers_of_the_library() {
    let facts = header_facts();
    let mut wrong = Vec::new();
    let mut check = |what: String, expected: i64| {
        if facts.get(&what) != Some(&expected) {
            wrong.push(format!(
                "{what}: {expected} here, {:?} in the header",
                facts.get(&what)
            ));
        }
    };
    for (name, size, fields) in LAYOUTS {
        check(format!("size {name}"), *size as i64);
        for (field, offset) in *fields {
            // In C it lies in a union with `_link`.
            if (*name, *field) != ("dm_xstat", "dx_statinfo") {
                check(format!("offset {name} {field}"), *offset as i64);
            }
        }
    }
    for (name, value) in CONSTANTS {
        check(format!("value {name}"), *value);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_header_has_no_number_that_the_library_lacks() {
    let known: Vec<&str> = CONSTANTS.iter().map(|(name, _)| *name).collect();
    let more: Vec<String> = header_facts()
        .into_keys()
        .filter_map(|fact| {
            fact.strip_prefix("value DM_")
                .map(|name| format!("DM_{name}"))
        })
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    assert!(more.is_empty(), "not in src/ffi/constants.rs: {more:?}");
}

#[test]
fn the_version_text_of_the_header_is_the_library_s() {
    let macros = fs::read_to_string(root().join("include/dmapi_macros.h")).expect("the header");
    let line = format!("#define DM_VER_STR_CONTENTS {VERSION_STRING:?}");
    assert!(
        macros.contains(&line),
        "{line} is not in include/dmapi_macros.h"
    );
}
