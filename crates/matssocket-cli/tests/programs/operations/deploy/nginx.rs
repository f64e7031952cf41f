//! `nginx.conf`, before two nodes.

use std::fs;
use std::path::Path;
use std::process::Command;

use matssocket_client::Client;
use matssocket_testing::free_port;
use matssocket_testing::postgres::{self, Schema};
use matssocket_testing::program::{Program, http, run, within};
use serde_json::{Value, json};

use super::super::serving::{Served, serve};
use super::file;

/// The configuration with other addresses, so that it can be used here: the rest is as it is in the file.
fn adapted([plain, tls]: [u16; 2], nodes: [u16; 2]) -> String {
    let [first, second] = nodes.map(|port| format!("127.0.0.1:{port}"));
    let mut text = file("nginx.conf");
    for (theirs, ours) in [
        ("10.0.0.11:8080", &*first),
        ("10.0.0.12:8080", &*second),
        ("/etc/ssl/shop.example.pem", "certificate.pem"),
        ("/etc/ssl/shop.example.key", "certificate.key"),
        // Beside the TLS port, whose certificate no client here would accept.
        (
            "listen 443 ssl;",
            &*format!("listen 127.0.0.1:{tls} ssl; listen 127.0.0.1:{plain};"),
        ),
    ] {
        assert!(text.contains(theirs), "{theirs} is not in the file");
        text = text.replace(theirs, ours);
    }
    // For a test that need not be root: everything in its own directory.
    let own: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {what};"))
        .concat();
    format!(
        "error_log stderr;\npid nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{own}\n{text}}}\n"
    )
}

fn make_certificate(directory: &Path) {
    let words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=shop.example -keyout certificate.key -out certificate.pem";
    let output = run(Command::new("openssl")
        .current_dir(directory)
        .args(words.split(' ')));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn start(directory: &Path, configuration: &str) -> Program {
    make_certificate(directory);
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration).expect("writable");
    // Debian keeps it where only root looks for programs.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut nginx = Command::new("nginx");
    nginx
        .env("PATH", path)
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&file);
    // A single process in the foreground, which ends when it is killed.
    Program::start(nginx.args(["-e", "stderr", "-g", "daemon off; master_process off;"]))
}

async fn ask(client: &Client) -> String {
    let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "hello"}));
    let reply = within("the reply", reply).await.expect("answered");
    reply.resolved().expect("resolved")["node"]
        .as_str()
        .expect("a name")
        .to_owned()
}

#[tokio::test]
async fn clients_reach_a_node_through_nginx_and_the_other_when_it_stops() {
    let (directory, schema) = (tempfile::tempdir().expect("a directory"), Schema::new());
    let node = |name: &str| {
        let (store, schema) = (postgres::url(), schema.name());
        let arguments = [
            "--store",
            &store,
            "--schema",
            schema,
            "--node-name",
            name,
            "--trusted-proxies",
            "127.0.0.1",
        ];
        serve(directory.path(), &arguments)
    };
    let mut nodes = [node("one"), node("two")].map(Some);
    let ports = nodes
        .each_ref()
        .map(|it| it.as_ref().map_or(0, |served: &Served| served.port));
    let (port, tls) = (free_port(), free_port());
    let _nginx = start(directory.path(), &adapted([port, tls], ports));

    let client = Client::builder("Tests", "1")
        .url(format!("ws://127.0.0.1:{port}/matssocket"))
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    let first = ask(&client).await;
    assert_eq!(http(port, "GET /matssocket/ready", &[]).status, 200);
    assert_eq!(
        http(port, "GET /metrics", &[]).status,
        404,
        "not for everybody"
    );

    let stopped = nodes[usize::from(first == "two")].take().expect("it runs");
    assert_eq!(stopped.program.end("TERM").code(), Some(0));
    assert_ne!(ask(&client).await, first);
    // nginx may know that the node is gone, or find out now.
    for _ in 0..4 {
        assert_eq!(http(port, "GET /matssocket/ready", &[]).status, 200);
    }
}
