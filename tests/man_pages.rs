//! Section 3 of the manual is made from include/dmapi.h and the introductions in man/intro: this test makes the pages
//! again and compares. After a change of a doc block in src/ffi: `UPDATE_MAN=1 cargo test --test man_pages`.
//!
//! So every exported function has a page, and every errno of its doc block is under ERRORS.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One function of the header.
struct Function {
    name: String,
    /// The prototype in one line, with the semicolon.
    prototype: String,
    /// Paragraphs of the doc block.
    paragraphs: Vec<String>,
}

/// All functions of the header with their doc blocks.
fn functions(header: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for block in header.split("/**").skip(1) {
        let Some((doc, code)) = block.split_once("*/") else {
            continue;
        };
        let Some((prototype, _)) = code.split_once(';') else {
            continue;
        };
        let prototype = prototype.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((before, _)) = prototype.split_once('(') else {
            continue;
        };
        let name = before
            .rsplit([' ', '*'])
            .next()
            .expect("a split has a last part")
            .to_owned();
        if !name.starts_with("dm") || prototype.contains('{') || prototype.starts_with("typedef") {
            continue;
        }
        found.push(Function {
            name,
            prototype: format!("{prototype};"),
            paragraphs: paragraphs(doc),
        });
    }
    found
}

fn paragraphs(doc: &str) -> Vec<String> {
    let lines: Vec<&str> = doc
        .lines()
        .map(|line| line.trim().trim_start_matches('*').trim())
        .collect();
    lines
        .split(|line| line.is_empty())
        .map(|lines| lines.join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect()
}

/// Marked-up text as roff: `code` in bold, and nothing that roff would take for a request.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let mut out = String::new();
    for (index, part) in escaped.split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(out, "\\fB{part}\\fP");
        } else {
            out.push_str(part);
        }
    }
    if out.starts_with(['.', '\'']) {
        out.insert_str(0, "\\&");
    }
    out
}

fn is_errno(word: &str) -> bool {
    word.len() > 2
        && word.starts_with('E')
        && word
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// "Returns 0, or -1 with `errno`: `E2BIG` too small; `EFAULT` ..." as the result, (errno, reason), and what follows.
#[derive(Default)]
struct Outcome {
    result: String,
    errors: Vec<(String, String)>,
    rest: String,
}

fn outcome(paragraph: &str) -> Outcome {
    let Some((result, list)) = paragraph.split_once("`errno`:") else {
        return Outcome {
            result: paragraph.trim_end_matches('.').to_owned(),
            ..Outcome::default()
        };
    };
    let mut outcome = Outcome {
        result: format!("{result}`errno`"),
        ..Outcome::default()
    };
    for piece in list.split(';') {
        // The last reason may be followed by sentences about something else.
        let (piece, after) = piece.split_once(". ").unwrap_or((piece, ""));
        outcome.rest.push_str(after);
        add_errors(&mut outcome.errors, piece.trim().trim_end_matches('.'));
    }
    outcome
}

/// "`E1`, `E2` reason", "reason: `E1`, `E2`", or the second half of a reason that has a semicolon.
fn add_errors(errors: &mut Vec<(String, String)>, piece: &str) {
    let words: Vec<&str> = piece.split('`').collect();
    let names: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| is_errno(word))
        .collect();
    let errno_at = |index: Option<usize>| {
        index
            .and_then(|i| words.get(i))
            .is_some_and(|w| is_errno(w))
    };
    let mut reason = String::new();
    for (index, word) in words.iter().enumerate() {
        match index % 2 {
            // ", " between two errnos.
            0 if errno_at(index.checked_sub(1)) && errno_at(Some(index + 1)) => {}
            0 => reason.push_str(word),
            _ if is_errno(word) => {}
            _ => {
                let _ = write!(reason, "`{word}`");
            }
        }
    }
    let reason = reason
        .trim()
        .trim_end_matches(':')
        .trim_start_matches("and ");
    let reason = match (reason, names.first()) {
        ("", Some(&"ENOMEM")) => "there is not enough memory",
        ("", Some(&"ENAMETOOLONG")) => "a name is too long",
        ("", _) => "as the name says",
        (reason, _) => reason,
    };
    if names.is_empty()
        && let Some(last) = errors.last_mut()
    {
        let _ = write!(last.1, "; {reason}");
    }
    for name in names {
        errors.push((name.to_owned(), reason.to_owned()));
    }
}

/// The introduction of a family: what it is, text, notes, pages to see.
struct Intro {
    title: String,
    text: String,
    notes: String,
    see: Vec<String>,
}

