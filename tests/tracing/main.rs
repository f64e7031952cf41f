//! The feature `tracing`: a span per message, with what identifies it and nothing secret; each event once.

mod listener;

use std::time::Duration;

use listener::{Listener, Span};
use matssocket::{Forward, HandlerError, Incoming, Outcome, ServerBuilder, ServiceOptions};
use matssocket_testing::*;

/// In the payload of a message: no span or event may show it.
const PAYLOAD: &str = "the combination of the safe";

/// An application whose handlers have events of their own.
fn application(builder: ServerBuilder, _: &Control, _: usize) -> ServerBuilder {
    let once = ServiceOptions::default().attempts(1);
    let soon =
        ServiceOptions::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
    builder
        .endpoint("Traced.ask", async |incoming: Incoming<Value>| {
            tokio::task::yield_now().await;
            tracing::info!("the handler works");
            Ok(Outcome::resolve(incoming.payload))
        })
        .endpoint("Traced.forward", async |incoming: Incoming<Value>| {
            Ok(Outcome::<Value>::forward(Forward::to(
                "Traced.twice",
                &incoming.payload,
            )))
        })
        .terminator("Traced.lost", async |incoming: Incoming<Value>| {
            Ok(Outcome::forward(Forward::to(
                "Traced.never",
                &incoming.payload,
            )))
        })
        .service_with("Traced.twice", soon, async |incoming: Incoming<Value>| {
            let attempt = incoming.context.attempt();
            tracing::info!("the service works");
            if attempt == 1 {
                return Err(HandlerError::internal("not yet"));
            }
            Ok(Outcome::resolve(incoming.payload))
        })
        .service_with("Traced.never", once, async |_: Incoming<Value>| {
            Err::<Outcome<()>, _>(HandlerError::internal("never"))
        })
}

async fn start() -> (Nodes, &'static Listener) {
    let listener = Listener::listen();
    let setup = Setup::new().extend(application);
    (setup.start(1).await, listener)
}

/// The spans of this trace id, by name, once there are so many that have closed.
async fn closed(listener: &Listener, name: &str, tid: &str, many: usize) -> Vec<Span> {
    let what = format!("{many} spans {name} of {tid}");
    within(
        &what,
        listener.until(|seen| {
            let spans = seen.spans.values();
            let mine = spans.filter(|span| {
                span.name == name && span.fields.get("trace_id").is_some_and(|it| it == tid)
            });
            let mut closed: Vec<Span> = mine.filter(|span| span.closed).cloned().collect();
            closed.sort_by_key(|span| span.number);
            (closed.len() >= many).then_some(closed)
        }),
    )
    .await
}

#[actix_web::test]
async fn a_request_is_one_span_from_socket_to_answer_and_the_handler_works_inside() {
    let (nodes, listener) = start().await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("Traced.ask", json!({"secret": PAYLOAD})).await;
    line.expect_id("RESOLVE", &cmid).await;
    let tid = line.tid(&cmid);
    let span = closed(listener, "message", &tid, 1).await.remove(0);
    let field = |name: &str| span.fields[name].as_str();
    assert_eq!(span.target, "matssocket");
    assert_eq!(span.level, tracing::Level::INFO);
    assert_eq!(
        [
            "type",
            "endpoint",
            "session_id",
            "user_id",
            "message_id",
            "outcome"
        ]
        .map(field),
        [
            "REQUEST",
            "Traced.ask",
            line.session(),
            "anna",
            &cmid,
            "RESOLVE"
        ]
    );
    let seen = listener.seen();
    let handler = seen.event(|it| it.message == "the handler works" && it.inside(&seen, &tid));
    let names: Vec<_> = handler.scope(&seen).map(|span| span.name).collect();
    assert_eq!(names, ["handler", "message"]);
    let within = seen
        .spans
        .values()
        .filter(|it| it.parent == Some(span.number));
    let mut within: Vec<_> = within.map(|it| it.name).collect();
    within.sort_unstable();
    assert_eq!(within, ["commit", "handler"]);
    listener.shows_nothing_secret();
}

/// It runs on a thread of the store.
#[actix_web::test]
async fn a_transactional_handler_works_inside_the_span_of_its_message() {
    let listener = Listener::listen();
    let server = matssocket::MatsSocketServer::builder("traced")
        .store(matssocket::Store::sqlite_in_memory())
        .authentication(matssocket::testkit::any_user())
        .transactional(
            "Traced.book",
            |_: &mut diesel::SqliteConnection, incoming: Incoming<u8>| {
                tracing::info!(
                    trace_id = incoming.context.trace_id(),
                    "the transaction works"
                );
                Ok(Outcome::resolve(incoming.payload))
            },
        );
    let server = server.start().await.expect("starts");
    let client = matssocket::testkit::TestClient::connect(&server, "berta")
        .await
        .expect("welcome");
    client
        .request::<u8>("Traced.book", &1)
        .await
        .expect("answered")
        .resolved()
        .expect("booked");
    let seen = listener.seen();
    let inside = seen.event(|it| it.message == "the transaction works");
    let names: Vec<_> = inside.scope(&seen).map(|span| span.name).collect();
    assert_eq!(names, ["handler", "message"]);
    let tid = inside.fields["trace_id"].clone();
    assert!(inside.inside(&seen, &tid), "of the same message");
    server.stop().await;
}

