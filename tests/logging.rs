//! docs/logging.md lists every event that the server emits, as the code has them, and every span.

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The sources below this directory, without tests, in alphabetical order.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
            _ => {}
        }
    }
}

/// The module of a file, which is the target of its events.
fn module(file: &Path) -> String {
    let path = file
        .strip_prefix(root().join("src"))
        .expect("it is in there");
    let path = path.with_extension("");
    let parts = path
        .iter()
        .map(|part| part.to_string_lossy())
        .filter(|part| part != "mod");
    let parts: Vec<_> = parts.collect();
    format!("matssocket::{}", parts.join("::"))
}

/// Lines that are no comments, without the tests at the end.
fn code(file: &Path) -> String {
    let text = read(file);
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The literal that begins here, behind its quote, with values as `…`.
fn literal(text: &str) -> String {
    let mut chars = text.chars().peekable();
    let mut shown = String::new();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            // It goes on in the next line.
            '\\' if chars.peek() == Some(&'\n') => {
                while chars.next_if(|it| it.is_whitespace()).is_some() {}
            }
            '\\' => shown.extend(chars.next()),
            '{' if chars.next_if_eq(&'{').is_some() => shown.push('{'),
            '}' if chars.next_if_eq(&'}').is_some() => shown.push('}'),
            '{' => {
                while chars.next().is_some_and(|it| it != '}') {}
                if !shown.ends_with('…') {
                    shown.push('…');
                }
            }
            _ => shown.push(char),
        }
    }
    shown
}

struct Event {
    level: String,
    /// At most one in ten seconds of it.
    seldom: bool,
    target: String,
    text: String,
    fields: Vec<String>,
}

impl Event {
    fn row(&self) -> String {
        let seldom = if self.seldom { ", seldom" } else { "" };
        let fields: Vec<_> = self.fields.iter().map(|it| format!("`{it}`")).collect();
        let target = self.target.strip_prefix("matssocket::").unwrap_or_default();
        format!(
            "| {}{seldom} | `{target}` | {} | {} |\n",
            self.level,
            self.text,
            fields.join(", ")
        )
    }
}

/// The event whose macro's arguments begin here. `None`: it is a macro's definition.
fn event(arguments: &str, level: &str, seldom: bool, target: &str) -> Option<Event> {
    let (before, text) = arguments.split_once('"')?;
    if before.contains('$') {
        return None;
    }
    let names = before.split(',').filter_map(|it| it.split_once(" = "));
    Some(Event {
        level: level.to_owned(),
        seldom,
        target: target.to_owned(),
        text: literal(text),
        fields: names.map(|(name, _)| name.trim().to_owned()).collect(),
    })
}

fn events() -> Vec<Event> {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut events = Vec::new();
    for file in files {
        let (target, text) = (module(&file), code(&file));
        for (at, _) in text.match_indices("logging::") {
            let call = &text[at + "logging::".len()..];
            let Some((level, arguments)) = call.split_once("!(") else {
                continue;
            };
            if ["error", "warn", "info", "debug", "trace"].contains(&level) {
                events.extend(event(arguments, level, false, &target));
            }
        }
        for (at, call) in text.match_indices("log_seldom!(") {
            let arguments = text[at + call.len()..].trim_start();
            if let Some((level, arguments)) = arguments.split_once(',') {
                events.extend(event(arguments, level, true, &target));
            }
        }
    }
    events
}

#[test]
fn the_documentation_lists_every_event() {
    let mut rows: Vec<String> = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        let events = events().into_iter().filter(|it| it.level == level);
        for row in events.map(|event| event.row()) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    assert!(
        rows.len() > 80,
        "the reader of the sources has found only {rows:#?}"
    );
    let table = rows.concat();
    let page = read(&root().join("docs/logging.md"));
    assert!(
        page.contains(&table),
        "docs/logging.md must contain this table:\n{table}"
    );
}

/// What would be emitted twice, or not at all, when the feature `tracing` is on.
#[test]
fn nothing_goes_past_the_macros() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files
        .iter()
        .filter(|file| !file.ends_with("src/logging.rs"))
    {
        let text = code(file);
        for level in ["error", "warn", "info", "debug", "trace", "log"] {
            for library in ["log", "tracing"] {
                let call = format!("{library}::{level}!");
                let mut found = text.match_indices(&call);
                let goes_past = found.any(|(at, _)| {
                    !text[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_')
                });
                assert!(!goes_past, "{}: {call}", file.display());
            }
        }
    }
}

/// The fields of spans are named where they are made.
#[test]
fn the_documentation_lists_every_span_and_its_fields() {
    let (source, page) = (
        read(&root().join("src/trace.rs")),
        read(&root().join("docs/logging.md")),
    );
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for span in ["message", "attempt", "delivery", "handler", "commit"] {
        assert!(source.contains(&format!("\"{span}\"")), "{span}");
        let begins = format!("| `{span}` |");
        assert!(
            rows.iter().any(|row| row.starts_with(&begins)),
            "no row for the span {span}"
        );
    }
    for field in [
        "service",
        "attempt",
        "type",
        "endpoint",
        "session_id",
        "user_id",
        "trace_id",
        "message_id",
        "outcome",
    ] {
        let begins = format!("| `{field}` |");
        assert!(source.contains(field), "{field}");
        assert!(
            rows.iter().any(|row| row.starts_with(&begins)),
            "no row for the field {field}"
        );
    }
}

#[test]
fn literals_are_read_as_the_compiler_reads_them() {
    assert_eq!(
        literal("a \\\n     b {c:?}{d} {{e}} \\\"f\\\"\" g"),
        "a b … {e} \"f\""
    );
}
