//! The rooms of `src` form layers: a room imports only rooms of lower layers. Nothing but a test can hold that, since to
//! the compiler all modules of a crate are equal.
//!
//! Paths are read from the source text: whatever begins with `crate::`, and whatever climbs out of its room by `super::`.
//! A name that the crate root re-exports counts as an import of the room that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// The rooms, lowest layer first. Rooms of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["clock", "wire"],
    &[
        "conninfo",
        "fault_injection",
        "mailbox",
        "request",
        "seldom",
    ],
    &["auth", "introspection"],
    &["events", "store"],
    &["config", "error"],
    &["message"],
    &["cluster"],
    &["registry"],
    &["endpoint"],
    &["node"],
    &["service", "session"],
    &["http", "maintenance"],
    &["metrics"],
    &["server"],
    &["bench", "dashboard", "testkit"],
];

/// Tests that put a whole server together to try one room of it.
const WHOLE_SERVER: &[&str] = &["session/tests.rs"];

#[test]
fn no_import_climbs() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let root = read(&source.join("lib.rs"));
    let reexports = reexports(&root);
    let mut breaches = Vec::new();
    for file in files(&source) {
        let path = file.strip_prefix(&source).expect("it is in there");
        if WHOLE_SERVER.iter().any(|it| Path::new(it) == path) {
            continue;
        }
        let Some(module) = module_of(path) else {
            continue;
        };
        let room = module[0].clone();
        for import in imports(&read(&file), &module) {
            let target = reexports.get(&import.name).unwrap_or(&import.name);
            if let Some(why) = breach(&room, target) {
                let path = path.to_owned();
                breaches.push(Breach { path, import, why });
            }
        }
    }
    let count = breaches.len();
    let text: String = breaches.iter().map(Breach::to_string).collect();
    assert!(breaches.is_empty(), "{count} imports climb:\n{text}");
}

#[test]
fn every_room_has_one_layer() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let found: BTreeSet<String> = files(&source)
        .iter()
        .filter_map(|file| module_of(file.strip_prefix(&source).expect("it is in there")))
        .map(|module| module[0].clone())
        .collect();
    let known: Vec<&str> = LAYERS
        .iter()
        .flat_map(|layer| layer.iter())
        .copied()
        .collect();
    let unique: BTreeSet<&str> = known.iter().copied().collect();
    assert_eq!(known.len(), unique.len(), "a room has two layers");
    let strangers: Vec<_> = found
        .iter()
        .filter(|it| !unique.contains(it.as_str()))
        .collect();
    assert!(strangers.is_empty(), "rooms without a layer: {strangers:?}");
}

#[test]
fn the_reader_of_imports_sees_what_is_imported() {
    let text = r##"
        //! crate::comment
        use crate::{one, two::{self, Three}, r#four};
        /* crate::comment /* crate::nested */ */
        fn five() -> &'static str { crate::five::call(); "crate::text" }
        mod inner { use super::super::six::Seven; use super::own; pub(super) fn own() {} }
        macro_rules! eight { () => { $crate::eight::call() } }
        const NINE: &str = r#"crate::raw"#; const TEN: char = '"';
        use super::ten::Eleven;
        #[serde(with = "crate::twelve::thirteen")] struct Fourteen;
    "##;
    let names = |module: &[&str]| -> Vec<String> {
        let module: Vec<String> = module.iter().map(|it| (*it).to_owned()).collect();
        imports(text, &module)
            .into_iter()
            .map(|it| it.name)
            .collect()
    };
    let common = ["one", "two", "four", "five"];
    let of_file: Vec<&str> = common
        .iter()
        .chain(&["six", "eight", "ten", "twelve"])
        .copied()
        .collect();
    assert_eq!(names(&["room"]), of_file);
    let deeper: Vec<&str> = common.iter().chain(&["eight", "twelve"]).copied().collect();
    assert_eq!(names(&["room", "part"]), deeper);
}

/// Why one room must not import the other; `None`: it may.
fn breach(room: &str, target: &str) -> Option<String> {
    if room == target {
        return None;
    }
    match (layer_of(room), layer_of(target)) {
        (Some(own), Some(other)) if other < own => None,
        (Some(own), Some(other)) if other == own => Some(format!(
            "both are rooms of layer {own}, which do not know each other"
        )),
        (Some(own), Some(other)) => Some(format!("it climbs from layer {own} to layer {other}")),
        // The crate root has no such name: the path is one of a macro, and leads elsewhere where that is used. (Rooms without
        // a layer are found by the other test.)
        (_, None) => None,
        (None, _) => Some(format!("`{room}` has no layer")),
    }
}

fn layer_of(room: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&room))
}

/// An import that breaks the layers.
struct Breach {
    path: PathBuf,
    import: Import,
    why: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, Import { line, name }) = (self.path.display(), &self.import);
        writeln!(f, "src/{path}:{line}: imports `{name}`: {}", self.why)
    }
}

/// What a path in the source leads to: the first name below the crate root.
struct Import {
    line: usize,
    name: String,
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All Rust files below a directory, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory can be read");
    let mut paths: Vec<PathBuf> = entries
        .map(|it| it.expect("it has a name").path())
        .collect();
    paths.sort();
    let below = paths.into_iter().flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    });
    below
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect()
}

