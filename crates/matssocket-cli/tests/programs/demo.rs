//! The demo.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use matssocket_client::{Client, Message};
use serde_json::{Value, json};

use matssocket_testing::program::{
    Program, Response, assert_refused, collect, http, next, run, upgrade, within,
};

fn demo(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matssocket"));
    command.current_dir(directory);
    command
}

struct Demo {
    program: Program,
    ports: [u16; 2],
    directory: tempfile::TempDir,
}

impl Demo {
    fn start() -> Demo {
        let directory = tempfile::tempdir().expect("a directory");
        let mut program = Program::start(demo(directory.path()).args(["--ports", "0,0"]));
        let mut ports = Vec::new();
        while ports.len() < 2 {
            let line = program.line();
            if let Some((_, rest)) = line.split_once("http://127.0.0.1:") {
                ports.push(rest.trim_end_matches('/').parse().expect("a port"));
            }
        }
        // Its greeting is on the screen to the last line before a person acts.
        while !program.line().contains("Ctrl-C") {}
        Demo {
            program,
            ports: [ports[0], ports[1]],
            directory,
        }
    }

    fn client(&self) -> Client {
        Client::builder("Tests", "1")
            .urls(
                self.ports
                    .map(|port| format!("ws://127.0.0.1:{port}/matssocket")),
            )
            .shuffle(false)
            .authorization_value("Demo:anna")
            .build()
            .expect("URLs are fine")
    }

    /// Names of the nodes that are up, as this port tells.
    fn up(&self, port: u16) -> Vec<String> {
        let nodes = http(port, "GET /demo/nodes", &[]).json();
        let nodes = nodes["nodes"].as_array().expect("a list").clone();
        let up = nodes.iter().filter(|node| node["up"] == true);
        up.map(|node| node["name"].as_str().expect("a name").to_owned())
            .collect()
    }
}

async fn ask(client: &Client, endpoint: &str, payload: &Value) -> Value {
    let reply = within(
        endpoint,
        client.request::<Value>("trace", endpoint, payload),
    )
    .await;
    reply.expect("answered").resolved().expect("resolved")
}

/// It is taken for what it says it is, and shown in no other page.
fn assert_safe(response: &Response, path: &str) {
    assert_eq!(
        response.header("x-content-type-options"),
        Some("nosniff"),
        "{path}"
    );
    assert_eq!(response.header("x-frame-options"), Some("DENY"), "{path}");
    let policy = response.header("content-security-policy");
    assert!(
        policy.is_some_and(|policy| policy.contains("frame-ancestors 'none'")),
        "{path}: {policy:?}"
    );
}

#[test]
fn it_serves_the_page_and_tells_of_its_nodes() {
    let demo = Demo::start();
    let [first, second] = demo.ports;
    for (path, kind, contains) in [
        ("/", "text/html", "page.js"),
        ("/page.js", "text/javascript", "/matssocket/client.js"),
        ("/line.js", "text/javascript", "WebSocket"),
        ("/records.js", "text/javascript", "export"),
        ("/transcript.js", "text/javascript", "localStorage"),
        ("/page.css", "text/css", "{"),
    ] {
        let response = http(second, &format!("GET {path}"), &[]);
        assert_eq!(response.status, 200, "{path}");
        assert!(
            response
                .header("content-type")
                .is_some_and(|value| value.starts_with(kind)),
            "{path}"
        );
        assert!(response.body.contains(contains), "{path}");
        assert_safe(&response, path);
        let policy = response.header("content-security-policy");
        let policy = policy.expect("a policy");
        // The page speaks to both nodes, and has nothing inline.
        for source in [
            format!("ws://127.0.0.1:{first}"),
            format!("http://127.0.0.1:{second}"),
            "script-src 'self';".to_owned(),
            "style-src 'self';".to_owned(),
        ] {
            assert!(policy.contains(&source), "{source}: {policy}");
        }
    }
    let client = http(second, "GET /matssocket/client.js", &[]);
    assert_eq!(client.status, 200);
    assert!(client.body.contains("class"));
    let kind = client.header("content-type");
    assert!(kind.is_some_and(|kind| kind.starts_with("text/javascript")));
    assert_safe(&client, "/matssocket/client.js");
    let page = http(first, "GET /", &[]).body;
    for inline in ["<style", "style=", "<script>", " onclick="] {
        assert!(!page.contains(inline), "{inline} is against the policy");
    }
    assert_safe(&http(first, "GET /demo/nodes", &[]), "/demo/nodes");
    let neighbour = format!("http://localhost:{second}");
    let response = http(first, "GET /demo/nodes", &[&format!("Origin: {neighbour}")]);
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some(&*neighbour)
    );
    let expected = |name, port| {
        json!({
            "name": name, "url": format!("ws://127.0.0.1:{port}/matssocket"),
            "http": format!("http://127.0.0.1:{port}"), "up": true,
        })
    };
    assert_eq!(
        response.json(),
        json!({"nodes": [expected("node-A", first), expected("node-B", second)]})
    );
    assert_eq!(
        http(
            first,
            "OPTIONS /demo/stop-node",
            &[&format!("Origin: {neighbour}")]
        )
        .status,
        204
    );
    assert_eq!(
        http(
            first,
            "POST /demo/stop-node",
            &["Origin: https://elsewhere.example"]
        )
        .status,
        403
    );
    assert_eq!(
        upgrade(first, "/matssocket", &["Origin: https://elsewhere.example"]).status,
        403
    );
    assert_eq!(
        upgrade(first, "/matssocket", &[&format!("Origin: {neighbour}")]).status,
        101
    );
    assert!(demo.directory.path().join("matssocket-demo.db").exists());
}

