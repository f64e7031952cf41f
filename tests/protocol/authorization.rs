//! Authorization at every delivery: what is only offered, what has expired, what was withdrawn or revoked.

use std::time::Duration;

use actix_web::HttpRequest;
use async_trait::async_trait;
use matssocket::testkit::{Faults, faulty_cluster};
use matssocket::{
    AuthError, Authentication, Authenticator, ClientInfo, Principal, Refused, ResponseHeaders,
    Verdict, auth_fn,
};

use matssocket_testing::line::refused;
use matssocket_testing::*;

/// What handlers saw as the authorization, in order.
fn authorizations(nodes: &Nodes, what: &str) -> Vec<String> {
    let seen = nodes.control.all(|seen| seen.what == what);
    seen.into_iter().map(|seen| seen.authorization).collect()
}

/// A value that was refused was "still valid" in the next pipeline, and the handler saw it as the authorization.
#[actix_web::test]
async fn a_refused_value_opens_nothing() {
    // All that is not said here is left to the defaults.
    let authentication = || {
        auth_fn(async |value: String| {
            Ok(match value.ends_with("FORGED") {
                true => Verdict::Invalid("forged".into()),
                false => Verdict::Authenticated(Principal::user("anna")),
            })
        })
    };
    let nodes = Setup::new()
        .extend(move |builder, _, _| builder.authentication(authentication()))
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:FORGED"}]))
        .await;
    line.expect("REAUTH").await;
    let held = line.request("test.do", json!({})).await;
    line.send(json!([{"t": "UNSUB", "eid": "topic"}])).await;
    line.none("RESOLVE").await;
    assert!(authorizations(&nodes, "test.do").is_empty());
    line.send(json!([{"t": "AUTH", "auth": "anna:valid"}]))
        .await;
    line.expect_id("RESOLVE", &held).await;
    assert_eq!(authorizations(&nodes, "test.do"), ["anna:valid"]);
}

#[actix_web::test]
async fn guessing_ends_after_a_few() {
    let nodes = Setup::new()
        .config(|config| config.max_refused_authorizations = 3)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for number in 0..4 {
        let guess = format!("anna:guess{number}");
        nodes.control.set(&format!("invalid:{guess}"));
        line.send(json!([{"t": "AUTH", "auth": guess}])).await;
    }
    let reason = line.expect_close(1008).await;
    assert!(!reason.contains("guess"), "{reason}");
}

/// Publications went on after the login had expired.
#[actix_web::test]
async fn publications_stop_when_the_login_has_expired_and_are_replayed() {
    let nodes = Setup::new()
        .config(|config| config.outgoing_check_interval = Duration::ZERO)
        .start(1)
        .await;
    let mut line = subscribed(&nodes, 0).await;
    let publish = async |number: i32| {
        let published = nodes.server().publish("topic", "t", &number).await;
        published.expect("stored");
    };
    publish(1).await;
    assert_eq!(line.expect("PUB").await["msg"], 1);
    nodes.control.set("outgoing:anna:valid");
    for number in 2..=5 {
        publish(number).await;
    }
    line.expect("REAUTH").await;
    line.none("PUB").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    for number in 2..=5 {
        assert_eq!(line.expect("PUB").await["msg"], number);
    }
    publish(6).await;
    assert_eq!(line.expect("PUB").await["msg"], 6);
    line.none("PUB").await;
}

async fn subscribed(nodes: &Nodes, node: usize) -> Line {
    let mut line = nodes.open_on(node, "anna").await;
    line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    line.expect("SUB_OK").await;
    line
}

#[actix_web::test]
async fn more_than_can_be_replayed_is_told_as_lost() {
    let nodes = Setup::new()
        .config(|config| {
            config.outgoing_check_interval = Duration::ZERO;
            config.max_topic_history = 2;
        })
        .start(1)
        .await;
    let mut line = subscribed(&nodes, 0).await;
    let mut other = nodes.open("berta").await;
    other.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    other.expect("SUB_OK").await;
    nodes.control.set("outgoing:anna:valid");
    for number in 1..=3 {
        let published = nodes.server().publish("topic", "t", &number).await;
        published.expect("stored");
        // So this node has told all its sessions.
        other.expect("PUB").await;
    }
    line.expect("REAUTH").await;
    // So this session has heard it.
    line.barrier().await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    assert_eq!(line.expect("SUB_LOST").await["eid"], "topic");
    let published = nodes.server().publish("topic", "t", &4).await;
    published.expect("stored");
    assert_eq!(line.expect("PUB").await["msg"], 4);
}

/// Says when a login has expired, and leaves everything else to the defaults.
struct Expiring(Control);

