//! Compares the public API of the published libraries with the committed snapshots, so that every change of it shows up
//! in review:
//!
//! ```sh
//! cargo run -p api-snapshot             # prints the difference, and fails if there is one
//! cargo run -p api-snapshot -- --accept # takes the API as it is
//! ```
//!
//! The API is read from rustdoc's JSON, whose format changes now and then with Rust: if it cannot be read, update the
//! dependency `public-api`.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The published libraries, with all their public features.
const LIBRARIES: [(&str, &str); 3] = [
    ("matssocket-wire", ""),
    ("matssocket-client", "durable,tls"),
    (
        "matssocket",
        "sqlite,postgres,client-durable,client-tls,browser-client,dashboard,schema",
    ),
];

/// Set for the processes that cargo starts in place of rustdoc.
const AS_RUSTDOC: &str = "API_SNAPSHOT_AS_RUSTDOC";

/// Auto traits that change with private fields and are not relied on here; Send and Sync stay.
const UNINTERESTING: [&str; 5] = [
    "core::marker::Freeze",
    "core::marker::Unpin",
    "core::marker::UnsafeUnpin",
    "core::panic::unwind_safe::RefUnwindSafe",
    "core::panic::unwind_safe::UnwindSafe",
];

fn main() -> ExitCode {
    if env::var_os(AS_RUSTDOC).is_some() {
        return rustdoc(env::args_os().skip(1));
    }
    let accept = env::args().any(|arg| arg == "--accept");
    let outcomes = LIBRARIES.map(|(library, features)| compare(library, features, accept));
    let mut same = true;
    for outcome in outcomes {
        same &= outcome.unwrap_or_else(|error| {
            eprintln!("error: {error}");
            false
        });
    }
    if same {
        return ExitCode::SUCCESS;
    }
    eprintln!("\nIf the change is meant: cargo run -p api-snapshot -- --accept");
    ExitCode::FAILURE
}

/// Whether the API of a library is that of its snapshot, which is replaced if `accept`.
fn compare(library: &str, features: &str, accept: bool) -> Result<bool, Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let snapshot = here.join("snapshots").join(library).with_extension("txt");
    let json = rustdoc_json(library, features)?;
    let api = render(&json)?;
    if accept {
        fs::write(snapshot, api)?;
        return Ok(true);
    }
    let current = json.with_extension("txt");
    fs::write(&current, api)?;
    let difference = Command::new("git")
        .args(["--no-pager", "diff", "--no-index", "--"])
        .args([&snapshot, &current])
        .status()?;
    Ok(difference.success())
}

/// Runs cargo to write the library's documentation as JSON, with the dependencies that `cargo check` and `cargo doc`
/// use.
fn rustdoc_json(library: &str, features: &str) -> Result<PathBuf, Box<dyn Error>> {
    let status = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["rustdoc", "--quiet", "--locked", "--lib"])
        .args(["--package", library, "--features", features])
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .args(["--cap-lints", "allow"])
        .env("RUSTDOC", env::current_exe()?)
        .env(AS_RUSTDOC, "1")
        .status()?;
    if !status.success() {
        return Err(format!("cargo rustdoc --package {library} failed").into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let name = library.replace('-', "_");
    Ok(target.join("doc").join(name).with_extension("json"))
}

/// JSON is unstable, so it takes a nightly, or this variable. It is set for rustdoc alone: build scripts that see it
/// rebuild their crates, and all that depend on them.
fn rustdoc(args: impl Iterator<Item = OsString>) -> ExitCode {
    let status = Command::new("rustdoc")
        .args(args)
        .env("RUSTC_BOOTSTRAP", "1")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: rustdoc: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line for each item. Blanket implementations are the same for all types.
fn render(json: &Path) -> Result<String, Box<dyn Error>> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .build()?;
    let lines = api.items().map(|item| item.to_string());
    let kept = lines.filter(|line| {
        !(line.starts_with("impl") && UNINTERESTING.iter().any(|it| line.contains(it)))
    });
    Ok(kept.map(|line| line + "\n").collect())
}
