//! Who is connected; who is present, and what is published of it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use futures_util::future::join_all;

use super::*;
use crate::introspection::{ConnectedUser, PresenceChange};

const TOPIC: &str = "presence";
const GRACE: Duration = Duration::from_secs(10);
const REVIEW: Duration = Duration::from_secs(40);

fn settle(users: &[&str]) -> SettlePresence {
    SettlePresence {
        users: users.iter().map(|it| (*it).to_owned()).collect(),
        grace: GRACE,
        limit: 100,
        topic: TOPIC.into(),
    }
}

/// What a settlement came to: joined, left, published.
fn numbers(settled: SettledPresence) -> (u32, u32, u32) {
    match settled {
        SettledPresence::Settled {
            joined,
            left,
            published,
            ..
        } => (joined, left, published),
        SettledPresence::NoLease => panic!("its lease is valid"),
    }
}

/// All changes published so far.
async fn published(node: &Node) -> Vec<PresenceChange> {
    let read = FetchPublications {
        after: 0,
        max_bytes: u64::MAX,
    };
    let page = node.run(read).await;
    let changes = page.publications.iter().map(|publication| {
        assert_eq!(publication.topic, TOPIC);
        serde_json::from_str(publication.msg.get()).expect("a change")
    });
    changes.collect()
}

/// The changes in short: `+` joined, `-` left.
async fn told(node: &Node) -> Vec<String> {
    let changes = published(node).await;
    for (change, number) in changes.iter().zip(1..) {
        assert_eq!(change.number, number);
    }
    let text = |change: &PresenceChange| {
        let mut text: Vec<String> = Vec::new();
        text.extend(change.joined.iter().map(|it| format!("+{}", it.user_id)));
        text.extend(change.left.iter().map(|it| format!("-{it}")));
        text.sort_unstable();
        text.join(" ")
    };
    changes.iter().map(text).collect()
}

fn users(after: Option<&str>, limit: u32) -> ListConnected {
    ListConnected {
        after: after.map(Into::into),
        limit,
    }
}

fn names(users: &[ConnectedUser]) -> Vec<&str> {
    users.iter().map(|it| &*it.user_id).collect()
}

async fn find(node: &Node, user: &str) -> Option<ConnectedUser> {
    node.run(FindConnected {
        user_id: user.into(),
    })
    .await
}

fn at(seconds: u64) -> SystemTime {
    crate::clock::wall_time(START) + secs(seconds)
}

pub async fn who_is_connected(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("anna", "s1").await;
    base.clock.advance(secs(5));
    b.open("anna", "s2").await;
    let away = a.open("anna", "s3").await.holder;
    a.run(Deregister { holder: away }).await;
    let alone = a.open("bob", "s4").await.holder;
    b.open("åse", "s5").await;
    let anna = find(&b, "anna").await.expect("she is connected");
    let sessions: Vec<_> = anna
        .sessions
        .iter()
        .map(|it| (&*it.session_id, &*it.node, it.since.expect("known")))
        .collect();
    assert_eq!(sessions, [("s1", "a", at(0)), ("s2", "b", at(5))]);
    assert_eq!(anna.since(), Some(at(0)));
    assert_eq!(find(&a, "nobody").await, None);

    let all = a.run(users(None, 10)).await;
    assert_eq!(names(&all), ["anna", "bob", "åse"]);
    assert_eq!(all[0], anna);
    assert_eq!(names(&a.run(users(None, 2)).await), ["anna", "bob"]);
    assert_eq!(names(&a.run(users(Some("anna"), 1)).await), ["bob"]);
    assert!(a.run(users(None, 0)).await.is_empty());
    a.run(Deregister { holder: alone }).await;
    assert_eq!(find(&a, "bob").await, None);
    assert_eq!(names(&a.run(users(Some("anna"), 1)).await), ["åse"]);

    // A reconnect counts from its own time.
    base.clock.advance(secs(5));
    b.resume("anna", "s1").await;
    let anna = find(&a, "anna").await.expect("she is connected");
    assert_eq!(anna.since(), Some(at(5)));
    // The node that holds her sessions dies.
    base.clock.advance(secs(45));
    let lease = secs(60);
    a.run(RenewLease { join: false, lease }).await;
    base.clock.advance(secs(10));
    assert_eq!(find(&a, "anna").await, None);
    assert!(a.run(users(None, 10)).await.is_empty());
}

