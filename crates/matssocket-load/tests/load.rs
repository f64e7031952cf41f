//! The load generator: every scenario against a real server, and against one that breaks promises.
#![cfg(unix)]

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::thread;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

#[cfg(feature = "postgres")]
use matssocket_testing::program::{Program, conformance};
use matssocket_testing::program::{Server, assert_refused, run};

fn load(arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_matssocket-load");
    run(Command::new(program).args(arguments.split(' ')))
}

/// Runs a scenario against these URLs; its exit code, and its figures.
fn figures(arguments: &str, urls: &[String]) -> (Option<i32>, Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("figures.json");
    let (urls, file) = (urls.join(","), json.display());
    let output = load(&format!("{arguments} --quiet --url {urls} --json {file}"));
    let text = std::fs::read_to_string(&json).unwrap_or_else(|why| {
        panic!("{arguments}: no figures, {why}: {output:?}");
    });
    let figures = serde_json::from_str(&text).expect("it is JSON");
    (output.status.code(), figures)
}

fn runs_without_an_error(arguments: &str, least: u64) {
    let server = Server::start();
    let pid = server.program.pid();
    let arguments = format!("{arguments} --server-pid {pid}");
    let (code, figures) = figures(&arguments, &server.urls());
    assert_eq!(code, Some(0), "{arguments}: {figures:#}");
    let count = figures["count"].as_u64().expect("a number");
    assert!(count >= least, "only {count} done by {arguments}");
    assert!(figures["server_cpu_seconds"].is_number(), "{figures:#}");
}

#[test]
fn requests_in_a_closed_loop() {
    runs_without_an_error("requests --sessions 4 --in-flight 3 --seconds 1", 12);
}

#[test]
fn requests_that_are_forwarded() {
    let forwarded = "requests --sessions 2 --in-flight 2 --seconds 1 --endpoint Test.single";
    runs_without_an_error(forwarded, 4);
}

#[test]
fn requests_at_a_rate_are_as_many_as_were_due() {
    runs_without_an_error(
        "requests --sessions 3 --rate 200 --seconds 1 --threads 2",
        200,
    );
}

#[test]
fn pushes_by_bursts() {
    runs_without_an_error(
        "pushes --sessions 3 --burst 20 --in-flight 2 --seconds 1",
        120,
    );
}

#[test]
fn pushes_one_by_one() {
    runs_without_an_error(
        "pushes --via thread --sessions 3 --in-flight 2 --seconds 1",
        6,
    );
}

#[test]
fn a_topic_with_subscribers_on_two_nodes() {
    runs_without_an_error("fanout --sessions 6 --rate 50 --seconds 1 --threads 2", 300);
}

#[test]
fn idle_sessions_stay_connected() {
    runs_without_an_error(
        "idle --sessions 20 --settle 0.2 --seconds 0.5 --ping 0.1",
        0,
    );
}

#[test]
fn a_storm_after_all_lines_were_cut() {
    runs_without_an_error("storm --sessions 10 --backlog 300 --threads 2", 10);
}

/// Runs a trial, with few others and for a short time; its figures. Whether the numbers were kept is not asked: on a
/// busy machine they need not be.
fn tried(arguments: &str, server: &Server) -> Value {
    let few = "--idle 2 --paced 2 --quiet-seconds 0.3 --seconds 0.7";
    let pid = server.program.pid();
    let arguments = format!("{arguments} {few} --server-pid {pid}");
    let (code, figures) = figures(&arguments, &server.urls());
    assert!(
        matches!(code, Some(0 | 1)),
        "{arguments}: {code:?} {figures:#}"
    );
    let failed = figures["failed"].as_array().expect("a list");
    assert_eq!(code == Some(0), failed.is_empty(), "{figures:#}");
    figures
}

/// Each of these was counted.
fn assert_counted(figures: &Value, names: &[&str]) {
    for name in names {
        let number = figures[name].as_f64();
        assert!(number.is_some_and(|it| it > 0.0), "{name}: {figures:#}");
    }
}

