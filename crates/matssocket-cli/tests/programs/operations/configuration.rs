//! Where settings come from.

use std::fs;

use serde_json::{Value, json};

use super::{assert_failed, done, json, matssocket};
use matssocket_testing::program::run;

#[test]
fn the_command_line_comes_before_the_environment_and_that_before_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = "# ours\nstop_grace = \"1s\"\nstop_spread = \"1s\"\nlease = \"31s\"\nmax_inbox = 7\n\
                allowed_origins = [\"https://a.example\", \"https://b.example\"]\n";
    fs::write(directory.path().join("ours.toml"), file).expect("writable");
    let mut command = matssocket(
        directory.path(),
        &[
            "serve",
            "--print-config",
            "--json",
            "--stop-grace",
            "3s",
            "--reveal-errors",
        ],
    );
    command
        .env("MATSSOCKET_CONFIG", "ours.toml")
        .env("MATSSOCKET_STOP_GRACE", "2s")
        .env("MATSSOCKET_STOP_SPREAD", "2s")
        .env("MATSSOCKET_LISTEN", "")
        .env("MATSSOCKET_SERVICE_HOST", "10.0.0.1");
    let config: Value = serde_json::from_slice(&run(&mut command).stdout).expect("JSON");
    for (key, value, from) in [
        ("stop_grace", "3s", "the command line, --stop-grace"),
        (
            "stop_spread",
            "2s",
            "the environment, MATSSOCKET_STOP_SPREAD",
        ),
        ("lease", "31s", "ours.toml, line 4"),
        ("max_inbox", "7", "ours.toml, line 5"),
        (
            "allowed_origins",
            "https://a.example,https://b.example",
            "ours.toml, line 6",
        ),
        ("reveal_errors", "true", "the command line, --reveal-errors"),
        ("listen", "127.0.0.1:8080", "the default"),
    ] {
        assert_eq!(config[key], json!({"value": value, "from": from}), "{key}");
    }
}

#[test]
fn what_is_printed_can_be_a_file_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let arguments = [
        "serve",
        "--print-config",
        "--stop-grace",
        "3s",
        "--window",
        "7",
    ];
    let printed = done(there, &arguments);
    fs::write(there.join("printed.toml"), &printed).expect("writable");
    let again = json(
        there,
        &["serve", "--print-config", "--config", "printed.toml"],
    );
    assert_eq!(again["stop_grace"]["value"], "3s");
    assert_eq!(again["window"]["value"], "7");
    assert_eq!(again["node_name"]["value"], Value::Null);
}

#[test]
fn passwords_are_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = "postgres://anna:secret@db.example/app";
    let arguments = [
        "serve",
        "--print-config",
        "--store",
        url,
        "--listen-url",
        url,
    ];
    for more in [&[][..], &["--json"]] {
        let printed = done(directory.path(), &[&arguments[..], more].concat());
        assert!(
            printed.contains("postgres://anna:***@db.example/app"),
            "{printed}"
        );
        assert!(!printed.contains("secret"), "{printed}");
    }
}

#[test]
fn passwords_are_not_shown_in_whatever_form_they_are_given() {
    let directory = tempfile::tempdir().expect("a directory");
    for (url, shown) in [
        ("host=db password='a secret'", "host=db password=***"),
        (
            "postgres://db/app?pass%77ord=secret&options=-csecret",
            "postgres://db/app?pass%77ord=***&options=***",
        ),
        ("postgres://db/app?SSLPassword=secret", "SSLPassword=***"),
    ] {
        let arguments = ["serve", "--print-config", "--listen-url", url];
        for more in [&[][..], &["--json"]] {
            let printed = done(directory.path(), &[&arguments[..], more].concat());
            assert!(printed.contains(shown), "{printed}");
            assert!(!printed.contains("secret"), "{printed}");
        }
    }
    // Of a file that is not TOML, nothing is shown.
    let file = "store = postgres://anna:secret@db.example/app";
    fs::write(directory.path().join("bad.toml"), file).expect("writable");
    let arguments = ["nodes", "--config", "bad.toml"];
    let output = run(&mut matssocket(directory.path(), &arguments));
    assert_failed(&output, 2, &["bad.toml", "not TOML"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("secret"), "{stderr}");
}

#[test]
fn a_bad_value_is_named_with_its_origin_and_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    for (file, contains) in [
        (
            "stop_grce = \"3s\"",
            &["\"stop_grce\"", "line 1", "stop_grace"][..],
        ),
        ("\nstop_grace = 3", &["stop_grace = \"3\"", "line 2", "5s"]),
        ("stop_grace = 3.5", &["stop_grace", "float"]),
        ("stop_grace = [", &["not TOML", "line 1"]),
        ("[limits]\nlease = \"3s\"", &["limits"]),
        ("max_inbox = -1", &["max_inbox = \"-1\"", "whole number"]),
        ("max_inbox = 0", &["max_inbox = 0 must", "line 1"]),
        ("\nwriters = 0", &["store.writers = 0 must", "line 2"]),
        ("max_message = \"5\"", &["max_message", "50MiB"]),
        ("lease = \"0s\"", &["lease = 0s must", "line 1"]),
        (
            "lease_interval = \"3s\"\nlease = \"6s\"",
            &["half of lease = 6s", "raise lease", "line 1", "line 2"],
        ),
        (
            "window = 0\nlease = \"soon\"\nstop_grace = \"\"",
            &["window = 0", "lease = \"soon\"", "stop_grace = \"\""],
        ),
        ("reveal_errors = \"yes\"", &["true nor false"]),
        ("store = \"\"", &["names no store"]),
    ] {
        fs::write(directory.path().join("bad.toml"), file).expect("writable");
        let arguments = ["serve", "--print-config", "--config", "bad.toml"];
        let output = run(&mut matssocket(directory.path(), &arguments));
        assert_failed(&output, 2, &[contains, &["bad.toml"]].concat());
    }
    let missing = ["nodes", "--config", "missing.toml"];
    assert_failed(
        &run(&mut matssocket(directory.path(), &missing)),
        2,
        &["missing.toml", "cannot be read"],
    );
    let mut command = matssocket(directory.path(), &["nodes"]);
    command.env("MATSSOCKET_LEASE", "soon");
    assert_failed(
        &run(&mut command),
        2,
        &["lease = \"soon\"", "MATSSOCKET_LEASE", "5s"],
    );
}