fn intro(family: &str) -> Intro {
    let text = read(&format!("man/intro/{family}.txt"));
    let parts: Vec<&str> = text.split("\n---\n").collect();
    let [title, text, notes, see] = parts[..] else {
        panic!("man/intro/{family}.txt: four parts divided by --- lines");
    };
    Intro {
        title: title.trim().to_owned(),
        text: text.trim().to_owned(),
        notes: notes.trim().to_owned(),
        see: see.split_whitespace().map(str::to_owned).collect(),
    }
}

/// The family of each function is the file of src/ffi that has it.
fn families() -> BTreeMap<String, Vec<String>> {
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(root().join("src/ffi")).expect("src/ffi") {
        let path = entry.expect("an entry of src/ffi").path();
        let Some(family) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap_or_default();
        let names: Vec<String> = text
            .split("extern \"C\" fn ")
            .skip(1)
            .map(|rest| rest.split('(').next().unwrap_or_default().trim().to_owned())
            .filter(|name| name.starts_with("dm"))
            .collect();
        if !names.is_empty() {
            families.insert(family.to_owned(), names);
        }
    }
    families
}

fn page(family: &str, functions: &[&Function]) -> String {
    let intro = intro(family);
    let names: Vec<&str> = functions.iter().map(|f| f.name.as_str()).collect();
    let mut out = String::new();
    let mut errors: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut results = String::new();
    let mut attributes = String::new();
    let mut descriptions = String::new();
    let mut since = BTreeMap::new();
    for function in functions {
        let _ = writeln!(descriptions, ".SS {}()", function.name);
        for (index, paragraph) in function.paragraphs.iter().enumerate() {
            if paragraph.starts_with("# Safety") {
                break;
            } else if paragraph.starts_with("Returns") {
                let returns = paragraph.split(" Threads: ").next().unwrap_or(paragraph);
                let outcome = outcome(returns);
                let _ = writeln!(
                    results,
                    ".TP\n.BR {} ()\n{}.",
                    function.name,
                    roff(&outcome.result)
                );
                if !outcome.rest.is_empty() {
                    let _ = writeln!(results, "{}", roff(&outcome.rest));
                }
                for (errno, reason) in outcome.errors {
                    errors
                        .entry(errno)
                        .or_default()
                        .push((function.name.clone(), reason));
                }
            } else if paragraph.starts_with("Threads: ") {
                let (text, version) = paragraph
                    .split_once("Since: ")
                    .unwrap_or((paragraph.as_str(), "DMAPI_1.0"));
                let version = version.split(". ").next().unwrap_or(version);
                since.insert(
                    function.name.clone(),
                    version.trim_end_matches('.').to_owned(),
                );
                let _ = writeln!(
                    attributes,
                    ".TP\n.BR {} ()\n{}",
                    function.name,
                    roff(text.trim())
                );
            } else {
                if index > 0 {
                    descriptions.push_str(".PP\n");
                }
                let _ = writeln!(descriptions, "{}", roff(paragraph));
            }
        }
    }

    let _ = writeln!(
        out,
        ".\\\" Made from include/dmapi.h and man/intro/{family}.txt by tests/man_pages.rs.\n\
         .TH DM_{} 3 \"\" \"libdmapi 1\" \"Library Functions\"\n\
         .SH NAME\n{} \\- {}\n\
         .SH LIBRARY\nlibdmapi\n.RI ( \\-ldmapi )\n\
         .SH SYNOPSIS\n.nf\n.B #include <dmapi.h>\n.PP",
        family.to_uppercase(),
        names.join(", "),
        intro.title
    );
    for function in functions {
        out.push_str(&synopsis(&function.prototype));
    }
    let _ = writeln!(out, ".fi\n.SH DESCRIPTION\n{}\n{descriptions}", intro.text);
    let _ = writeln!(out, ".SH RETURN VALUE\n{results}.SH ERRORS");
    for (errno, users) in &errors {
        let _ = writeln!(out, ".TP\n.B {errno}");
        let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, reason) in users {
            match by_reason.iter_mut().find(|(text, _)| text == reason) {
                Some((_, names)) => names.push(name),
                None => by_reason.push((reason, vec![name])),
            }
        }
        for (index, (reason, names)) in by_reason.iter().enumerate() {
            if index > 0 {
                out.push_str(".br\n");
            }
            let _ = writeln!(out, "{}(): {}.", names.join("(), "), roff(reason));
        }
    }
    let _ = writeln!(
        out,
        ".PP\nAny call may fail with ENOTCONN, EPERM, ENOMEM or EIO; see\n.BR dmapi (7)."
    );
    let _ = writeln!(
        out,
        ".SH ATTRIBUTES\n{attributes}.SH NOTES\n{}",
        intro.notes
    );
    let _ = writeln!(out, ".SH VERSIONS");
    let versions: std::collections::BTreeSet<&String> = since.values().collect();
    for version in versions {
        let _ = writeln!(out, "Symbol version {version}.");
    }
    let see: Vec<String> = intro
        .see
        .iter()
        .map(|name| match name.as_str() {
            "dmapi" => ".BR dmapi (7)".to_owned(),
            other => format!(".BR dm_{other} (3),"),
        })
        .collect();
    let _ = writeln!(out, ".SH SEE ALSO\n{}", see.join("\n"));
    out
}