#[test]
fn a_trial_with_a_greedy_user() {
    let figures = tried("greedy --sessions 2 --in-flight 5", &Server::start());
    let counted = [
        "quiet: requests, number",
        "quiet: HELLO, number",
        "greedy: requests, number",
        "greedy: requests, p99 ms",
        "the greedy user's, per second",
    ];
    assert_counted(&figures, &counted);
    assert_eq!(figures["greedy: lines closed"], 0.0, "{figures:#}");
    assert_eq!(figures["leases lost"], 0.0, "{figures:#}");
}

#[test]
fn a_trial_of_memory_in_all_cases() {
    let server = Server::start();
    let figures = tried("memory --connections 2 --bytes 1000000", &server);
    for case in ["frames", "fragments", "history", "outbox"] {
        let counted = [
            format!("{case}: requests, number"),
            format!("{case}: the server's memory, MiB"),
        ];
        assert_counted(&figures, &counted.each_ref().map(String::as_str));
    }
}

#[test]
fn a_trial_of_memory_notices_too_much() {
    let server = Server::start();
    let figures = tried("memory --case history --bytes 1000 --budget 1000", &server);
    let failed = figures["failed"].as_array().expect("a list");
    assert!(
        failed.contains(&json!("history: the server's memory, MiB")),
        "{figures:#}"
    );
}

#[test]
fn a_trial_with_sessions_that_come_back() {
    let resume = "resume --sessions 6 --backlog 5 --size 100000";
    let figures = tried(resume, &Server::start());
    assert_counted(&figures, &["stored, MB", "all have theirs after, s"]);
    assert_eq!(figures["sessions without all of theirs"], 0.0);
}

#[test]
fn a_trial_with_a_service_that_does_not_end() {
    let figures = tried("services --jobs 20 --users 2", &Server::start());
    let counted = ["with the jobs: requests, number", "jobs accepted"];
    assert_counted(&figures, &counted);
    assert_eq!(figures["jobs neither"], 0.0, "{figures:#}");
}

#[test]
fn a_trial_in_which_nobody_asks_too_much() {
    let figures = tried("steady", &Server::start());
    assert_counted(&figures, &["steady: requests, number"]);
    assert_eq!(figures["leases lost"], 0.0, "{figures:#}");
}

/// Runs `sustained` for three windows, with a plot; its exit code, what it printed, and its figures.
fn sustained(arguments: &str, server: &Server) -> (Option<i32>, String, Value) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (json, plot) = (path("figures.json"), path("plot.svg"));
    let url = &server.urls()[0];
    let output = load(&format!(
        "sustained --sessions 4 --window 0.5 --seconds 1.5 --quiet --url {url} --json {json} --plot {plot} {arguments}"
    ));
    let read = |path: &str| {
        std::fs::read_to_string(path).unwrap_or_else(|why| panic!("{path}: {why}: {output:?}"))
    };
    assert!(read(&plot).contains("messages per second"), "{output:?}");
    let figures = serde_json::from_str(&read(&json)).expect("it is JSON");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text, figures)
}

#[test]
fn a_mix_over_time_is_told_window_by_window_and_judged() {
    let server = Server::start();
    let mix = "--mix requests=3,pushes=1,forwards=1";
    let (code, text, figures) = sustained(mix, &server);
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines().map(str::split_whitespace);
    let titles: Vec<_> = lines.next().expect("titles").collect();
    assert_eq!(titles[..5], ["s", "requests/s", "p50", "ms", "p99"]);
    let mut sums = [0.0; 3];
    for at in ["0.5", "1", "1.5"] {
        let line: Vec<_> = lines.next().expect("a line for each window").collect();
        assert_eq!((line[0], line.len() >= 10), (at, true), "{text}");
        for (sum, rate) in sums.iter_mut().zip([line[1], line[4], line[7]]) {
            *sum += rate.replace(',', "").parse::<f64>().expect("a number");
        }
    }
    assert!(sums.iter().all(|sum| *sum > 0.0), "{text}");
    assert!(
        text.contains("all: slowest window, % of the median"),
        "{text}"
    );
    assert!(text.ends_with("sustained: kept\n"), "{text}");
    let windows = figures["sustained"]["windows"].as_array();
    assert_eq!(windows.map(Vec::len), Some(3), "{figures:#}");
}

