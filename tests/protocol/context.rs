//! What a handler is told of its message, its client and its server.

use std::time::{Duration, SystemTime};

use matssocket::{
    Clock, Forward, HandlerError, Incoming, Outcome, ReplyTo, ServerBuilder, ServiceOptions,
};

use matssocket_testing::*;

/// State of the application.
struct Currency(&'static str);

fn about_client(incoming: &Incoming<Value>) -> Value {
    let context = &incoming.context;
    let client = context.client().map(|client| {
        let remote = client.remote.as_deref().unwrap_or_default();
        json!([
            client.app_name,
            client.app_version,
            client.library,
            remote.starts_with("127.0.0.1")
        ])
    });
    let since_epoch = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    json!({
        "client": client,
        "authenticated": context.authenticated().map(|at| since_epoch(at).as_millis() as u64),
        "message": context.message_id(),
        "attempt": context.attempt(),
    })
}

fn with_handlers(builder: ServerBuilder) -> ServerBuilder {
    builder
        .data(Currency("EUR"))
        .endpoint("about", async |incoming: Incoming<Value>| {
            let about = about_client(&incoming);
            Ok(Outcome::resolve(about))
        })
        .endpoint("state", async |incoming: Incoming<Value>| {
            let context = &incoming.context;
            let currency = context.data::<Currency>().map(|currency| currency.0);
            let server = context.server();
            server
                .send(context.session_id(), "beside", "client.news", &currency)
                .await?;
            Ok(Outcome::resolve(json!([
                currency,
                context.data::<u8>(),
                server.node_name()
            ])))
        })
        .endpoint("ask elsewhere", async |incoming: Incoming<Value>| {
            let context = &incoming.context;
            context.send(context.session_id(), "with it", "client.news", &1)?;
            let nowhere = ReplyTo::terminator("nowhere");
            let asked = context.request(context.session_id(), "t", "client.endpoint", &1, nowhere);
            asked.map_err(|error| HandlerError::public(error.to_string()))?;
            Ok(Outcome::resolve(json!("asked")))
        })
        .endpoint("forward", async |incoming: Incoming<String>| {
            let context = &incoming.context;
            context.send(context.session_id(), "with it", "client.news", &1)?;
            Ok(Outcome::<()>::forward(Forward::to(&*incoming.payload, &1)))
        })
        .endpoint("try", async |incoming: Incoming<Value>| {
            Ok(Outcome::<()>::forward(Forward::to(
                "tries",
                &incoming.payload,
            )))
        })
        .service_with(
            "tries",
            ServiceOptions::default().backoff(Duration::from_millis(1), Duration::from_millis(2)),
            async |incoming: Incoming<Value>| {
                let context = &incoming.context;
                let (attempt, work) = (context.attempt(), context.work_id());
                let news = json!([attempt, work.is_some(), about_client(&incoming)]);
                let server = context.server();
                server
                    .send(context.session_id(), "tried", "client.news", &news)
                    .await?;
                match attempt {
                    3 => Ok(Outcome::resolve(json!(work))),
                    _ => Err("not yet".into()),
                }
            },
        )
}

fn setup() -> Setup {
    Setup::new().extend(|builder, _, _| with_handlers(builder))
}

#[actix_web::test]
async fn a_handler_knows_its_client_and_its_message() {
    let clock = Clock::fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
    let nodes = setup().clock(&clock).start(1).await;
    let mut line = nodes.open("anna").await;
    clock.advance(Duration::from_secs(7));
    let cmid = line.request("about", json!({})).await;
    let about = line.answer(&cmid).await["msg"].clone();
    let expected = json!({
        "client": ["TestApp", "1.2.3", "test/1; rust", true],
        "authenticated": 1_007_000,
        "message": cmid,
        "attempt": 1,
    });
    assert_eq!(about, expected);
    let live = &nodes.server().live_sessions().await[0];
    let live = (
        &*live.app_name,
        &*live.app_version,
        &*live.client,
        live.authenticated,
    );
    assert_eq!(live, ("TestApp", "1.2.3", "test/1; rust", clock.now()));
}

#[actix_web::test]
async fn a_handler_gets_the_state_of_the_application_and_the_server() {
    let nodes = setup().start(1).await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("state", json!({})).await;
    let expected = json!(["EUR", null, nodes.server().node_name()]);
    assert_eq!(line.answer(&cmid).await["msg"], expected);
    assert_eq!(line.expect("SEND").await["msg"], json!("EUR"));
}

#[actix_web::test]
async fn data_of_one_type_is_given_once() {
    let builder = matssocket::MatsSocketServer::builder("test");
    let error = builder.data(1_u8).data(2_u8).start().await.unwrap_err();
    assert!(error.to_string().contains("u8 is given twice"), "{error}");
}

#[actix_web::test]
async fn a_service_knows_its_attempt_and_which_work_it_is() {
    let nodes = setup()
        .config(|config| config.takeover_interval = Duration::from_millis(20))
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("try", json!({})).await;
    for attempt in 1..=3 {
        let news = line.expect("SEND").await["msg"].clone();
        let about =
            json!({"client": null, "authenticated": null, "message": cmid, "attempt": attempt});
        assert_eq!(news, json!([attempt, true, about]));
    }
    let reply = line.expect("RESOLVE").await;
    assert!(reply["msg"].is_i64(), "{reply}");
}

#[actix_web::test]
async fn a_request_whose_reply_would_go_nowhere_is_refused_where_it_is_made() {
    let nodes = setup().start(1).await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("ask elsewhere", json!({})).await;
    let answer = line.answer(&cmid).await;
    let text = answer["desc"].as_str().unwrap_or_default();
    assert_eq!(answer["t"], "NACK");
    assert!(
        text.contains("\"nowhere\"") && text.contains(".terminator("),
        "{text}"
    );
    // Nothing of what the handler sent before is kept.
    line.none("SEND").await;
}

/// Such work waited for a service that cannot exist; a name of a built-in service called a terminator.
#[actix_web::test]
async fn work_for_a_service_that_cannot_exist_is_refused_where_it_is_forwarded() {
    let nodes = setup()
        .config(|config| config.reveal_errors = true)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let long = "x".repeat(256);
    let names = [
        ("", "is empty"),
        ("a\nb", r"a\nb"),
        (long.as_str(), "256 bytes"),
        ("MatsSocket.terminator/test.take", "not for applications"),
    ];
    for (name, why) in names {
        let cmid = line.request("forward", json!(name)).await;
        let answer = line.answer(&cmid).await;
        let text = answer["desc"].as_str().unwrap_or_default();
        assert_eq!(answer["t"], "NACK");
        assert!(text.contains(why), "{why}: {text}");
    }
    line.none("SEND").await;
    assert_eq!(nodes.server().metrics().handler_failures, 4);
}

#[actix_web::test]
async fn a_topic_to_which_nobody_can_subscribe_is_not_published_to() {
    let nodes = setup()
        .config(|config| config.max_topic_length = 10)
        .start(1)
        .await;
    let publish = |topic: &'static str| nodes.server().publish(topic, "t", &1);
    publish("tøpic 4567").await.unwrap();
    let refused = publish("eleven char").await.unwrap_err().to_string();
    assert!(
        refused.contains("11 characters") && refused.contains("max_topic_length"),
        "{refused}"
    );
}