/// The prototype in lines that fit a terminal.
fn synopsis(prototype: &str) -> String {
    let mut out = String::new();
    let mut line = String::new();
    for word in prototype.split_inclusive(", ") {
        if !line.is_empty() && line.len() + word.trim_end().len() > 72 {
            let _ = writeln!(out, ".B \"{}\"", line.trim_end());
            line = "        ".to_owned();
        }
        line.push_str(word);
    }
    let _ = writeln!(out, ".B \"{line}\"");
    out
}

/// Path below man3 and content of every page and link.
fn pages() -> BTreeMap<String, String> {
    let header = read("include/dmapi.h");
    let functions = functions(&header);
    let mut pages = BTreeMap::new();
    for (family, names) in families() {
        let members: Vec<&Function> = names
            .iter()
            .map(|name| {
                functions
                    .iter()
                    .find(|function| function.name == *name)
                    .unwrap_or_else(|| panic!("include/dmapi.h has no doc block of {name}"))
            })
            .collect();
        pages.insert(format!("dm_{family}.3"), page(&family, &members));
        for name in names {
            pages.insert(format!("{name}.3"), format!(".so man3/dm_{family}.3\n"));
        }
    }
    pages
}

fn man3() -> PathBuf {
    root().join("man/man3")
}

fn update(pages: &BTreeMap<String, String>, directory: &Path) {
    fs::create_dir_all(directory).expect("man/man3");
    for (name, text) in pages {
        fs::write(directory.join(name), text).expect("writing a page");
    }
}

#[test]
fn the_pages_say_what_the_header_says() {
    let pages = pages();
    if std::env::var_os("UPDATE_MAN").is_some() {
        update(&pages, &man3());
    }
    for (name, text) in &pages {
        let kept = fs::read_to_string(man3().join(name)).unwrap_or_default();
        assert!(
            kept == *text,
            "man/man3/{name} is stale; make it again: UPDATE_MAN=1 cargo test --test man_pages"
        );
    }
    for entry in fs::read_dir(man3()).expect("man/man3") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(
            pages.contains_key(&*name),
            "man/man3/{name} is nobody's page: remove it"
        );
    }
}

#[test]
fn every_symbol_has_a_page_with_its_errors() {
    let pages = pages();
    let header = read("include/dmapi.h");
    let functions = functions(&header);
    for line in read("abi/dmapi.symbols").lines() {
        let name = line.split('@').next().unwrap_or_default().trim();
        // dmapi_failover.h has pages of its own.
        if name.is_empty() || name.starts_with('#') || name.starts_with("dm_failover_") {
            continue;
        }
        let link = pages
            .get(&format!("{name}.3"))
            .unwrap_or_else(|| panic!("{name}: no page"));
        let target = link
            .trim()
            .strip_prefix(".so man3/")
            .unwrap_or_else(|| panic!("{name}.3 is no link"));
        let page = &pages[target];
        assert!(page.contains(name), "{target} does not name {name}");
        let errors = page
            .split(".SH ERRORS")
            .nth(1)
            .and_then(|rest| rest.split(".SH ").next())
            .expect("a page has ERRORS");
        let function = functions
            .iter()
            .find(|function| function.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the header"));
        let returns = function
            .paragraphs
            .iter()
            .find(|paragraph| paragraph.starts_with("Returns "));
        for word in returns.into_iter().flat_map(|text| text.split('`')) {
            if is_errno(word) {
                assert!(
                    errors.contains(&format!(".B {word}\n")),
                    "{target}: ERRORS lacks {word} of {name}"
                );
            }
        }
    }
}

#[test]
fn every_symbol_has_a_line_in_functions_md() {
    let table = read("docs/functions.md");
    for line in read("abi/dmapi.symbols").lines() {
        let name = line.split('@').next().unwrap_or_default().trim();
        if name.starts_with("dm") {
            assert!(
                table.contains(&format!("| {name} |")),
                "docs/functions.md lacks {name}"
            );
        }
    }
}
