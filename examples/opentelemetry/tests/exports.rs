//! The example, run as it is, exports to a small receiver: the client's trace id arrives with every step of its message.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use matssocket_client::Client;
use matssocket_testing::program::Program;
use matssocket_testing::{free_port, within};
use serde_json::Value;

/// Takes one request after the other, and passes its JSON on.
fn receive(stream: TcpStream, to: &Sender<Value>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let _ = to.send(serde_json::from_slice(&body).expect("JSON"));
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        stream.get_mut().write_all(answer.as_bytes())?;
    }
}

/// Everything below that is called `spans`.
fn spans(told: &Value, found: &mut Vec<Value>) {
    match told {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Array(all) if name == "spans" => found.extend(all.iter().cloned()),
                    _ => spans(value, found),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|it| spans(it, found)),
        _ => {}
    }
}

fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a str> {
    let attributes = span["attributes"].as_array()?;
    let found = attributes.iter().find(|it| it["key"] == name)?;
    found["value"]["stringValue"].as_str()
}

#[tokio::test]
async fn every_step_of_an_order_is_exported_with_the_client_s_trace_id() {
    let receiver = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let collector = format!("http://{}", receiver.local_addr().expect("bound"));
    let (to, received) = channel();
    std::thread::spawn(move || {
        for stream in receiver.incoming().flatten() {
            let to = to.clone();
            std::thread::spawn(move || receive(stream, &to));
        }
    });
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port().to_string();
    let mut program = Command::new(env!("CARGO_BIN_EXE_opentelemetry-example"));
    program
        .current_dir(directory.path())
        .args(["shop.db", &port])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env_remove("RUST_LOG");
    let mut program = Program::start(&mut program);
    let url = program.line();
    let client = Client::builder("Test", "1")
        .url(url)
        .authorization_value("anna")
        .build()
        .expect("a proper URL");
    let order = client.request::<String>("order 17", "Shop.order", &3);
    let reply = within("the reply", order).await.expect("answered");
    assert_eq!(reply.payload(), "accepted");
    client.close("done").await;
    assert!(program.end("TERM").success());

    let mut all = Vec::new();
    received.try_iter().for_each(|told| spans(&told, &mut all));
    let mine = all
        .iter()
        .filter(|it| attribute(it, "trace_id") == Some("order 17"));
    let mut names: Vec<_> = mine
        .map(|it| it["name"].as_str().unwrap_or_default())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["attempt", "message"], "{all:#?}");
    let message = all
        .iter()
        .find(|it| it["name"] == "message")
        .expect("found");
    assert_eq!(attribute(message, "endpoint"), Some("Shop.order"));
    assert_eq!(attribute(message, "user_id"), Some("anna"));
    assert_eq!(attribute(message, "outcome"), Some("RESOLVE"));
    let within = all
        .iter()
        .filter(|it| it["parentSpanId"] == message["spanId"]);
    let mut within: Vec<_> = within
        .map(|it| it["name"].as_str().unwrap_or_default())
        .collect();
    within.sort_unstable();
    assert_eq!(within, ["commit", "handler"]);
}