#[test]
fn kinds_that_take_turns_are_judged_one_by_one() {
    let turns = "--mix requests,pushes --phase 0.5 --p99 0.001ms";
    let (code, text, figures) = sustained(turns, &Server::start());
    assert_eq!(code, Some(1), "{text}");
    let failed = [
        "requests: highest p99 of a window, ms",
        "pushes: highest p99 of a window, ms",
    ];
    assert_eq!(figures["sustained"]["verdict"]["failed"], json!(failed));
}

#[cfg(feature = "postgres")]
#[test]
fn a_run_tells_what_goes_on_in_its_postgres() {
    let schema = matssocket_testing::postgres::Schema::new();
    let (database, name) = (matssocket_testing::postgres::url(), schema.name());
    let server = Server::start_with(&["--database", &database, "--schema", name]);
    let observe = format!("--postgres {database} --schema {name} --hold-xmin 0..1.5");
    let (code, text, figures) = sustained(&observe, &server);
    assert_eq!(code, Some(0), "{text}");
    for told in ["inbox ", "WAL ", "xmin held"] {
        assert!(text.contains(told), "{told:?} is not in:\n{text}");
    }
    let inside = &figures["sustained"]["windows"][2]["inside"];
    let wal_bytes = inside["wal_bytes"].as_u64();
    assert!(wal_bytes.is_some_and(|bytes| bytes > 0), "{figures:#}");
}

/// Two processes on one PostgreSQL; the one that holds all sessions is killed.
#[cfg(feature = "postgres")]
#[test]
fn a_storm_after_their_node_was_killed() {
    let schema = matssocket_testing::postgres::Schema::new();
    let (database, name) = (matssocket_testing::postgres::url(), schema.name());
    let start = |node: &str| {
        let mut command = conformance();
        command.args([
            "--node",
            node,
            "--port",
            "0",
            "--database",
            &database,
            "--schema",
            name,
        ]);
        let mut program = Program::start(&mut command);
        let line = program.line();
        let url = line.split(' ').nth(1).expect("ready URL node").to_owned();
        (program, url)
    };
    let (first, second) = (start("first"), start("second"));
    let storm = format!("storm --sessions 10 --kill-pid {}", first.0.pid());
    let (code, figures) = figures(&storm, &[first.1, second.1]);
    assert_eq!(code, Some(0), "{figures:#}");
    assert_eq!(figures["count"], 10);
}

/// What a server of ours answers to one envelope: nothing, or a pipeline.
type Answer = fn(&Value) -> Option<Value>;

/// A server that answers like this, and welcomes whoever comes.
fn server(answer: Answer) -> String {
    let (sender, address) = std::sync::mpsc::channel::<SocketAddr>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let _ = sender.send(listener.local_addr().expect("bound"));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, answer));
            }
        });
    });
    format!("ws://{}/matssocket", address.recv().expect("it listens"))
}

#[allow(clippy::result_large_err)] // tungstenite's callback
async fn converse(stream: TcpStream, answer: Answer) {
    let protocol = |_: &Request, mut response: Response| {
        let matssocket = "matssocket".parse().expect("a header");
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", matssocket);
        Ok(response)
    };
    let Ok(mut socket) = accept_hdr_async(stream, protocol).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        let Ok(text) = message.to_text() else {
            continue;
        };
        let pipeline: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
        for envelope in pipeline {
            let said = match envelope["t"].as_str() {
                Some("HELLO") => Some(json!([{"t": "WELCOME", "sid": "session"}])),
                _ => answer(&envelope),
            };
            if let Some(said) = said {
                let _ = socket.send(Message::text(said.to_string())).await;
            }
        }
    }
}