/// The module that a file holds, from its room on; `None`: it is the crate root.
fn module_of(path: &Path) -> Option<Vec<String>> {
    let stem = path.with_extension("");
    let names = stem.iter().map(|name| name.to_string_lossy().into_owned());
    let mut module: Vec<String> = names.collect();
    module.pop_if(|name| name == "mod");
    (module != ["lib"]).then_some(module)
}

/// The names that the crate root re-exports, each with the room that it comes from. (What comes from another package is
/// known by the name that the root gives it.)
fn reexports(root: &str) -> BTreeMap<String, String> {
    let tokens = tokens(root);
    let mut reexports = BTreeMap::new();
    let mut rest = tokens.as_slice();
    while let Some(at) = rest
        .windows(2)
        .position(|it| it[0].text == "pub" && it[1].text == "use")
    {
        let statement = &rest[at + 2..];
        let end = statement
            .iter()
            .position(|it| it.text == ";")
            .unwrap_or(statement.len());
        let room = &statement[0].text;
        if layer_of(room).is_none() {
            rest = &statement[end..];
            continue;
        }
        for (index, token) in statement[..end].iter().enumerate() {
            let next = statement.get(index + 1).map(|it| it.text.as_str());
            if is_name(&token.text) && next != Some("::") && next != Some("as") {
                reexports.insert(token.text.clone(), room.clone());
            }
        }
        rest = &statement[end..];
    }
    reexports
}

/// What a file imports from other modules of the crate.
fn imports(text: &str, module: &[String]) -> Vec<Import> {
    let tokens = tokens(text);
    let (mut imports, mut depth, mut inner) = (Vec::new(), 0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let is =
            |offset: usize, text: &str| tokens.get(at + offset).is_some_and(|it| it.text == text);
        match tokens[at].text.as_str() {
            "mod" if is(2, "{") => inner.push(depth),
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inner.pop_if(|it| *it == depth);
            }
            "crate" if is(1, "::") => at = targets(&tokens, at + 2, &mut imports),
            "super" if is(1, "::") => {
                let mut climbed = 0;
                while tokens.get(at).is_some_and(|it| it.text == "super") {
                    climbed += 1;
                    at += 2;
                }
                if climbed == module.len() + inner.len() {
                    at = targets(&tokens, at, &mut imports);
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    imports
}

/// Adds what a path leads to, of which the part up to `at` stands for the crate root. Returns where that is last named.
fn targets(tokens: &[Token], at: usize, imports: &mut Vec<Import>) -> usize {
    let mut add = |token: &Token| {
        if is_name(&token.text) {
            imports.push(Import {
                line: token.line,
                name: token.text.clone(),
            });
        }
    };
    if tokens.get(at).is_none_or(|it| it.text != "{") {
        tokens.get(at).into_iter().for_each(add);
        return at;
    }
    let (mut depth, mut is_first) = (0, true);
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return index,
            "}" => depth -= 1,
            "," => is_first = depth == 1,
            _ if is_first => {
                add(token);
                is_first = false;
            }
            _ => {}
        }
        is_first |= token.text == "{" && depth == 1;
    }
    tokens.len()
}

struct Token {
    text: String,
    line: usize,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and single characters; comments and texts are left out, except for paths given to attributes.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = match skipped(rest) {
            Some(length) => {
                // As in `#[serde(with = "crate::room::function")]`.
                let is_value = tokens.last().is_some_and(|it: &Token| it.text == "=");
                if is_value && rest.starts_with("\"crate::") {
                    let path = self::tokens(&rest[1..length - 1]).into_iter();
                    tokens.extend(path.map(|it| Token { line, ..it }));
                }
                length
            }
            None => {
                let is_part = |it: char| it.is_alphanumeric() || it == '_';
                let length = match rest.find(|it| !is_part(it)).unwrap_or(rest.len()) {
                    0 if rest.starts_with("::") => 2,
                    0 => first.len_utf8(),
                    name => name,
                };
                let text = rest[..length].to_owned();
                tokens.push(Token { text, line });
                length
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of what is no token at the beginning of the text: space, a comment, a text, a character.
fn skipped(text: &str) -> Option<usize> {
    if text.starts_with(char::is_whitespace) {
        return Some(
            text.find(|it: char| !it.is_whitespace())
                .unwrap_or(text.len()),
        );
    }
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(comment(text));
    }
    if let Some(raw) = text.strip_prefix('r') {
        let fence = &raw[..raw.len() - raw.trim_start_matches('#').len()];
        if raw[fence.len()..].starts_with('"') {
            let end = format!("\"{fence}");
            let begin = 2 + fence.len();
            return Some(
                text[begin..]
                    .find(&end)
                    .map_or(text.len(), |it| begin + it + end.len()),
            );
        }
        // A raw name.
        return (fence == "#").then_some(2);
    }
    if text.starts_with('"') {
        return Some(quoted(text, '"'));
    }
    // A lifetime is a quote before a name that no quote follows.
    let is_character = text.starts_with("'\\") || text.chars().nth(2) == Some('\'');
    (text.starts_with('\'') && is_character).then(|| quoted(text, '\''))
}

/// The length of a comment, which may hold others.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                if depth == 0 {
                    return at + 2;
                }
                2
            }
            _ => 1,
        };
    }
    at
}

/// The length of a text or character between these quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
