//! HELLO and WELCOME: opening, resuming, and who may.

use matssocket_testing::control::holder_of;
use matssocket_testing::*;

#[actix_web::test]
async fn welcome_opens_a_session_with_an_unguessable_id() {
    let nodes = Nodes::one().await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..10 {
        let mut line = Client::new("anna").connect(&nodes[0].url).await;
        let hello = line.client.hello();
        line.send(json!([hello])).await;
        let welcome = line.expect("WELCOME").await;
        assert_eq!(welcome["tid"], "hello", "WELCOME carries HELLO's trace id");
        let sid = welcome["sid"].as_str().unwrap().to_owned();
        assert!(
            sid.len() >= 22 && sid.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{sid}"
        );
        assert_eq!(
            line.pipelines[0][0]["t"], "WELCOME",
            "WELCOME is the first thing sent"
        );
        nodes.control.event("new", &sid).await;
        assert!(ids.insert(sid));
    }
    let stored = nodes
        .server()
        .sessions(Default::default(), 100)
        .await
        .unwrap();
    assert_eq!(stored.len(), 10);
    for session in stored {
        assert_eq!(
            (session.user_id.as_str(), session.client.as_str()),
            ("anna", "test/1; rust")
        );
        assert_eq!(
            (session.app_name.as_str(), session.app_version.as_str()),
            ("TestApp", "1.2.3")
        );
    }
}

#[actix_web::test]
async fn hello_must_be_complete() {
    let nodes = Nodes::one().await;
    for missing in ["clv", "an", "av"] {
        let mut line = Client::new("anna").connect(&nodes[0].url).await;
        let mut hello = line.client.hello();
        hello.as_object_mut().unwrap().remove(missing);
        line.send(json!([hello])).await;
        line.expect_close(4004).await;
    }
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut hello = line.client.hello();
    hello.as_object_mut().unwrap().remove("auth");
    line.send(json!([hello])).await;
    line.expect_close(1008).await;
    nodes.until_stored("anna", 0).await;
}

#[actix_web::test]
async fn refused_authorization_is_closed_with_1008_and_the_plugins_reason() {
    let nodes = Nodes::one().await;
    nodes.control.set("invalid:anna:bad");
    let mut line = Client::with_auth("anna:bad").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    assert!(
        line.expect_close(1008)
            .await
            .contains("this authorization is refused")
    );
}

/// Somebody who learned a session's id tries to have it, on every node.
async fn steal(nodes: &Nodes, session: &str) {
    for node in [0, 1] {
        let mut thief = Client::new("mallory");
        thief.session = session.to_owned();
        let mut thief = thief.connect(&nodes[node].url).await;
        let hello = thief.client.hello();
        thief.send(json!([hello])).await;
        assert!(thief.expect_close(1008).await.contains("does not match"));
        assert!(
            thief.received.is_empty(),
            "nothing was told: {:?}",
            thief.received
        );
    }
    nodes.until_stored("mallory", 0).await;
}

/// The first implementation of this protocol disconnected, even deleted, the owner's session when somebody else
/// named it in HELLO.
#[actix_web::test]
async fn naming_somebody_elses_session_changes_nothing_for_its_owner() {
    let nodes = Nodes::two().await;
    let mut owner = nodes.open_on(0, "anna").await;
    let session = owner.session().to_owned();
    steal(&nodes, &session).await;
    nodes
        .server()
        .send(&session, "t", "client.x", &"first")
        .await
        .unwrap();
    let mail = owner.expect("SEND").await;
    owner.ack(&mail).await;
    let client = owner.cut();
    nodes.control.event("deregister", &session).await;
    nodes
        .server()
        .send(&session, "t", "client.x", &"second")
        .await
        .unwrap();
    steal(&nodes, &session).await;
    let mut owner = nodes.back(1, client).await;
    assert_eq!(owner.expect("SEND").await["msg"], "second");
    nodes.until_stored("anna", 1).await;
    assert_eq!(
        nodes
            .control
            .all(|seen| seen.session == session && seen.what == "session:close")
            .len(),
        0
    );
}

#[actix_web::test]
async fn an_unknown_session_is_lost_with_4001() {
    let nodes = Nodes::one().await;
    let mut client = Client::new("anna");
    client.session = "NoSuchSession1234567890".to_owned();
    let mut line = client.connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    assert!(!line.expect_close(4001).await.is_empty());
}

/// A HELLO that fails for another reason than the session itself leaves that session as it was.
#[actix_web::test]
async fn a_failed_hello_leaves_the_session_it_names() {
    let nodes = Nodes::one().await;
    let client = nodes.open("anna").await.cut();
    nodes.control.event("deregister", &client.session).await;
    nodes
        .server()
        .send(&client.session, "t", "client.x", &"kept")
        .await
        .unwrap();
    nodes.control.set("invalid:anna:bad");
    for (auth, remove, code) in [
        ("anna:bad", "", 1008),
        ("anna:valid", "an", 4004),
        ("anna:valid", "auth", 1008),
    ] {
        let mut line = client.clone().connect(&nodes[0].url).await;
        let mut hello = line.client.hello();
        hello["auth"] = json!(auth);
        hello.as_object_mut().unwrap().remove(remove);
        line.send(json!([hello])).await;
        line.expect_close(code).await;
    }
    let mut line = nodes.back(0, client).await;
    assert_eq!(line.expect("SEND").await["msg"], "kept");
}