#[tokio::test]
async fn its_endpoints_answer_and_name_their_node() {
    let demo = Demo::start();
    let client = demo.client();
    let (sender, mut chat) = tokio::sync::mpsc::unbounded_channel();
    let heard = move |message: Message<Value>| {
        let _ = sender.send(message);
        std::future::ready(())
    };
    let mut answers = client.topic_events();
    client
        .subscribe("Demo.chat", heard)
        .expect("a proper topic");
    client.reconnect();
    within("SUB_OK", answers.recv()).await.expect("an answer");
    let expected = json!({"text": "hello", "node": "node-A"});
    assert_eq!(
        ask(&client, "Demo.echo", &json!({"text": "hello"})).await,
        expected
    );
    assert_eq!(
        ask(
            &client,
            "Demo.slow",
            &json!({"text": "hello", "millis": 10})
        )
        .await["text"],
        "hello"
    );
    within(
        "the ACK",
        client.send("trace", "Demo.say", &json!({"text": "hi"})),
    )
    .await
    .expect("taken");
    assert_eq!(
        next(&mut chat).await.payload,
        json!({"user": "anna", "text": "hi", "node": "node-A"})
    );
}

#[tokio::test]
async fn pushes_arrive_once_and_in_order_while_nodes_stop_and_start() {
    const COUNT: u64 = 200;
    let demo = Demo::start();
    let [first, second] = demo.ports;
    let client = demo.client();
    let mut pushed = collect(&client, "Demo.pushed");
    for (stop, start, by) in [
        (first, "node-A", second),
        (second, "node-B", first),
        (first, "node-A", second),
    ] {
        let payload = json!({"text": "news", "millis": 1_500, "count": COUNT});
        within("the ACK", client.send("trace", "Demo.pushLater", &payload))
            .await
            .expect("taken");
        assert_eq!(http(stop, "POST /demo/stop-node", &[]).status, 204);
        assert_eq!(demo.up(by).len(), 1);
        assert_eq!(demo.up(stop), demo.up(by), "a stopped node still tells");
        assert_eq!(upgrade(stop, "/matssocket", &[]).status, 503);
        for number in 1..=COUNT {
            let message = next(&mut pushed).await;
            assert_eq!(message.payload["number"], number, "each once and in order");
        }
        assert_eq!(
            http(by, &format!("POST /demo/start-node?name={start}"), &[]).status,
            204
        );
        assert_eq!(demo.up(stop), ["node-A", "node-B"]);
        assert_eq!(upgrade(stop, "/matssocket", &[]).status, 101);
    }
    assert!(pushed.try_recv().is_err(), "nothing came twice");
    assert_eq!(
        http(first, "POST /demo/start-node?name=node-Z", &[]).status,
        404
    );
    assert_eq!(demo.program.end("INT").code(), Some(0));
}

#[tokio::test]
async fn a_session_outlives_the_whole_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("free")
        .port();
    let start = || {
        let mut program =
            Program::start(demo(directory.path()).args(["--ports", &port.to_string()]));
        while !program.line().contains("Ctrl-C") {}
        program
    };
    let program = start();
    let url = format!("ws://127.0.0.1:{port}/matssocket");
    let client = Client::builder("Tests", "1")
        .url(url)
        .authorization_value("Demo:anna")
        .build()
        .expect("fine");
    let mut pushed = collect(&client, "Demo.pushed");
    let payload = json!({"text": "news", "millis": 3_000, "count": 3});
    within("the ACK", client.send("trace", "Demo.pushLater", &payload))
        .await
        .expect("taken");
    let session = client.session_id();
    assert_eq!(program.end("INT").code(), Some(0));
    let _program = start();
    for number in 1..=3 {
        assert_eq!(next(&mut pushed).await.payload["number"], number);
    }
    assert_eq!(client.session_id(), session);
}

#[test]
fn ctrl_c_stops_it_at_once() {
    let demo = Demo::start();
    let before = std::time::Instant::now();
    assert_eq!(demo.program.end("INT").code(), Some(0));
    assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
}

#[test]
fn what_it_cannot_do_it_says_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for (arguments, contains) in [
        (
            &["--ports", &format!("0,{port}")][..],
            &[&*port, "in use"][..],
        ),
        (
            &["--ports", "0", "--database", "/does/not/exist/x.db"],
            &["/does/not/exist"],
        ),
        (&["--ports", "0", "--database", "."], &["."]),
        (&["--ports", "seventeen"], &["seventeen"]),
        (&["--ports", "8080,8080"], &["8080", "twice"]),
        (&["--colour"], &["--colour"]),
        (&["surplus"], &["surplus"]),
    ] {
        assert_refused(&run(demo(directory.path()).args(arguments)), contains);
    }
    let help = run(demo(directory.path()).arg("--help"));
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--database"));
}
