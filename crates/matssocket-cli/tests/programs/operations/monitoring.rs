//! `examples/monitoring`, the files that operators copy, read by a real Prometheus that scrapes a node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use matssocket_client::Client;
use matssocket_testing::free_port;
use matssocket_testing::program::{Program, http, run, within};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::said;
use super::serving::serve;

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/monitoring")
}

fn file(name: &str) -> String {
    fs::read_to_string(files().join(name)).expect("a file of the repository")
}

#[test]
fn each_alert_is_raised_by_what_it_is_about_and_by_nothing_else() {
    let promtool = |arguments: &[&str]| {
        said(&run(Command::new("promtool")
            .args(arguments)
            .current_dir(files())))
    };
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

/// A Prometheus that scrapes all the time.
struct Prometheus {
    _program: Program,
    port: u16,
}

impl Prometheus {
    fn start(directory: &Path, node: u16) -> Prometheus {
        let port = free_port();
        let mut configuration = file("prometheus.yml");
        for (theirs, ours) in [
            ("interval: 15s", "interval: 100ms"),
            ("10.0.0.11:8080", &*format!("127.0.0.1:{node}")),
            ("          - 10.0.0.12:8080\n", ""),
        ] {
            assert!(
                configuration.contains(theirs),
                "{theirs:?} is not in the file"
            );
            configuration = configuration.replace(theirs, ours);
        }
        fs::write(directory.join("prometheus.yml"), configuration).expect("writable");
        fs::write(directory.join("alerts.yml"), file("alerts.yml")).expect("writable");
        let mut prometheus = Command::new("prometheus");
        prometheus
            .current_dir(directory)
            .args(["--config.file=prometheus.yml", "--log.level=error"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Prometheus {
            _program: Program::start(&mut prometheus),
            port,
        }
    }

    /// Waits until it listens, and then until it answers queries.
    async fn is_up(&self) {
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            tokio::task::yield_now().await;
        }
        while http(self.port, "GET /-/ready", &[]).status != 200 {
            tokio::task::yield_now().await;
        }
    }

    fn get(&self, path: &str) -> Value {
        let response = http(self.port, &format!("GET /api/v1/{path}"), &[]);
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        // A long body comes as a chunk, with its length before it and an empty chunk behind it.
        let body = &response.body;
        let json = body.find('{').zip(body.rfind('}'));
        let json = json.map(|(start, end)| &body[start..=end]);
        let told: Value = serde_json::from_str(json.unwrap_or_default()).expect("JSON");
        told["data"].clone()
    }

    /// The values that a query finds, once it finds any.
    async fn ask(&self, query: &str) -> Vec<f64> {
        let path = format!(
            "query?query={}",
            utf8_percent_encode(query, NON_ALPHANUMERIC)
        );
        let finding = async {
            loop {
                let found = self.get(&path)["result"].clone();
                let found = found.as_array().expect("a vector");
                let value = |it: &Value| it["value"][1].as_str().and_then(|it| it.parse().ok());
                if !found.is_empty() {
                    return found.iter().filter_map(value).collect();
                }
                tokio::task::yield_now().await;
            }
        };
        within(&format!("anything by {query}"), finding).await
    }
}

/// The queries of all panels, for all nodes.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let mut queries = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$instance", ".*");
            queries.push((
                panel["title"].to_string(),
                query.replace("$__rate_interval", "5s"),
            ));
        }
    }
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

#[tokio::test]
async fn a_prometheus_sees_a_node_by_every_panel_and_judges_it_by_every_rule() {
    let directory = tempfile::tempdir().expect("a directory");
    let node = serve(directory.path(), &[]);
    let prometheus = Prometheus::start(directory.path(), node.port);
    let client = Client::builder("Tests", "1")
        .url(node.told["url"].as_str().expect("a URL"))
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    for _ in 0..10 {
        let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "hello"}));
        let _ = within("the reply", reply).await.expect("answered");
    }
    within("Prometheus", prometheus.is_up()).await;
    let calls = r#"matssocket_endpoint_calls_total{endpoint="Demo.echo",outcome="resolved"} == 10"#;
    assert_eq!(prometheus.ask(calls).await, [10.0]);
    assert_eq!(prometheus.ask("matssocket_sessions_connected").await, [1.0]);
    for (panel, query) in panels() {
        let values = prometheus.ask(&query).await;
        assert!(!values.is_empty(), "the panel {panel} shows nothing");
    }
    let groups = within("all rules to be judged", async {
        loop {
            let groups = prometheus.get("rules")["groups"].clone();
            if !groups.to_string().contains(r#""health":"unknown""#) {
                return groups;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let rules = groups[0]["rules"].as_array().expect("rules");
    assert_eq!(rules.len(), 8);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_eq!(rule["state"], "inactive", "nothing is wrong: {rule}");
    }
}
