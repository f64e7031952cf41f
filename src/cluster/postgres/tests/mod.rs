//! Nodes that notify each other through a real PostgreSQL, each as if in a separate process.

mod proxy;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use tokio::sync::oneshot;

use super::packet::{Kind, Packet, compose};
use super::{PostgresTransport, Told, channel_of};
use crate::cluster::{ClusterCounters, Notice, Transport};
use crate::store::operation::{ConnectionId, SessionKey};
use proxy::Proxy;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tests' PostgreSQL, with more parameters, which take precedence over its own.
fn url(parameters: &[(&str, &str)]) -> String {
    let mut url = std::env::var("MATSSOCKET_TEST_POSTGRES").expect(
        "MATSSOCKET_TEST_POSTGRES must be the URL of a PostgreSQL for tests; ./test starts one and sets it",
    );
    for (key, value) in parameters {
        let sign = match url.contains("://") {
            true if url.contains('?') => '&',
            true => '?',
            false => ' ',
        };
        url += &format!("{sign}{key}={value}");
    }
    url
}

/// A unique name.
fn fresh(what: &str) -> String {
    format!("{what}-{}", crate::wire::random_id(8, &mut rand::rng()))
}

fn connection() -> PgConnection {
    PgConnection::establish(&url(&[])).expect("the tests' PostgreSQL")
}

struct Node {
    transport: PostgresTransport,
    name: String,
    heard: Receiver<Notice>,
    counters: Arc<ClusterCounters>,
}

impl Node {
    /// A node of the cluster, which receives notices from now on.
    fn join(cluster: &str, name: &str) -> Node {
        let node = Node::connecting(&url(&[]), cluster, name);
        assert_eq!(node.hear(), Notice::Missed, "it listens");
        node
    }

    fn connecting(url: &str, cluster: &str, name: &str) -> Node {
        let transport = PostgresTransport::new(url, cluster);
        let (sender, heard) = unbounded();
        let counters = Arc::<ClusterCounters>::default();
        let name = fresh(name);
        let deliver = move |notice| sender.send(notice).expect("the test listens");
        transport.join(&name, Box::new(deliver), counters.clone());
        Node {
            transport,
            name,
            heard,
            counters,
        }
    }

    fn hear(&self) -> Notice {
        self.heard
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("{} waits for a notice: {error}", self.name))
    }

    fn tell(&self, other: &Node, notice: Notice) {
        self.transport.tell(&self.name, &other.name, notice);
    }

    fn tell_others(&self, notice: Notice) {
        self.transport.tell_others(&self.name, notice);
    }
}

fn stored(sessions: impl IntoIterator<Item = i64>) -> Notice {
    Notice::Stored(sessions.into_iter().map(SessionKey).collect())
}

fn released(session: i64) -> Notice {
    Notice::Released {
        session: SessionKey(session),
        connection: ConnectionId(7),
    }
}

#[test]
fn a_node_tells_one_or_all_others_but_not_itself() {
    let cluster = fresh("schema");
    let [a, b, c] = ["a", "b", "c"].map(|name| Node::join(&cluster, name));
    a.tell(&b, stored([1, 2]));
    assert_eq!(b.hear(), stored([1, 2]));
    a.tell_others(Notice::Published);
    assert_eq!(b.hear(), Notice::Published);
    assert_eq!(
        c.hear(),
        Notice::Published,
        "and nothing of what b was told"
    );
    b.tell(&a, released(3));
    assert_eq!(a.hear(), released(3), "and nothing of what a told");
    a.tell(&a, released(4));
    assert_eq!(a.hear(), released(4), "unless it tells itself by its name");
}