pub async fn joins_and_leaves(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let first = a.open("anna", "s1").await.holder;
    b.open("bob", "s2").await;
    base.clock.advance(secs(3));
    assert_eq!(
        numbers(a.run(settle(&["anna", "bob", "nobody"])).await),
        (2, 0, 1)
    );
    assert_eq!(told(&a).await, ["+anna +bob"]);
    let joined = &published(&b).await[0].joined;
    assert!(joined.iter().all(|user| user.since == at(0)), "{joined:?}");
    // Settled again, and with a further session: nothing has changed.
    let second = b.open("anna", "s3").await.holder;
    for node in [&a, &b] {
        assert_eq!(numbers(node.run(settle(&["anna", "bob"])).await), (0, 0, 0));
    }
    a.run(Deregister { holder: first }).await;
    a.run(settle(&["anna"])).await;
    base.clock.advance(secs(20));
    assert_eq!(numbers(a.run(settle(&[])).await), (0, 0, 0), "one is there");
    b.run(Deregister { holder: second }).await;
    b.run(settle(&["anna"])).await;
    base.clock.advance(secs(9));
    assert_eq!(
        numbers(a.run(settle(&["anna"])).await),
        (0, 0, 0),
        "in time"
    );
    let due = |leaves| PresenceDue {
        leaves,
        review: true,
    };
    let look = LookAtPresence {
        grace: GRACE,
        review: REVIEW,
    };
    assert_eq!(a.run(look).await, due(false));
    base.clock.advance(secs(1));
    assert_eq!(a.run(look).await, due(true));
    assert_eq!(numbers(a.run(settle(&[])).await), (0, 1, 1));
    assert_eq!(a.run(look).await, due(false));
    assert_eq!(told(&a).await, ["+anna +bob", "-anna"]);
    // A session that is closed is no different.
    let third = a.open("anna", "s4").await.holder;
    a.run(settle(&["anna"])).await;
    a.run(CloseSession {
        target: CloseTarget::Holder(third),
        reason: "closed".into(),
    })
    .await;
    a.run(settle(&["anna"])).await;
    base.clock.advance(secs(10));
    b.run(settle(&[])).await;
    assert_eq!(told(&b).await[2..], ["+anna", "-anna"]);
}

/// Each absence is shorter than the grace, together they are longer: on one node or on another each time.
pub async fn a_flapping_line_changes_nothing(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let mut holder = a.open("anna", "s1").await.holder;
    a.run(settle(&["anna"])).await;
    for round in 0..4 {
        let (from, to) = match round % 2 {
            0 => (&a, &b),
            _ => (&b, &a),
        };
        from.run(Deregister { holder }).await;
        from.run(settle(&["anna"])).await;
        base.clock.advance(secs(9));
        holder = to.resume("anna", "s1").await.holder;
        to.run(settle(&["anna"])).await;
    }
    // Her return has not been settled when the grace is over.
    a.run(Deregister { holder }).await;
    a.run(settle(&["anna"])).await;
    base.clock.advance(secs(9));
    let holder = a.resume("anna", "s1").await.holder;
    base.clock.advance(secs(1));
    assert_eq!(numbers(b.run(settle(&[])).await), (0, 0, 0));
    a.run(Deregister { holder }).await;
    a.run(settle(&["anna"])).await;
    base.clock.advance(secs(9));
    assert_eq!(numbers(b.run(settle(&[])).await), (0, 0, 0));
    assert_eq!(told(&a).await, ["+anna"]);
}

