//! include/dmapi.h is what cbindgen makes of src/ffi, and abi/layouts.txt what src/ffi/types.rs says.
//! `make headers` writes both anew (it runs these tests with `DMAPI_WRITE_HEADERS` set).

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use dmapi::ffi::constants::CONSTANTS;
use dmapi::ffi::types::LAYOUTS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check_or_write(file: &str, fresh: &str) {
    let path = root().join(file);
    if std::env::var_os("DMAPI_WRITE_HEADERS").is_some() {
        fs::write(&path, fresh).expect("the source tree is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == fresh,
        "{file} does not match src/ffi; run `make headers` and commit what it changes"
    );
}

fn ffi_sources() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("src/ffi"))
        .expect("src/ffi is there")
        .map(|entry| entry.expect("src/ffi is readable").path())
        .filter(|path| {
            // The constants are enumerations and macros in C, written by hand.
            let name = path.file_name().unwrap_or_default();
            name != "constants.rs" && name != "mod.rs"
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_header_is_fresh() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ffi_sources() {
        builder = builder.with_src(file);
    }
    let mut header = Vec::new();
    builder
        .generate()
        .expect("src/ffi can be parsed")
        .write(&mut header);
    check_or_write(
        "include/dmapi.h",
        &String::from_utf8(header).expect("a header is text"),
    );
}

#[test]
fn the_list_of_layouts_is_fresh() {
    let mut list = String::from(
        "# Sizes, offsets (bytes) and numbers of <dmapi.h>; c-tests/layout.c is made from it.\n\
         # Written by `make headers` from src/ffi.\n",
    );
    for (name, size, fields) in LAYOUTS {
        writeln!(list, "size {name} {size}").expect("a String takes everything");
        for (field, offset) in *fields {
            writeln!(list, "offset {name} {field} {offset}").expect("a String takes everything");
        }
    }
    for (name, value) in CONSTANTS {
        writeln!(list, "value {name} {value}").expect("a String takes everything");
    }
    check_or_write("abi/layouts.txt", &list);
}
