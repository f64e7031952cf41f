//! kill -9: what was accepted is there when the process is back, and is done once.
#![cfg(target_os = "linux")]

use std::collections::HashSet;

use matssocket_testing::child::{Process, serve_if_child};
use matssocket_testing::line::http;
use matssocket_testing::*;

#[test]
fn child() {
    serve_if_child();
}

async fn get(process: &Process, path: &str) -> String {
    let (status, response) = http(process.address, &format!("GET {path} HTTP/1.1")).await;
    assert_eq!(status, 200, "{response}");
    response
        .rsplit("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[actix_web::test]
async fn what_was_accepted_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start("child", &directory.path().join("store.db"));
    let mut line = Line::open(&process.url, "anna").await;
    let session = line.session().to_owned();

    // In the outbox; forwarded and in work; handled at once, its answer not acknowledged.
    for number in 0..50 {
        assert!(
            get(&process, &format!("/send/{session}/{number}"))
                .await
                .contains("Ok")
        );
    }
    let mut forwarded = HashSet::new();
    for _ in 0..20 {
        let msg = json!({"do": "forward", "work": "send", "work gate": "g"});
        let cmid = line.request("test.do", msg).await;
        line.expect_id("ACK", &cmid).await;
        forwarded.insert(cmid);
    }
    let effect = line.next_cmid();
    let effect_tid = line.tid(&effect);
    let effect = line.envelope("REQUEST", &effect, "test.effect", json!({}));
    line.send(json!([effect])).await;
    line.expect("RESOLVE").await;
    let client = line.cut();
    process.kill();

    process.restart("child");
    let mut line = client.welcome(&process.url).await;
    assert_eq!(line.session(), session);
    get(&process, "/open/g").await;
    line.send(json!([effect])).await;
    let repeated = line
        .expect_id("RESOLVE", effect["cmid"].as_str().unwrap())
        .await;
    assert!(
        repeated["desc"]
            .as_str()
            .unwrap_or_default()
            .contains("dupe"),
        "{repeated}"
    );

    let (mut next, mut effects, mut replies, mut works) = (0, 0, HashSet::new(), 0);
    let mut smids = HashSet::new();
    while next < 50 || replies.len() < 20 || works < 20 || effects < 1 {
        let mail = line
            .expect_where("mail", |e| e["t"] == "SEND" || e["t"] == "RESOLVE")
            .await;
        assert!(smids.insert(mail["smid"].clone()), "twice: {mail}");
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        if mail["t"] == "RESOLVE" {
            let cmid = mail["cmid"].as_str().unwrap().to_owned();
            assert!(forwarded.contains(&cmid) && replies.insert(cmid), "{mail}");
        } else if mail["tid"] == "sent" {
            assert_eq!(mail["msg"], next);
            next += 1;
        } else if mail["tid"] == "from service" {
            works += 1;
        } else {
            assert_eq!(mail["tid"], effect_tid);
            effects += 1;
        }
    }
    line.none("SEND").await;
    line.none("RESOLVE").await;
    assert_eq!((next, effects, works), (50, 1, 20));
}

/// Committed with the answers; in progress, or not even due, when the process dies.
#[actix_web::test]
async fn what_was_started_beside_an_answer_survives_kill_9() {
    const REQUESTS: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start("child", &directory.path().join("store.db"));
    let mut line = Line::open(&process.url, "anna").await;
    for number in 0..REQUESTS {
        let work = |n: usize| json!({"work": "send", "work gate": "g", "n": n});
        for (after, n) in [(0, number), (1_500, REQUESTS + number)] {
            let msg = json!({"start": [work(n)], "after": after});
            let cmid = line.request("test.start", msg).await;
            line.expect_id("RESOLVE", &cmid).await;
        }
    }
    let client = line.cut();
    process.kill();

    process.restart("child");
    let mut line = client.welcome(&process.url).await;
    get(&process, "/open/g").await;
    let mut done = HashSet::new();
    let mut smids = HashSet::new();
    while done.len() < 2 * REQUESTS {
        let effect = line.expect("SEND").await;
        line.ack(&effect).await;
        assert!(smids.insert(effect["smid"].clone()), "twice: {effect}");
        assert!(done.insert(effect["msg"]["n"].clone()), "twice: {effect}");
    }
    line.none("SEND").await;
}

/// Kills the process again and again while it is worked with; every accepted message must have its one effect.
#[actix_web::test]
async fn a_process_killed_again_and_again_loses_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start("child", &directory.path().join("store.db"));
    let mut client = Line::open(&process.url, "anna").await.cut();
    let mut open: Vec<Value> = Vec::new();
    let mut effects: HashSet<String> = HashSet::new();
    let mut smids: HashSet<String> = HashSet::new();
    for round in 0..4 {
        let mut line = client.welcome(&process.url).await;
        for _ in 0..40 {
            let cmid = line.next_cmid();
            open.push(line.envelope("REQUEST", &cmid, "test.effect", json!({})));
        }
        // Most rounds end in the midst of it.
        for envelope in open.clone() {
            line.send(json!([envelope])).await;
        }
        let enough = if round == 3 {
            usize::MAX
        } else {
            5 + round * 3
        };
        let mut taken = 0;
        while taken < enough && !(open.is_empty() && effects.len() == 160) {
            let envelope = line
                .expect_where("mail", |e| e["t"] == "SEND" || e["t"] == "RESOLVE")
                .await;
            taken += 1;
            if envelope["t"] == "RESOLVE" {
                open.retain(|sent| sent["cmid"] != envelope["cmid"]);
                continue;
            }
            line.send(json!([{"t": "ACK", "smid": envelope["smid"]}]))
                .await;
            // The client knows a repeated delivery by its id.
            if smids.insert(envelope["smid"].as_str().unwrap().to_owned()) {
                assert!(
                    effects.insert(envelope["tid"].as_str().unwrap().to_owned()),
                    "two effects: {envelope}"
                );
            }
        }
        client = line.cut();
        process.kill();
        process.restart("child");
    }
    assert_eq!(effects.len(), 160);
}

#[actix_web::test]
async fn a_second_process_on_the_same_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let _process = Process::start("child", &path);
    let refused = matssocket::MatsSocketServer::builder("second")
        .store(matssocket::Store::sqlite(&path))
        .authentication(matssocket_testing::auth::TestAuth(Control::new()))
        .start()
        .await;
    let error = refused
        .expect_err("a second process is refused")
        .to_string();
    assert!(error.contains("store.db"), "says which file: {error}");
}