/// Nodes that settle the same users at the same time: each change is published once, in one order.
pub async fn published_once_by_whoever_settles(base: Base) {
    const USERS: usize = 40;
    let (a, b) = (base.node("a").await, base.node("b").await);
    let names: Vec<String> = (0..USERS)
        .map(|number| format!("user{number:02}"))
        .collect();
    let mut holders = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let node = [&a, &b][number % 2];
        holders.push(node.open(name, &format!("s{number}")).await.holder);
    }
    let all: Vec<&str> = names.iter().map(|it| &**it).collect();
    let settle_all = async || {
        let rounds = all
            .chunks(7)
            .flat_map(|part| [&a, &b].map(|node| (node, part)));
        let settled = join_all(rounds.map(|(node, part)| node.store.run(settle(part)))).await;
        let settled = settled.into_iter().map(|it| numbers(it.expect("it works")));
        settled.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    };
    assert_eq!(settle_all().await, (USERS as u32, 0));
    for holder in holders {
        a.run(Deregister { holder }).await;
    }
    assert_eq!(settle_all().await, (0, 0));
    base.clock.advance(GRACE);
    assert_eq!(settle_all().await, (0, USERS as u32));
    let (mut joined, mut left) = (BTreeSet::new(), BTreeSet::new());
    for (change, number) in published(&a).await.into_iter().zip(1..) {
        assert_eq!(change.number, number);
        for user in change.joined {
            assert!(joined.insert(user.user_id));
        }
        for user in change.left {
            assert!(left.insert(user));
        }
    }
    let names = BTreeSet::from_iter(names);
    assert_eq!((joined, left), (names.clone(), names));
}