#[test]
fn every_kind_of_notice_arrives_as_it_was() {
    let cluster = fresh("schema");
    let (a, b) = (Node::join(&cluster, "a"), Node::join(&cluster, "b"));
    let (session, connection) = (SessionKey(i64::MAX), ConnectionId(i64::MIN));
    for notice in [
        stored([i64::MIN]),
        released(5),
        Notice::TakenOver {
            session,
            connection,
            by: "zoë\"\\".into(),
        },
        Notice::Closed {
            session,
            reason: "'\n\0".into(),
        },
        Notice::Published,
        Notice::Work,
    ] {
        a.tell(&b, notice.clone());
        assert_eq!(b.hear(), notice);
    }
}

#[test]
fn clusters_of_other_schemas_hear_nothing() {
    let (a, other) = (fresh("schema"), fresh("schema"));
    let [a, b] = ["a", "b"].map(|name| Node::join(&a, name));
    let other = Node::join(&other, "a");
    a.tell_others(Notice::Published);
    assert_eq!(b.hear(), Notice::Published);
    b.tell(&other, released(1));
    assert_eq!(other.hear(), released(1), "and no publication before");
}

#[test]
fn names_may_be_long_and_strange() {
    let cluster = format!("{}\"; LISTEN x{}", "ü".repeat(40), fresh("schema"));
    let name = format!("{}\"'é", "ö".repeat(300));
    let (a, b) = (Node::join(&cluster, &name), Node::join(&cluster, &name));
    a.tell(&b, released(1));
    assert_eq!(b.hear(), released(1));
    b.tell_others(Notice::Published);
    assert_eq!(a.hear(), Notice::Published);
}

#[test]
fn what_waits_goes_in_one_statement_each_thing_once() {
    let cluster = fresh("schema");
    let b = Node::join(&cluster, "b");
    let proxy = Proxy::start();
    proxy.hold();
    let a = Node::connecting(&proxy.url(), &cluster, "a");
    for round in 0..250 {
        a.tell(&b, stored([1, round]));
        a.tell(&b, released(1));
        a.tell_others(Notice::Published);
        a.tell_others(Notice::Published);
    }
    proxy.release();
    let heard: Vec<Notice> = (0..3).map(|_| b.hear()).collect();
    assert!(heard.contains(&stored(0..250)), "{heard:?}");
    assert!(heard.contains(&released(1)) && heard.contains(&Notice::Published));
    assert_eq!(a.hear(), Notice::Missed);
    b.tell(&a, released(2));
    assert_eq!(a.hear(), released(2));
    let (a, b) = (a.counters.snapshot(), b.counters.snapshot());
    assert_eq!((a.statements, a.sent, a.received), (1, 3, 1), "{a:?}");
    assert_eq!((b.statements, b.sent, b.received), (1, 1, 3), "{b:?}");
}