#[actix_web::test]
async fn a_user_has_only_so_many_sessions() {
    let nodes = Setup::new()
        .config(|config| config.max_sessions_per_user = 3)
        .start(1)
        .await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(nodes.open("anna").await);
    }
    let mut fourth = Client::new("anna").connect(&nodes[0].url).await;
    let hello = fourth.client.hello();
    fourth.send(json!([hello])).await;
    fourth.expect_close(1008).await;
    nodes.until_stored("anna", 3).await;
    // A resumed session is not counted twice, and others have their own count.
    let client = lines.pop().unwrap().cut();
    nodes.back(0, client).await.barrier().await;
    nodes.open("berta").await;
    for line in &mut lines {
        line.barrier().await;
    }
}

/// The JavaScript client sends what was queued right behind HELLO, without waiting for WELCOME.
#[actix_web::test]
async fn a_second_message_right_behind_hello_waits_for_it() {
    let nodes = Nodes::one().await;
    nodes.control.set("slow authentication");
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    let first = line.envelope("SEND", "1", "test.take", json!(1));
    line.send(json!([hello, {"t": "SUB", "eid": "topic"}, first]))
        .await;
    let big = "x".repeat(100_000);
    let mut second = line.envelope("REQUEST", "2", "test.do", json!({"big": big}));
    second["cmid"] = json!(2);
    line.send(json!([second])).await;
    line.send(json!([{"t": "PING", "x": 7}])).await;
    nodes.control.open("authentication", 1);
    line.expect("WELCOME").await;
    assert_eq!(line.pipelines[0][0]["t"], "WELCOME");
    line.expect("SUB_OK").await;
    line.expect_id("ACK", "1").await;
    assert_eq!(
        line.expect_id("RESOLVE", "2").await["msg"]["big"],
        big.as_str()
    );
    assert_eq!(line.expect("PONG").await["x"], 7);
}

#[actix_web::test]
async fn a_resumed_session_keeps_its_id_and_is_held_by_its_new_node() {
    let nodes = Nodes::two().await;
    let line = nodes.open_on(0, "anna").await;
    let session = line.session().to_owned();
    assert_eq!(
        holder_of(nodes.server(), &session).await,
        Some(nodes[0].server.node_name())
    );
    let client = line.cut();
    nodes.control.event("deregister", &session).await;
    nodes.until_let_go(&session).await;
    let line = nodes.back(1, client).await;
    assert_eq!(line.session(), session);
    assert_eq!(
        holder_of(nodes.server(), &session).await,
        Some(nodes[1].server.node_name())
    );
}

#[actix_web::test]
async fn listeners_and_introspection_see_the_sessions() {
    let nodes = Setup::new()
        .extend(|builder, control, _| {
            let control = control.clone();
            builder.on_message(move |event| {
                if event.message_type == matssocket::MessageType::Request && event.incoming {
                    control.set(&format!(
                        "saw {} {}",
                        event.endpoint.unwrap_or(""),
                        event.user_id
                    ));
                }
            })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let cmid = line
        .request("test.gate", json!({"gate": "g", "secret": "payload"}))
        .await;
    nodes.control.called(&line.tid(&cmid)).await;
    assert!(nodes.control.is_set("saw test.gate anna"));
    line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    line.expect("SUB_OK").await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    line.expect("SEND").await;
    let live = nodes.server().live_sessions().await;
    assert_eq!(live.len(), 1);
    assert_eq!(
        (live[0].session_id.as_str(), live[0].user_id.as_str()),
        (line.session(), "anna")
    );
    assert_eq!((live[0].handlers, live[0].unacknowledged), (1, 1));
    assert_eq!(live[0].topics, ["topic"]);
    assert!(
        live[0]
            .remote
            .as_deref()
            .unwrap_or_default()
            .contains("127.0.0.1"),
        "{:?}",
        live[0].remote
    );
    assert!(
        live[0]
            .recent
            .iter()
            .any(|recent| recent.endpoint.as_deref() == Some("test.gate") && recent.incoming)
    );
    let text = serde_json::to_string(&live).unwrap();
    assert!(
        !text.contains("payload") && !text.contains("anna:valid"),
        "no payload, no authorization: {text}"
    );
    nodes.control.open("g", 1);
    line.expect_id("RESOLVE", &cmid).await;
    line.leave(1001).await;
    nodes.control.event("close", line.session()).await;
    assert!(nodes.server().live_sessions().await.is_empty());
}

/// `Actor::start` panics outside an actix system: the node's actors must have a system of their own.
#[tokio::test]
async fn an_application_on_plain_tokio_works_too() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let nodes = Nodes::one().await;
            let mut line = nodes.open("anna").await;
            let cmid = line.request("test.do", json!({"do": "forward"})).await;
            line.expect_id("RESOLVE", &cmid).await;
        })
        .await;
}
