//! Which C test produces which errno of which function: every errno in a doc block of include/dmapi.h must have one,
//! or a reason why not. docs/conformance.md is the list: `UPDATE_CONFORMANCE=1 cargo test --test conformance`
//! (`make headers` does it). Places move with every change of a test, so the comparison leaves them out.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Besides `CHECK_ERRNO(dm_...(), E...)`, a comment `produces: dm_..., dm_... E... E...; ...` says what a loop or a
/// helper tests. Tables in C tests: each row `{"dm_...", ...}` is a call that gives all of these.
const TABLES: &[(&str, &[&str])] = &[
    ("pointers.c", &["EFAULT"]),
    ("pointers_fs.c", &["EFAULT"]),
    ("rules.c", &["EACCES", "EBADF", "EFAULT", "EINVAL", "ESRCH"]),
];

/// Errors that no C test can make, and why.
const WITHOUT_TEST: &[(&str, &str, &str)] = &[
    ("*", "ENOMEM", "memory or a table is full"),
    (
        "*",
        "EPERM",
        "another user: the control socket is its owner's",
    ),
    ("*", "EIO", "the disk fails"),
    (
        "dm_path_to_handle",
        "EACCES",
        "another user than the daemon's, whom nothing stops",
    ),
    (
        "dm_path_to_fshandle",
        "EACCES",
        "another user than the daemon's, whom nothing stops",
    ),
    (
        "dm_get_dioinfo",
        "EOPNOTSUPP",
        "a file that is journalled or encrypted",
    ),
    (
        "dm_set_inherit",
        "ENOSPC",
        "4096 calls, each on the disk; the model's own test does it",
    ),
];

type Function = String;
type Errno = String;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The words of a text that are wanted.
fn words<'a>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a str> + 'a {
    text.split(|character| !is_word(character))
        .filter(move |word| wanted(word))
}

fn is_errno(word: &str) -> bool {
    let rest = word.strip_prefix('E').unwrap_or("");
    rest.len() > 1
        && rest
            .chars()
            .all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit())
}

fn is_function(word: &str) -> bool {
    (word.starts_with("dm_") || word.starts_with("dmx_")) && !word.ends_with("_t")
}

/// The errnos of each function's doc block; "as `dm_...`" takes those of the other.
fn promised() -> BTreeMap<Function, BTreeSet<Errno>> {
    let header = read("include/dmapi.h");
    let mut own: BTreeMap<Function, BTreeSet<Errno>> = BTreeMap::new();
    let mut like: BTreeMap<Function, BTreeSet<Function>> = BTreeMap::new();
    for block in header.split("/**").skip(1) {
        let Some((doc, code)) = block.split_once("*/") else {
            continue;
        };
        let prototype = code.split(';').next().unwrap_or("");
        let before = prototype.split('(').next().unwrap_or("");
        let name = words(before, is_function).last();
        let (Some(name), false) = (
            name,
            prototype.contains('{') || prototype.contains("typedef"),
        ) else {
            continue;
        };
        let lines = doc
            .lines()
            .map(|line| line.trim().trim_start_matches('*').trim());
        let text = lines.collect::<Vec<_>>().join("\n");
        let returns = text
            .split("\n\n")
            .filter(|paragraph| paragraph.trim_start().starts_with("Returns"));
        let returns = returns.collect::<Vec<_>>().join(" ").replace('\n', " ");
        own.insert(
            name.to_owned(),
            words(&returns, is_errno).map(str::to_owned).collect(),
        );
        let others = returns
            .split("as `")
            .skip(1)
            .filter_map(|rest| rest.split('`').next());
        let others = others.filter(|other| is_function(other)).map(str::to_owned);
        like.insert(name.to_owned(), others.collect());
    }
    let mut all = own.clone();
    for (name, others) in &like {
        for other in others {
            let more = own.get(other).cloned().unwrap_or_default();
            all.entry(name.clone()).or_default().extend(more);
        }
    }
    all
}