#[async_trait(?Send)]
impl Authentication for Expiring {
    async fn handshake(
        &self,
        _: &HttpRequest,
        _: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        Ok(Box::new(Expiring(self.0.clone())))
    }
}

#[async_trait(?Send)]
impl Authenticator for Expiring {
    async fn authenticate(&self, _: &str) -> Result<Verdict, AuthError> {
        Ok(Verdict::Authenticated(Principal::user("anna")))
    }

    async fn reevaluate(&self, accepted: &str, _: &Principal) -> Result<Verdict, AuthError> {
        Ok(match self.0.is_set(&format!("expired:{accepted}")) {
            true => Verdict::Invalid("expired".into()),
            false => Verdict::StillValid,
        })
    }
}

/// An authenticator that only says when a login has expired need not say so twice.
#[actix_web::test]
async fn what_has_expired_for_incoming_has_for_outgoing() {
    let nodes = Setup::new()
        .extend(|builder, control, _| builder.authentication(Expiring(control.clone())))
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    nodes.control.set("expired:anna:valid");
    let sent = nodes.server().send(line.session(), "t", "client.x", &1);
    sent.await.expect("stored");
    line.expect("REAUTH").await;
    line.none("SEND").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    line.expect("SEND").await;
}

/// The login expires while the handler takes its time.
#[actix_web::test]
async fn an_answer_waits_if_the_login_has_expired_meanwhile() {
    let nodes = Setup::new()
        .config(|config| config.outgoing_check_interval = Duration::ZERO)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let asked = line.request("test.gate", json!({})).await;
    nodes.control.until_waiting("gate", 1).await;
    nodes.control.set("invalid:anna:valid");
    // The handler takes a moment at least.
    tokio::time::sleep(Duration::from_millis(5)).await;
    nodes.control.open("gate", 1);
    line.expect("REAUTH").await;
    line.none("RESOLVE").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    line.expect_id("RESOLVE", &asked).await;
}

#[actix_web::test]
async fn rights_are_asked_about_again_with_a_new_value() {
    let nodes = Nodes::one().await;
    let mut line = subscribed(&nodes, 0).await;
    nodes.control.set("deny:topic");
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "topic");
    let published = nodes.server().publish("topic", "t", &1).await;
    published.expect("stored");
    line.none("PUB").await;
}

#[actix_web::test]
async fn rights_are_asked_about_again_from_time_to_time() {
    let nodes = Setup::new()
        .config(|config| config.topic_check_interval = Duration::from_millis(50))
        .start(1)
        .await;
    let mut line = subscribed(&nodes, 0).await;
    nodes.control.set("deny:topic");
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "topic");
}

#[actix_web::test]
async fn revoking_ends_everything_on_all_nodes_until_a_value_is_accepted() {
    let nodes = Nodes::two().await;
    let mut line = subscribed(&nodes, 1).await;
    let mut other = nodes.open_on(1, "berta").await;
    nodes.server().revoke("anna").await.expect("stored");
    line.expect("REAUTH").await;
    let sent = nodes.server().send(line.session(), "t", "client.x", &1);
    sent.await.expect("stored");
    let published = nodes.server().publish("topic", "t", &2).await;
    published.expect("stored");
    let held = line.request("test.do", json!({})).await;
    for t in ["SEND", "PUB", "RESOLVE"] {
        line.none(t).await;
    }
    other.none("REAUTH").await;
    // The application has withdrawn this value, and the authenticator says so.
    nodes.control.set("invalid:anna:valid");
    line.send(json!([{"t": "AUTH", "auth": "anna:valid"}]))
        .await;
    line.expect("REAUTH").await;
    line.none("RESOLVE").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    line.expect_id("RESOLVE", &held).await;
    assert_eq!(line.expect("SEND").await["msg"], 1);
    assert_eq!(line.expect("PUB").await["msg"], 2);
}

#[actix_web::test]
async fn revoking_a_topic_ends_it_on_all_nodes() {
    let nodes = Nodes::two().await;
    let mut line = subscribed(&nodes, 1).await;
    line.send(json!([{"t": "SUB", "eid": "other"}])).await;
    line.expect("SUB_OK").await;
    let revoked = nodes.server().revoke_topic("anna", "topic").await;
    revoked.expect("stored");
    for (topic, number) in [("topic", 1), ("other", 2)] {
        let published = nodes.server().publish(topic, "t", &number).await;
        published.expect("stored");
    }
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "topic");
    assert_eq!(line.expect("PUB").await["msg"], 2, "not what came after");
    // It is gone from the session as well. (The other topic may repeat what nothing has proved to have arrived.)
    let mut line = nodes.back(0, line.cut()).await;
    let published = nodes.server().publish("topic", "t", &3).await;
    published.expect("stored");
    let published = nodes.server().publish("other", "t", &4).await;
    published.expect("stored");
    line.expect_where("the newest of the other topic", |it| it["msg"] == 4)
        .await;
    assert!(
        line.received.iter().all(|it| it["eid"] != "topic"),
        "{:?}",
        line.received
    );
}

