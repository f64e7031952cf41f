//! A migration that was released has run in databases that nobody here knows, so it never changes: what comes later is
//! another migration. `released/VERSION.txt` has the migrations of each version, each with a checksum.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Writes the file of the version in the making anew, instead of comparing it.
const ACCEPT: &str = "MATSSOCKET_ACCEPT_MIGRATIONS";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// FNV-1a: good enough against a slip, and nothing to depend on.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|why| panic!("{}: {why}", directory.display()));
    let mut entries: Vec<PathBuf> = entries.map(|it| it.expect("readable").path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("plain names")
}

/// A line for each migration that there is: its database, its name and its checksum.
fn lines_of_today() -> Vec<String> {
    let mut lines = Vec::new();
    for database in ["postgres", "sqlite"] {
        for migration in entries(&root().join("migrations").join(database)) {
            let up = fs::read(migration.join("up.sql")).expect("each migration has an up.sql");
            let (name, checksum) = (name(&migration), checksum(&up));
            lines.push(format!("{database} {name} {checksum:016x}"));
        }
    }
    lines
}

fn text(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

#[test]
fn released_migrations_are_as_they_were() {
    let today = lines_of_today();
    let current = format!("{}.txt", env!("CARGO_PKG_VERSION"));
    let released = root().join("tests/upgrade/released");
    for file in entries(&released) {
        // Beside these lists are the browser clients that were released.
        let is_list = file.extension().is_some_and(|it| it == "txt");
        if !is_list || name(&file) == current {
            continue;
        }
        for line in fs::read_to_string(&file).expect("readable").lines() {
            assert!(
                today.iter().any(|it| it == line),
                "{} has the migration {line:?}, which was changed or removed since: bring it back, and add another one",
                name(&file)
            );
        }
    }
}

#[test]
fn the_migrations_of_this_version_are_known() {
    let today = text(&lines_of_today());
    let file = root().join(format!(
        "tests/upgrade/released/{}.txt",
        env!("CARGO_PKG_VERSION")
    ));
    if std::env::var_os(ACCEPT).is_some() {
        fs::write(&file, &today).expect("writable");
    }
    let noted = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        noted == today,
        "the migrations are not those that {} has. If this version is not released yet, accept them:\n    \
        {ACCEPT}=1 cargo test --test upgrade\nIf it is, its migrations never change: add another one, and raise the \
        version.\nIt has:\n{noted}Today there are:\n{today}",
        name(&file)
    );
}