/// The text up to the bracket that closes the one before `text`.
fn inside(text: &str) -> &str {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        depth += match character {
            '(' | '{' => 1,
            ')' | '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

/// The last argument of a macro's arguments that is an errno, and what stands before.
fn split_errno(arguments: &str) -> Option<(&str, &str)> {
    let mut rest = arguments;
    loop {
        let (before, last) = rest.rsplit_once(',')?;
        if words(last, is_errno).next().is_some() {
            return Some((before, last));
        }
        rest = before;
    }
}

/// The definition of a helper, a macro or a function, in the text of a test.
fn definition<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let macro_head = format!("#define {name}(");
    if let Some((_, rest)) = text.split_once(&macro_head) {
        let end = rest
            .match_indices('\n')
            .find(|(at, _)| !rest[..*at].ends_with('\\'));
        return Some(&rest[..end.map_or(rest.len(), |(at, _)| at)]);
    }
    let head = format!(" {name}(");
    let (_, rest) = text
        .split("\nstatic ")
        .filter_map(|part| part.split_once(&head))
        .find(|(before, _)| !before.contains(['(', '\n', '=']))?;
    Some(rest.split("\n}\n").next().unwrap_or(rest))
}

/// The library's function behind a call, which may be of a helper that calls one.
fn function_of(text: &str, call: &str) -> Option<Function> {
    let name = call.trim().split('(').next()?.trim();
    if is_function(name) {
        return Some(name.to_owned());
    }
    let body = definition(text, name)?;
    let called: BTreeSet<&str> = words(body, is_function)
        .filter(|word| body.contains(&format!("{word}(")))
        .collect();
    match called.len() {
        1 => called.first().map(|name| (*name).to_owned()),
        _ => None,
    }
}

/// Where each (function, errno) is produced first.
fn produced() -> BTreeMap<(Function, Errno), String> {
    let mut found = BTreeMap::new();
    let mut files: Vec<PathBuf> = fs::read_dir(root().join("c-tests"))
        .expect("c-tests is there")
        .map(|entry| entry.expect("c-tests is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    for path in files {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a test is text");
        let mut add = |function: String, errno: &str, at: usize| {
            let line = text[..at].matches('\n').count() + 1;
            let place = format!("c-tests/{file}:{line}");
            found.entry((function, errno.to_owned())).or_insert(place);
        };
        for (at, head) in text.match_indices("CHECK_ERRNO") {
            let rest = &text[at + head.len()..];
            let Some(rest) = rest.strip_prefix("_KEEPS(").or(rest.strip_prefix('(')) else {
                continue;
            };
            let Some((call, errnos)) = split_errno(inside(rest)) else {
                continue;
            };
            if let Some(function) = function_of(&text, call) {
                for errno in words(errnos, is_errno) {
                    add(function.clone(), errno, at);
                }
            }
        }
        for (at, head) in text.match_indices("produces: ") {
            let list = text[at + head.len()..].split("*/").next().unwrap_or("");
            for group in list.split(';') {
                for function in words(group, is_function) {
                    words(group, is_errno).for_each(|errno| add(function.to_owned(), errno, at));
                }
            }
        }
        let table = TABLES.iter().find(|(name, _)| *name == file);
        for (at, head) in text.match_indices("{\"dm_") {
            let name = text[at + 2..].split('"').next().unwrap_or(head);
            for errno in table.map_or(&[][..], |(_, errnos)| errnos) {
                add(name.to_owned(), errno, at);
            }
        }
    }
    found
}

fn excuse(function: &str, errno: &str) -> Option<&'static str> {
    WITHOUT_TEST
        .iter()
        .find(|(name, error, _)| (*name == function || *name == "*") && *error == errno)
        .map(|(_, _, why)| *why)
}

fn document(
    promised: &BTreeMap<Function, BTreeSet<Errno>>,
    produced: &BTreeMap<(Function, Errno), String>,
) -> String {
    let mut text = String::from(
        "# Conformance\n\n\
         Each errno that the header promises, and the line of a C test that produces it. `make headers` writes this page; \
         tests/conformance.rs fails while an errno has neither a test nor a reason. Tests on objects run on xfs, ext4 and \
         btrfs. Where the families differ: dialects.md.\n",
    );
    for (function, errnos) in promised {
        if errnos.is_empty() {
            continue;
        }
        write!(
            text,
            "\n## {function}\n\n| errno | produced by |\n|---|---|\n"
        )
        .expect("a String");
        for errno in errnos {
            let by = match produced.get(&(function.clone(), errno.clone())) {
                Some(place) => place.as_str(),
                None => excuse(function, errno).unwrap_or("nothing"),
            };
            writeln!(text, "| {errno} | {by} |").expect("a String takes everything");
        }
    }
    text
}

/// Functions and errnos of the page, without who produces them: tests move all the time.
fn rows(page: &str) -> Vec<(String, String)> {
    let mut function = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            function = name;
        } else if let Some(errno) = line
            .strip_prefix("| E")
            .and_then(|row| row.split(' ').next())
        {
            rows.push((function.to_owned(), format!("E{errno}")));
        }
    }
    rows
}

#[test]
fn every_errno_has_a_test() {
    let (promised, produced) = (promised(), produced());
    assert!(
        promised.len() > 60,
        "the header is not what this test reads"
    );
    let missing: Vec<String> = promised
        .iter()
        .flat_map(|(function, errnos)| errnos.iter().map(move |errno| (function, errno)))
        .filter(|(function, errno)| {
            !produced.contains_key(&((*function).clone(), (*errno).clone()))
                && excuse(function, errno).is_none()
        })
        .map(|(function, errno)| format!("{function} {errno}"))
        .collect();
    assert!(
        missing.is_empty(),
        "write a C test with CHECK_ERRNO, or say in WITHOUT_TEST why none can be:\n{}",
        missing.join("\n")
    );
}

#[test]
fn no_reason_is_needless() {
    let produced = produced();
    for (function, errno, _) in WITHOUT_TEST {
        let has_test = produced.contains_key(&((*function).to_owned(), (*errno).to_owned()));
        assert!(!has_test, "{function} {errno} has a test");
    }
}

#[test]
fn the_page_is_fresh() {
    let fresh = document(&promised(), &produced());
    let path = root().join("docs/conformance.md");
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        fs::write(&path, &fresh).expect("the source tree is writable");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        rows(&found) == rows(&fresh),
        "docs/conformance.md is not what the header says; run `make headers` and commit what it changes"
    );
    for cited in found.split("c-tests/").skip(1) {
        let name = cited.split(':').next().unwrap_or("");
        let path = root().join("c-tests").join(name);
        assert!(
            path.exists(),
            "docs/conformance.md names {name}; run `make headers`"
        );
    }
}