/// A notice is a hint, but a revocation must hold.
#[actix_web::test]
async fn a_revocation_that_was_not_told_is_found_by_the_sweep() {
    let deaf = faulty_cluster(Faults::default().drop(1.0));
    let nodes = Setup::new()
        .cluster(deaf)
        .config(|config| config.sweep_interval = Duration::from_millis(50))
        .start(2)
        .await;
    let mut line = nodes.open_on(1, "anna").await;
    nodes.server().revoke("anna").await.expect("stored");
    line.expect("REAUTH").await;
}

#[actix_web::test]
async fn all_sessions_of_a_user_are_closed() {
    let nodes = Nodes::two().await;
    let mut lines = [
        nodes.open_on(0, "anna").await,
        nodes.open_on(1, "anna").await,
    ];
    let absent = nodes.open_on(0, "anna").await;
    let session = absent.session().to_owned();
    drop(absent);
    nodes.until_let_go(&session).await;
    let mut other = nodes.open_on(1, "berta").await;
    let closed = nodes
        .server()
        .close_sessions_of("anna", "bye\u{202e}")
        .await;
    assert_eq!(closed.expect("the store works"), 3);
    for line in &mut lines {
        assert_eq!(line.expect_close(4000).await, r"bye\u{202e}");
    }
    other.barrier().await;
    nodes.until_stored("anna", 0).await;
}

/// An authenticator slower than the HELLO time-out could never succeed.
#[actix_web::test]
async fn an_authenticator_may_take_longer_than_hello() {
    let nodes = Setup::new()
        .config(|config| config.hello_timeout = Duration::from_millis(100))
        .start(1)
        .await;
    nodes.control.set("slow authentication");
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    line.say_hello().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    nodes.control.open("authentication", 1);
    line.expect("WELCOME").await;
}

#[actix_web::test]
async fn an_authenticator_that_never_answers_is_given_up() {
    let nodes = Setup::new()
        .config(|config| config.authentication_timeout = Duration::from_millis(100))
        .start(1)
        .await;
    nodes.control.set("slow authentication");
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    line.say_hello().await;
    line.expect_close(1012).await;
}

#[actix_web::test]
async fn logins_under_way_are_bounded() {
    let nodes = Setup::new()
        .config(|config| config.max_authentications_pending = 1)
        .start(1)
        .await;
    nodes.control.set("slow authentication");
    let connect = || Client::new("anna").connect(&nodes[0].url);
    let [mut first, mut second, mut third] = [connect().await, connect().await, connect().await];
    first.say_hello().await;
    nodes.control.until_waiting("authentication", 1).await;
    second.say_hello().await;
    second.expect_close(1012).await;
    assert_eq!(refused(&nodes[0].url, &[]).await, 503);
    // One whose line is gone is not under way.
    drop(first);
    nodes.control.until_waiting("authentication", 0).await;
    third.say_hello().await;
    nodes.control.until_waiting("authentication", 1).await;
    nodes.control.open("authentication", 1);
    third.expect("WELCOME").await;
}

/// Records the connections of which it is told.
struct Listening(Control);

#[async_trait(?Send)]
impl Authentication for Listening {
    async fn handshake(
        &self,
        _: &HttpRequest,
        _: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        Ok(Box::new(Listening(self.0.clone())))
    }
}

#[async_trait(?Send)]
impl Authenticator for Listening {
    async fn authenticate(&self, _: &str) -> Result<Verdict, AuthError> {
        Ok(Verdict::Authenticated(Principal::user("anna")))
    }

    fn connected(&self, session_id: &str, client: &ClientInfo, current: &Principal) {
        self.0.saw(Seen {
            what: "connected".to_owned(),
            session: session_id.to_owned(),
            user: format!("{} with {}", current.user_id, client.app_name),
            ..Seen::default()
        });
        panic!("on purpose: it harms nobody");
    }
}

#[actix_web::test]
async fn an_authenticator_hears_of_each_connection_once() {
    let nodes = Setup::new()
        .extend(|builder, control, _| builder.authentication(Listening(control.clone())));
    let nodes = nodes.start(1).await;
    let line = nodes.open("anna").await;
    let session = line.session().to_owned();
    let mut line = nodes.back(0, line.cut()).await;
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    let told = nodes.control.all(|seen| seen.what == "connected");
    assert_eq!(told.len(), 2);
    for told in told {
        assert_eq!(
            (told.session, &*told.user),
            (session.clone(), "anna with TestApp")
        );
    }
}
