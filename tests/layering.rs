//! The layer table is the design: an import that is not in it fails the build, and so does `unsafe`
//! outside the three places that may have it.

use std::fs;
use std::path::{Path, PathBuf};

const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &[]),
    ("proto", &["model"]),
    ("journal", &["sys", "model"]),
    ("fs", &["sys", "model"]),
    ("source", &["fs", "sys", "model"]),
    (
        "engine",
        &["journal", "source", "fs", "proto", "model", "sys"],
    ),
    ("client", &["proto", "journal", "fs", "model", "sys"]),
    ("ffi", &["client", "model"]),
    (
        "daemon",
        &["engine", "source", "journal", "proto", "fs", "model", "sys"],
    ),
    ("ctl", &["client", "journal", "proto", "model", "sys"]),
    ("bin", &["daemon", "ctl"]),
];

const MAY_BE_UNSAFE: &[&str] = &["src/sys/", "src/journal/map.rs", "src/ffi/"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(&root.join("src"), &mut found);
    assert!(
        found.len() > 10,
        "the sources are not where this test looks"
    );
    found
        .iter()
        .map(|path| {
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .display()
                .to_string();
            (
                name,
                fs::read_to_string(path).expect("a source is readable"),
            )
        })
        .collect()
}

fn imports(text: &str) -> impl Iterator<Item = &str> {
    text.split("crate::").skip(1).map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or("")
    })
}

fn complaints(name: &str, text: &str) -> Vec<String> {
    let module = name.split('/').nth(1).unwrap_or("");
    if module == "lib.rs" {
        return Vec::new();
    }
    let module = module.trim_end_matches(".rs");
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(of, _)| *of == module) else {
        return vec![format!("{name}: module {module} is not in the table")];
    };
    let prefix = if module == "bin" {
        "dmapi::"
    } else {
        "crate::"
    };
    let text = text.replace(prefix, "crate::");
    imports(&text)
        .filter(|imported| *imported != module && !allowed.contains(imported))
        .map(|imported| format!("{name}: {module} may not import {imported:?}"))
        .collect()
}

#[test]
fn no_module_imports_upward() {
    let bad: Vec<String> = all()
        .iter()
        .flat_map(|(name, text)| complaints(name, text))
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn an_upward_import_is_found() {
    assert_eq!(
        complaints("src/model/x.rs", "use crate::journal::map;").len(),
        1
    );
    assert_eq!(
        complaints("src/ffi/x.rs", "use crate::{client, model};").len(),
        1
    );
    assert_eq!(complaints("src/bin/x.rs", "use dmapi::model;").len(), 1);
}

#[test]
fn unsafe_is_only_where_it_may_be() {
    let bad: Vec<String> = all()
        .iter()
        .filter(|(name, _)| !MAY_BE_UNSAFE.iter().any(|place| name.starts_with(place)))
        .filter(|(_, text)| {
            text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or("");
                code.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .any(|word| word == "unsafe")
            })
        })
        .map(|(name, _)| name.clone())
        .collect();
    assert!(
        bad.is_empty(),
        "unsafe outside sys, journal/map.rs and ffi: {bad:?}"
    );
}