/// The tool says so, by its exit code and in its figures.
fn is_noticed(fault: &str, arguments: &str, answer: Answer) {
    let url = server(answer);
    let arguments = format!("{arguments} --sessions 1 --seconds 0.2 --patience 0.2");
    let (code, figures) = figures(&arguments, &[url]);
    assert_eq!(code, Some(1), "{figures:#}");
    let times = figures["faults"][fault].as_u64();
    assert!(
        times.is_some_and(|times| times > 0),
        "not {fault}: {figures:#}"
    );
}

fn resolve(request: &Value) -> Value {
    json!({"t": "RESOLVE", "cmid": request["cmid"].to_string(), "msg": 1})
}

fn is(envelope: &Value, t: &str) -> bool {
    envelope["t"] == t
}

#[test]
fn a_reply_that_comes_twice_is_noticed() {
    is_noticed("doubled", "requests", |envelope| {
        is(envelope, "REQUEST").then(|| json!([resolve(envelope), resolve(envelope)]))
    });
}

#[test]
fn a_reply_that_does_not_come_is_noticed() {
    is_noticed("lost", "requests --in-flight 3", |envelope| {
        (is(envelope, "REQUEST") && envelope["cmid"] != 2).then(|| json!([resolve(envelope)]))
    });
}

#[test]
fn a_reply_that_refuses_is_noticed() {
    is_noticed("refused", "requests", |envelope| {
        let nack = json!([{"t": "NACK", "cmid": envelope["cmid"].to_string(), "desc": "no"}]);
        is(envelope, "REQUEST").then_some(nack)
    });
}

#[test]
fn pushes_out_of_order_are_noticed() {
    is_noticed("reordered", "pushes --burst 2", |envelope| {
        let push = |number: u32| {
            json!({"t": "SEND", "smid": format!("s-{number}"), "tid": envelope["tid"],
                "msg": {"number": number}})
        };
        is(envelope, "SEND").then(|| json!([push(1), push(0)]))
    });
}

#[test]
fn acknowledgements_that_are_not_answered_are_noticed() {
    is_noticed("lost", "pushes --burst 1", |envelope| {
        let push = json!({"t": "SEND", "smid": "s", "tid": envelope["tid"], "msg": {"number": 0}});
        is(envelope, "SEND").then(|| json!([push]))
    });
}

#[test]
fn what_it_does_not_understand_is_refused() {
    let url = "--url ws://127.0.0.1:1/matssocket";
    for (arguments, contains) in [
        ("rain".to_owned(), "rain"),
        ("requests".to_owned(), "--url"),
        (
            "requests --url http://localhost/".to_owned(),
            "http://localhost/",
        ),
        (format!("requests {url} --sessions 0"), "0 is too few"),
        (
            format!("requests {url} --in-flight 2 --rate 3"),
            "cannot be used with",
        ),
        (format!("idle {url} --rate 3"), "--rate"),
        (format!("storm {url} --kill-pid 1"), "second --url"),
        (format!("idle {url} --user anna"), "--user"),
        ("greedy".to_owned(), "--url"),
        (format!("greedy {url} --jobs 3"), "--jobs"),
        (format!("greedy {url} --paced 0"), "0 is too few"),
        (format!("steady {url} --stored"), "--stored"),
        (format!("memory {url}"), "--server-pid"),
        (format!("memory {url} --case holes"), "holes"),
        (format!("services {url} --kill-pid 1"), "second --url"),
        (format!("requests {url} --window 1"), "--window"),
        (format!("sustained {url} --mix rain"), "rain"),
        (format!("sustained {url} --seconds 15"), "--seconds"),
        (format!("sustained {url} --growth 200"), "--postgres"),
        (format!("sustained {url} --rate 5 --burst 2"), "one by one"),
    ] {
        let output = load(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(contains), "{arguments}: {said}");
    }
    for scenario in ["requests --quiet", "greedy"] {
        assert_refused(&load(&format!("{scenario} {url}")), &["127.0.0.1:1"]);
    }
}