/// Reviews all users in parts of two, and settles whom that finds. Returns them.
async fn review(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    for of in [Reviewed::Present, Reviewed::WithSessions] {
        let mut after = None;
        loop {
            let review = ReviewPresence {
                of,
                after: after.clone(),
                limit: 2,
            };
            let part = node.run(review).await;
            let users: Vec<&str> = part.users.iter().map(|it| &**it).collect();
            node.run(settle(&users)).await;
            found.extend(part.users);
            after = part.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

pub async fn a_review_finds_what_a_dead_node_has_left(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let claim = ClaimPresenceReview { review: REVIEW };
    assert!(a.run(claim).await, "the nodes were not reviewed yet");
    assert!(!b.run(claim).await, "it is being done");
    // Nobody has noted these: their node dies too early.
    a.open("anna", "s1").await;
    a.open("bob", "s2").await;
    a.open("bob", "s3").await;
    a.run(settle(&["anna", "bob"])).await;
    let closed = b.open("eve", "s4").await.holder;
    b.run(settle(&["eve"])).await;
    b.run(CloseSession {
        target: CloseTarget::Holder(closed),
        reason: "closed".into(),
    })
    .await;
    base.clock.advance(secs(30));
    let lease = secs(60);
    b.run(RenewLease { join: false, lease }).await;
    b.open("bob", "s5").await;
    b.open("cyd", "s6").await;
    let due = |leaves, review| PresenceDue { leaves, review };
    let look = LookAtPresence {
        grace: GRACE,
        review: REVIEW,
    };
    assert_eq!(b.run(look).await, due(false, false));
    base.clock.advance(secs(30));
    assert_eq!(b.run(look).await, due(false, true));
    assert!(!a.run(claim).await, "it has no lease");
    assert!(b.run(claim).await);
    assert!(!b.run(claim).await);
    assert_eq!(review(&b).await, ["anna", "eve", "cyd"]);
    assert_eq!(told(&b).await, ["+anna +bob", "+eve", "+cyd"]);
    assert!(review(&b).await.is_empty(), "all is settled");
    base.clock.advance(GRACE);
    assert_eq!(b.run(look).await, due(true, false));
    b.run(settle(&[])).await;
    assert_eq!(told(&b).await[3..], ["-anna -eve"]);
    // Without a reason, from time to time.
    b.run(RenewLease { join: false, lease }).await;
    base.clock.advance(REVIEW - GRACE);
    assert_eq!(b.run(look).await, due(false, true));
}

/// A node that was paused for longer than its lease cannot tell who lives.
pub async fn nothing_is_settled_without_a_lease(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    b.open("anna", "s1").await;
    a.run(settle(&["anna"])).await;
    base.clock.advance(secs(60));
    assert_eq!(a.run(settle(&["anna"])).await, SettledPresence::NoLease);
    for node in [&a, &b] {
        let lease = secs(60);
        node.run(RenewLease { join: true, lease }).await;
    }
    base.clock.advance(GRACE);
    assert_eq!(numbers(a.run(settle(&["anna"])).await), (0, 0, 0));
}

pub async fn who_is_present(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("anna", "s1").await.holder;
    a.open("Zoe", "s2").await;
    a.open("åse", "s3").await;
    let read = |subscriber: Option<(&str, &str)>, after: Option<&str>, limit| ReadPresence {
        subscriber: subscriber.map(|(sid, topic)| (sid.into(), topic.into())),
        after: after.map(Into::into),
        limit,
    };
    let none = a.run(read(None, None, 10)).await.expect("anybody may");
    assert_eq!((none.number, none.users.len(), none.next), (0, 0, None));
    a.run(settle(&["anna", "Zoe", "åse"])).await;
    // Away, but present.
    a.run(Deregister { holder }).await;
    a.run(settle(&["anna"])).await;
    let page = a.run(read(None, None, 2)).await.expect("anybody may");
    let users: Vec<_> = page.users.iter().map(|user| &*user.user_id).collect();
    assert_eq!((page.number, users), (1, vec!["Zoe", "anna"]));
    assert_eq!(page.next.as_deref(), Some("anna"));
    let rest = a.run(read(None, Some("anna"), 2)).await.expect("as before");
    assert_eq!((&*rest.users[0].user_id, rest.next), ("åse", None));

    let asks = read(Some(("s1", TOPIC)), None, 10);
    assert_eq!(a.run(asks.clone()).await, None, "it has not subscribed");
    let holder = a.resume("anna", "s1").await.holder;
    let topics = vec![(TOPIC.to_owned(), None)];
    a.run(Subscribe { holder, topics }).await;
    assert_eq!(a.run(asks).await.expect("it has").users.len(), 3);
    for stranger in [("s1", "another topic"), ("s2", TOPIC), ("nobody", TOPIC)] {
        assert_eq!(a.run(read(Some(stranger), None, 10)).await, None);
    }
}

pub async fn many_leave_in_parts(base: Base) {
    let a = base.node("a").await;
    let names: Vec<String> = (0..5).map(|number| format!("user{number}")).collect();
    let names: Vec<&str> = names.iter().map(|it| &**it).collect();
    let mut holders = Vec::new();
    for name in &names {
        holders.push(a.open(name, name).await.holder);
    }
    a.run(settle(&names)).await;
    for holder in holders {
        a.run(Deregister { holder }).await;
    }
    a.run(settle(&names)).await;
    base.clock.advance(GRACE);
    let mut left = Vec::new();
    loop {
        let part = SettlePresence {
            limit: 2,
            ..settle(&[])
        };
        let settled = a.run(part).await;
        left.push(numbers(settled).1);
        match settled {
            SettledPresence::Settled { more: true, .. } => {}
            _ => break,
        }
    }
    assert_eq!(left, [2, 2, 1]);
}

/// The absence began in a future that has not come yet: it would have lasted for an hour more.
pub async fn the_clock_was_set_back(base: Base) {
    base.clock.advance(secs(3600));
    let a = base.node("a").await;
    assert!(a.run(ClaimPresenceReview { review: REVIEW }).await);
    let holder = a.open("anna", "s1").await.holder;
    a.run(settle(&["anna"])).await;
    a.run(Deregister { holder }).await;
    a.run(settle(&["anna"])).await;
    let base = base.at(START);
    let b = base.node("b").await;
    assert!(b.run(ClaimPresenceReview { review: REVIEW }).await);
    assert_eq!(numbers(b.run(settle(&[])).await), (0, 0, 0));
    base.clock.advance(GRACE);
    assert_eq!(numbers(b.run(settle(&[])).await), (0, 1, 1));
}