#[test]
fn many_sessions_are_split_and_long_reasons_cut() {
    let told = |notice| Told {
        channel: "c".into(),
        from: None,
        notice,
    };
    let most_digits = (0..5_000).map(|number| i64::MIN + number);
    let (channels, payloads) = compose([told(stored(most_digits.clone()))]);
    assert_eq!((channels.len(), payloads.len()), (18, 18));
    let mut all = BTreeSet::new();
    for payload in &payloads {
        assert!(payload.len() <= 6_000, "{} bytes", payload.len());
        match serde_json::from_str(payload).expect("JSON") {
            Packet {
                from: None,
                kind: Kind::Stored { sessions },
            } => all.extend(sessions),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(all, most_digits.collect());

    let closed = |reason: String| Notice::Closed {
        session: SessionKey(1),
        reason,
    };
    let cut = format!("x{}", "ü".repeat(249));
    let (_, payloads) = compose([told(closed(format!("x{}", "ü".repeat(9_000))))]);
    let packet: Packet = serde_json::from_str(&payloads[0]).expect("JSON");
    assert_eq!(packet.kind.notice(), Some(closed(cut)));
    let (_, payloads) = compose([told(closed("\0".repeat(9_000)))]);
    assert!((3_000..6_000).contains(&payloads[0].len()), "escaped");
    let by = "x".repeat(9_000);
    let taken = Notice::TakenOver {
        session: SessionKey(1),
        connection: ConnectionId(1),
        by,
    };
    let (channels, _) = compose([told(taken), told(Notice::Published)]);
    assert_eq!(
        channels.len(),
        1,
        "too long a name spoils nothing for others"
    );
}

#[test]
fn notices_of_other_versions_are_ignored_or_understood() {
    let a = Node::join(&fresh("schema"), "a");
    for payload in [
        "",
        "no JSON",
        r#"{"kind":"teleported","session":1,"to":{"planet":"Mars"}}"#,
        r#"{"kind":"stored","sessions":"all"}"#,
        r#"{"kind":"released","session":1,"connection":7,"since":"noon","why":[1]}"#,
    ] {
        let notify = diesel::sql_query("SELECT pg_notify($1, $2)")
            .bind::<Text, _>(channel_of(&a.name))
            .bind::<Text, _>(payload);
        notify.execute(&mut connection()).expect("NOTIFY");
    }
    assert_eq!(a.hear(), released(1));
    assert_eq!(a.counters.snapshot().reconnects, 0);
}

#[test]
fn a_line_that_was_ended_comes_back_and_the_node_is_told_that_it_missed_something() {
    let (cluster, application) = (fresh("schema"), fresh("application"));
    let b = Node::join(&cluster, "b");
    let a = Node::connecting(&url(&[("application_name", &application)]), &cluster, "a");
    assert_eq!(a.hear(), Notice::Missed, "of what was before its time");
    for round in 1..=3 {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{application}'"
        );
        connection().batch_execute(&end).expect("ended");
        assert_eq!(a.hear(), Notice::Missed);
        b.tell(&a, released(round));
        assert_eq!(a.hear(), released(round));
        a.tell(&b, released(round));
        assert_eq!(b.hear(), released(round));
        assert_eq!(a.counters.reconnects.load(Relaxed), round as u64);
    }
}

/// The bytes are accepted but go nowhere: neither we nor the kernel can see anything wrong.
#[test]
fn a_line_that_leads_nowhere_is_given_up_within_15_seconds() {
    let cluster = fresh("schema");
    let (b, proxy) = (Node::join(&cluster, "b"), Proxy::start());
    let a = Node::connecting(&proxy.url(), &cluster, "a");
    assert_eq!(a.hear(), Notice::Missed);
    proxy.strand();
    let stranded = Instant::now();
    assert_eq!(a.hear(), Notice::Missed);
    let took = stranded.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    b.tell(&a, released(1));
    assert_eq!(a.hear(), released(1));
}

#[test]
fn who_leaves_tells_first_what_waits_and_then_hears_no_more() {
    let cluster = fresh("schema");
    let [a, b] = ["a", "b"].map(|name| Node::join(&cluster, name));
    let (done, left) = oneshot::channel();
    a.tell(&b, released(1));
    a.transport.leave(&a.name, done);
    a.tell(&b, released(2));
    assert!(left.blocking_recv().is_err(), "dropped when it has left");
    assert_eq!(b.hear(), released(1));
    b.tell(&a, released(3));
    assert_eq!(
        a.heard.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Disconnected),
        "its connection is gone"
    );
    // It joins again as a new node.
    let again = Node::join(&cluster, "a");
    b.tell(&again, released(4));
    assert_eq!(again.hear(), released(4));
}

#[test]
fn who_leaves_without_a_line_does_not_wait_for_one() {
    let refused = url(&[("host", "127.0.0.1"), ("port", "1")]);
    let a = Node::connecting(&refused, "schema", "a");
    let (done, left) = oneshot::channel();
    a.tell_others(Notice::Published);
    a.transport.leave(&a.name, done);
    assert!(left.blocking_recv().is_err());
    assert_eq!(a.heard.recv(), Err(crossbeam_channel::RecvError));
}
