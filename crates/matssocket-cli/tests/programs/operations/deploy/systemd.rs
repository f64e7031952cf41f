//! `matssocket.service`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Settings, file};

/// The values of a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let pairs = unit.lines().filter_map(|line| line.split_once('='));
    pairs
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn a_service_has_time_to_stop() {
    let unit = file("matssocket.service");
    let command: Vec<&str> = values(&unit, "ExecStart")[0].split(' ').collect();
    let pair = |text: &str| {
        let (name, value) = text.split_once('=').expect("name and value");
        (name.to_owned(), value.to_owned())
    };
    let mut environment: BTreeMap<_, _> =
        values(&unit, "Environment").into_iter().map(pair).collect();
    // What the comment at the top puts into the file of the environment.
    let store = unit
        .lines()
        .find_map(|line| line.strip_prefix("#     MATSSOCKET_STORE="));
    environment.insert(
        "MATSSOCKET_STORE".to_owned(),
        store.expect("an example").to_owned(),
    );
    let settings = Settings::of(&command, &environment);
    let timeout = values(&unit, "TimeoutStopSec")[0]
        .parse()
        .map(Duration::from_secs);
    assert!(
        timeout.expect("seconds") >= settings.longest_stop(),
        "{:?}",
        settings.longest_stop()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_accepts_the_service() {
    use std::process::Command;

    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path().join("matssocket.service");
    // It looks whether the program is there.
    let unit = file("matssocket.service").replace(super::PROGRAM, env!("CARGO_BIN_EXE_matssocket"));
    std::fs::write(&copy, unit).expect("writable");
    for question in [
        &["verify", "--man=no"][..],
        // The exposure, times ten, of services that systemd itself calls OK is below 50.
        &["security", "--offline=true", "--threshold=20"],
    ] {
        let output = Command::new("systemd-analyze")
            .args(question)
            .arg(&copy)
            .output();
        let output = output.expect("systemd-analyze runs: is systemd installed?");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{question:?}: {said}");
        // What it does not know is a warning to it, and nothing more.
        assert!(!said.contains("matssocket.service"), "{question:?}: {said}");
    }
}
