//! The presence topic, and the endpoint of the same name.

use matssocket::{MatsSocketServer, Principal, Store, Verdict, auth_fn};

use matssocket_testing::*;

async fn watched(topic: &'static str) -> Nodes {
    Setup::new()
        .config(|config| config.presence_interval = std::time::Duration::from_millis(5))
        .extend(move |builder, _, _| builder.presence_topic(topic))
        .start(1)
        .await
}

async fn ask(line: &mut Line, topic: &str, msg: Value) -> Value {
    let cmid = line.request(topic, msg).await;
    line.answer(&cmid).await
}

#[actix_web::test]
async fn only_subscribers_are_told_who_is_present() {
    let nodes = watched("presence").await;
    let mut line = nodes.open("anna").await;
    let refused = ask(&mut line, "presence", json!(null)).await;
    assert_eq!(refused["t"], "REJECT");
    let why = refused["msg"].as_str().unwrap();
    assert!(
        why.starts_with("subscribe to the topic \"presence\" first"),
        "{why}"
    );
    line.send(json!([{"t": "SUB", "eid": "presence"}])).await;
    line.expect("SUB_OK").await;
    let joined = within("her own join", async {
        loop {
            let users = ask(&mut line, "presence", json!(null)).await["msg"]["users"].clone();
            if users != json!([]) {
                return users;
            }
        }
    })
    .await;
    assert_eq!(joined[0]["user"], "anna");
    for query in [
        json!(null),
        json!({}),
        json!({"after": null}),
        json!({"after": "a"}),
    ] {
        let page = ask(&mut line, "presence", query).await["msg"].clone();
        assert_eq!(page, json!({"number": 1, "users": joined, "next": null}));
    }
    let _bob = nodes.open("bob").await;
    line.expect_where("his join", |e| {
        e["t"] == "PUB" && e["msg"]["joined"][0]["user"] == "bob"
    })
    .await;
    let page = ask(&mut line, "presence", json!({"after": "bob"})).await["msg"].clone();
    assert_eq!(page["users"], json!([]));
    for bad in ["a\u{0}", ""] {
        let refused = ask(&mut line, "presence", json!({"after": bad})).await;
        assert_eq!(refused["t"], "REJECT", "{refused}");
    }

    // Its right ends with the subscription.
    nodes.control.set("deny:presence");
    nodes
        .server()
        .revoke_topic("anna", "presence")
        .await
        .unwrap();
    line.expect("SUB_NO_AUTH").await;
    within("the end of the subscription", async {
        while ask(&mut line, "presence", json!(null)).await["t"] != "REJECT" {}
    })
    .await;
}

#[actix_web::test]
async fn whoever_may_not_subscribe_is_told_nothing() {
    let nodes = watched("denied presence").await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "SUB", "eid": "denied presence"}]))
        .await;
    line.expect("SUB_NO_AUTH").await;
    let refused = ask(&mut line, "denied presence", json!(null)).await;
    assert_eq!(refused["t"], "REJECT");
    line.none("PUB").await;
}

#[actix_web::test]
async fn where_it_is_not_switched_on_it_costs_nothing() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let metrics = nodes.server().metrics();
    assert_eq!(metrics.maintenance["presence"].runs, 0);
    let page = nodes.server().presence(None, 10).await.unwrap();
    assert_eq!((page.number, page.users.len()), (0, 0));
    let refused = ask(&mut line, "presence", json!(null)).await;
    assert_eq!(refused["t"], "NACK");
    // Who is connected is known all the same.
    let anna = nodes.server().connected_user("anna").await.unwrap();
    assert_eq!(anna.expect("she is").sessions[0].session_id, line.session());
    let nobody = nodes.server().connected_user("no\u{0}body").await.unwrap();
    assert_eq!(nobody, None);
}

/// Listeners alone need no topic of the application's, and no client can name theirs.
#[actix_web::test]
async fn listeners_without_a_topic() {
    let setup = Setup::new().config(|config| {
        config.presence_interval = std::time::Duration::from_millis(5);
    });
    let setup = setup.extend(|builder, control, _| {
        let control = control.clone();
        builder.on_presence(move |change| {
            control.saw(Seen {
                what: "presence".into(),
                payload: json!(change),
                ..Seen::default()
            })
        })
    });
    let nodes = setup.start(1).await;
    let mut line = nodes.open("anna").await;
    let told = nodes
        .control
        .wait("a change", 1, |seen| seen.what == "presence");
    assert_eq!(told.await[0].payload["joined"][0]["user"], "anna");
    line.send(json!([{"t": "SUB", "eid": "\u{1}presence"}]))
        .await;
    line.expect("SUB_NO_AUTH").await;
}

#[actix_web::test]
async fn mistakes_are_named_at_the_start() {
    for (topics, wrong) in [
        (&["", "matsTopic"][..], "the presence topic is given twice"),
        (&["matsTopic"][..], "reserved"),
        (&["a\u{0}"][..], "control character"),
    ] {
        let authentication =
            auth_fn(async |name: String| Ok(Verdict::Authenticated(Principal::user(name))));
        let mut builder = MatsSocketServer::builder("test")
            .store(Store::sqlite_in_memory())
            .authentication(authentication);
        for topic in topics {
            builder = builder.presence_topic(topic);
        }
        let error = builder.start().await.expect_err("it is refused");
        assert!(error.to_string().contains(wrong), "{error}");
    }
}
