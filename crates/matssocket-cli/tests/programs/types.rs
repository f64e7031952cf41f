//! `matssocket types`: what it reads and writes, and what it refuses. What the types say is tested beside the browser
//! client, with its compiler.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use super::operations::{assert_failed, done, matssocket};
use matssocket_testing::program::run;

fn document(payload: &str) -> String {
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "shop", "version": "1" },
        "channels": { "a": {
            "address": "Visits.end",
            "x-matssocket-kind": "terminator",
            "messages": { "payload": { "payload": { "type": payload }, "x-matssocket-type": "SEND" } },
        } },
    })
    .to_string()
}

#[test]
fn a_file_is_written_once_and_checked() {
    let there = tempfile::tempdir().expect("a directory");
    let there = there.path();
    let out = there.join("api.ts");
    fs::write(there.join("schema.json"), document("string")).expect("written");
    let printed = done(there, &["types", "--schema", "schema.json"]);
    assert!(printed.contains("\"Visits.end\": string;"), "{printed}");

    let writes = ["types", "--schema", "schema.json", "--out", "api.ts"];
    let checks = [&writes[..], &["--check"]].concat();
    assert_failed(
        &run(&mut matssocket(there, &checks)),
        1,
        &["api.ts is not current"],
    );
    assert!(!out.exists(), "--check writes nothing");
    assert_eq!(done(there, &writes), "");
    assert_eq!(fs::read_to_string(&out).expect("written"), printed);
    assert_eq!(done(there, &checks), "");
    fs::write(&out, printed.replace('\n', "\r\n")).expect("written");
    assert_eq!(done(there, &checks), "", "line ends of another system");

    fs::write(there.join("schema.json"), document("number")).expect("written");
    let remedy = "run matssocket types --schema schema.json --out api.ts";
    assert_failed(&run(&mut matssocket(there, &checks)), 1, &[remedy]);
}

#[test]
fn the_standard_input_is_read() {
    let there = tempfile::tempdir().expect("a directory");
    let mut program = matssocket(there.path(), &["types", "--schema", "-"]);
    let mut child =
        (program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()).expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(document("boolean").as_bytes())
        .expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("ended");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("\"Visits.end\": boolean;"), "{printed}");
}

#[test]
fn what_is_no_schema_of_a_server_is_refused() {
    let there = tempfile::tempdir().expect("a directory");
    let there = there.path();
    let refused = |text: &str, why: &str| {
        fs::write(there.join("bad.json"), text).expect("written");
        let output = run(&mut matssocket(there, &["types", "--schema", "bad.json"]));
        assert_failed(
            &output,
            1,
            &["bad.json", why, "what the server's schema() prints"],
        );
    };
    refused("nothing", "line 1");
    refused("{}", "missing field");
    refused(&document("string").replace("3.0.0", "2.6.0"), "\"2.6.0\"");
    refused(
        &document("string").replace("\"terminator\"", "\"kettle\""),
        "kettle",
    );
    let missing = run(&mut matssocket(there, &["types", "--schema", "none.json"]));
    assert_failed(&missing, 1, &["cannot read the schema none.json"]);
    let unchecked = run(&mut matssocket(
        there,
        &["types", "--schema", "x", "--check"],
    ));
    assert_failed(&unchecked, 2, &["--out"]);
}