#[actix_web::test]
async fn each_attempt_of_a_service_is_a_span_with_its_number_and_the_client_s_trace_id() {
    let (nodes, listener) = start().await;
    let mut line = nodes.open("carla").await;
    let cmid = line
        .request("Traced.forward", json!({"secret": PAYLOAD}))
        .await;
    let resolve = line.expect_id("RESOLVE", &cmid).await;
    let tid = line.tid(&cmid);
    let attempts = closed(listener, "attempt", &tid, 2).await;
    let told: Vec<_> = attempts
        .iter()
        .map(|it| {
            [
                &*it.fields["service"],
                &it.fields["attempt"],
                &it.fields["outcome"],
            ]
        })
        .collect();
    assert_eq!(
        told,
        [
            ["Traced.twice", "1", "failed"],
            ["Traced.twice", "2", "done"]
        ]
    );
    assert_eq!(attempts[0].fields["session_id"], line.session());
    assert_eq!(attempts[0].fields["endpoint"], "Traced.forward");
    let seen = listener.seen();
    let works = seen
        .events
        .iter()
        .filter(|it| it.message == "the service works" && it.inside(&seen, &tid));
    assert_eq!(works.count(), 2);
    // The reply goes out like any message of the server.
    line.ack(&resolve).await;
    let delivery = closed(listener, "delivery", &tid, 1).await.remove(0);
    let field = |name: &str| delivery.fields[name].as_str();
    assert_eq!(
        ["type", "session_id", "user_id", "outcome"].map(field),
        ["RESOLVE", line.session(), "carla", "ACK"]
    );
    assert_eq!(
        delivery.fields["message_id"],
        resolve["smid"].as_str().expect("an id")
    );
    listener.shows_nothing_secret();
}

#[actix_web::test]
async fn a_message_of_the_server_is_a_span_until_it_is_acknowledged_or_its_connection_ends() {
    let (nodes, listener) = start().await;
    let mut line = nodes.open("dora").await;
    let (sid, server) = (line.session().to_owned(), nodes.server().clone());
    server
        .send(&sid, "delivery dora", "client.news", &PAYLOAD)
        .await
        .expect("stored");
    let message = line.expect("SEND").await;
    let client = line.cut();
    let lost = closed(listener, "delivery", "delivery dora", 1)
        .await
        .remove(0);
    assert_eq!(lost.fields["outcome"], "unacknowledged");
    let mut line = nodes.back(0, client).await;
    assert_eq!(line.expect("SEND").await["smid"], message["smid"]);
    line.ack(&message).await;
    let both = closed(listener, "delivery", "delivery dora", 2).await;
    assert_eq!(both[1].fields["outcome"], "ACK");
    assert_eq!(both[1].fields["endpoint"], "client.news");
    listener.shows_nothing_secret();
}

#[actix_web::test]
async fn each_dead_letter_is_one_error_that_names_it() {
    let (nodes, listener) = start().await;
    let mut line = nodes.open("emma").await;
    let cmid = line
        .send_to("Traced.lost", json!({"secret": PAYLOAD}))
        .await;
    line.expect_id("ACK", &cmid).await;
    nodes.until_dead_letters().await;
    let tid = line.tid(&cmid);
    let attempt = closed(listener, "attempt", &tid, 1).await.remove(0);
    assert_eq!(attempt.fields["outcome"], "failed");
    let seen = listener.seen();
    let of_mine = |it: &&listener::Event| it.fields.get("trace_id").is_some_and(|it| *it == tid);
    let errors = seen
        .events
        .iter()
        .filter(|it| it.level == tracing::Level::ERROR);
    let errors: Vec<_> = errors.filter(of_mine).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let field = |name: &str| errors[0].fields[name].as_str();
    assert_eq!(
        ["service", "attempt", "session_id"].map(field),
        ["Traced.never", "1", line.session()]
    );
    assert!(errors[0].inside(&seen, &tid));
    listener.shows_nothing_secret();
}

#[actix_web::test]
async fn a_node_says_that_it_starts_and_stops_and_what_becomes_of_sessions_each_once() {
    let (nodes, listener) = start().await;
    let name = nodes.server().metrics().node;
    let mut line = nodes.open("frieda").await;
    let sid = line.session().to_owned();
    line.leave(4000).await;
    nodes.control.event("close", &sid).await;
    nodes.server().stop().await;
    let seen = listener.seen();
    let about = |field: &str, value: &str| -> Vec<_> {
        let events = seen
            .events
            .iter()
            .filter(|it| it.target.starts_with("matssocket"));
        let mine = events.filter(|it| it.fields.get(field).is_some_and(|it| it == value));
        mine.map(|it| (it.level, it.message.clone())).collect()
    };
    let texts = about("node", &name);
    assert_eq!(texts.len(), 3, "{texts:?}");
    let version = env!("CARGO_PKG_VERSION");
    let started =
        format!("matssocket {version} has started node {name} of the application test on ");
    assert!(texts[0].1.starts_with(&started), "{texts:?}");
    assert!(texts[0].1.contains("tracing"), "{texts:?}");
    assert_eq!(texts[1].1, format!("node {name} is stopping"));
    assert_eq!(texts[2].1, format!("node {name} has stopped"));
    assert!(
        texts
            .iter()
            .all(|(level, _)| *level == tracing::Level::INFO)
    );
    let of_session = about("session_id", &sid);
    let debug = |text: &str| {
        (
            tracing::Level::DEBUG,
            format!("session {sid} of user frieda {text}"),
        )
    };
    assert_eq!(
        of_session,
        [
            debug("was opened"),
            debug("was closed with code 4000: the client closed the session (4000)")
        ]
    );
    listener.shows_nothing_secret();
    assert_eq!(
        listener::logged(),
        0,
        "what goes to `tracing` does not go to `log` as well"
    );
}
