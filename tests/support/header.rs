//! What bindgen reads in a header of C.

use std::collections::BTreeMap;

/// A number, if the text is one.
pub fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim()
        .trim_end_matches(';')
        .replace('_', "")
        .parse()
        .ok()
}

/// `size name`, `offset name field`: what the layout tests of the bindings say.
pub fn layouts<T: std::str::FromStr>(bindings: &str) -> BTreeMap<String, T> {
    let mut facts = BTreeMap::new();
    // `["Size of x"][size_of::<x>() - 8usize];`, over one line or more.
    for check in bindings.split("[\"").skip(1) {
        let (Some((what, _)), Some((_, value))) = (
            check.split_once('"'),
            check
                .split_once("usize]")
                .and_then(|(check, _)| check.rsplit_once('-')),
        ) else {
            continue;
        };
        let what = match what.strip_prefix("Size of ") {
            Some(name) => format!("size {name}"),
            None => what
                .replace("Offset of field: ", "offset ")
                .replace("::", " "),
        };
        facts.extend(number(value).map(|value| (what, value)));
    }
    facts
}
