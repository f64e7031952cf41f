//! docs/troubleshooting.md is searched by the texts that people see, so it must have them as they are.

use std::path::{Path, PathBuf};

/// Fragments that are shorter say too little to be looked for.
const TELLING: usize = 12;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources below this directory, without tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).expect("a directory");
    for entry in entries {
        let path = entry.expect("readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
            _ => {}
        }
    }
}

/// All sources, with the strings that go over several lines put together.
fn code() -> String {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let texts: String = files.iter().map(|path| read(path)).collect();
    let mut code = String::new();
    let mut rest = texts.as_str();
    while let Some((before, after)) = rest.split_once("\\\n") {
        code.push_str(before);
        rest = after.trim_start();
    }
    (code + rest).replace("\\\"", "\"")
}

#[test]
fn its_texts_are_those_of_the_code() {
    let (page, code) = (read(&root().join("docs/troubleshooting.md")), code());
    // The last section is about what is seen in figures.
    let page = page.split("\n## It works").next().unwrap_or_default();
    let mut missing = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        // What is seen stands in the first cells; the others speak about it.
        let seen = cells[..2.min(cells.len())].join(" ");
        let seen = seen.replace("``", "\u{1}").replace('`', "\u{2}");
        for (mark, inner) in [('\u{1}', '\u{2}'), ('\u{2}', '\u{2}')] {
            let texts = seen.split(mark).skip(1).step_by(2);
            for text in texts.map(|text| text.replace(inner, "`")) {
                let fragments = text
                    .split(['…'])
                    .map(|it| it.trim_matches([' ', '"', ':', ';', ',']));
                let fragments = fragments.filter(|it| it.len() >= TELLING && it.contains(' '));
                let unknown = fragments.filter(|it| !code.contains(*it));
                missing.extend(unknown.map(str::to_owned));
            }
        }
    }
    assert!(missing.is_empty(), "no code says these: {missing:#?}");
}

/// Every reason with which a connection is closed or an upgrade refused has its line.
#[test]
fn it_has_every_reason_for_a_close() {
    let page = read(&root().join("docs/troubleshooting.md"));
    let mut files = Vec::new();
    for room in ["src/session/state", "src/http"] {
        sources(&root().join(room), &mut files);
    }
    let mut missing = Vec::new();
    for path in files {
        let source = read(&path);
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        for begin in [
            "Close::new(",
            "refuse(&request, ",
            "StatusCode::FORBIDDEN, ",
        ] {
            for at in source.match_indices(begin) {
                let call: String = source[at.0..].chars().take(200).collect();
                let call = call.split(");").next().unwrap_or_default();
                let text = call.split('"').nth(1).unwrap_or_default();
                let first = text.split('{').next().unwrap_or_default().trim();
                if first.len() >= TELLING && !page.contains(first) {
                    missing.push(format!("{}: {first}", path.display()));
                }
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/troubleshooting.md: {missing:#?}"
    );
}
