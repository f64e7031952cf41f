use super::*;
use crate::clock::wall_time;

/// Work of a user for a service.
pub(super) fn of(user: &str, service: &str) -> NewForward {
    NewForward {
        service: service.into(),
        user_id: user.into(),
        ..work(user)
    }
}

async fn forward(node: &Node, many: usize, work: NewForward) {
    let effects = (0..many).map(|_| Effect::Forward(Box::new(work.clone())));
    node.run(call(effects.collect())).await;
}

fn claim_of<const N: usize>(rooms: [(&str, Room); N]) -> ClaimForwarded {
    ClaimForwarded {
        rooms: rooms.map(|(name, room)| (name.to_owned(), room)).into(),
        ..claim(0, &[])
    }
}

/// What was claimed, by service.
fn counts(claimed: &ClaimedForwarded) -> Vec<(&str, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for row in &claimed.rows {
        *counts.entry(&*row.work.service).or_default() += 1;
    }
    counts.into_iter().collect()
}

/// A service whose places were all taken prevented the claiming of other services' rows, because the oldest rows were
/// its own.
pub async fn each_service_has_its_own_room(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    forward(&a, 300, of("anna", "slow")).await;
    forward(&a, 3, of("anna", "quick")).await;
    forward(&a, 3, of("anna", "nobody's")).await;
    forward(&a, 3, of("anna", "no one's")).await;
    a.run(LeaveNode).await;
    let rooms = || [("slow", room(0)), ("quick", room(2)), ("idle", room(9))];
    let claimed = b.run(claim_of(rooms())).await;
    assert_eq!(counts(&claimed), [("quick", 2)]);
    assert_eq!(claimed.more, ["quick".to_owned()].into());
    let claimed = b.run(claim_of(rooms())).await;
    assert_eq!(
        (counts(&claimed), claimed.more.clone()),
        (vec![("quick", 1)], [].into())
    );
    let claimed = b.run(claim_of([("slow", room(100))])).await;
    let ids: Vec<i64> = claimed.rows.iter().map(|row| row.id).collect();
    assert_eq!(counts(&claimed), [("slow", 100)]);
    assert!(ids.is_sorted(), "the oldest first: {ids:?}");
}

/// A node claimed rows that it could not process, and so made them fail during a rolling deploy. Rows of services that
/// a node does not have must be left, whoever stored them, for a node that does.
pub async fn unserved_work_waits(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let unknown = |service| NewForward {
        here: false,
        ..of("anna", service)
    };
    forward(&a, 2, unknown("free")).await;
    let news = a.news().await;
    let is_unclaimed = |news: &News| news.work && news.forwarded.is_empty();
    assert!(news.len() == 1 && news.iter().all(is_unclaimed));
    forward(&a, 3, of("anna", "dead's")).await;
    let all = || [("service", room(9)), ("free", room(9)), ("dead's", room(9))];
    assert_eq!(
        counts(&b.run(claim_of(all())).await),
        [("free", 2)],
        "free from the start, for whoever has the service"
    );
    forward(&a, 2, unknown("free")).await;
    base.clock.advance(secs(59));
    let renew = RenewLease {
        join: false,
        lease: secs(60),
    };
    assert!(b.run(renew).await);
    base.clock.advance(secs(1));
    assert_eq!(counts(&b.run(claim_of([("service", room(9))])).await), []);
    let c = base.node("c").await;
    let claimed = c.run(claim_of(all())).await;
    assert_eq!(counts(&claimed), [("dead's", 3), ("free", 2)]);
}

/// Nobody noticed that messages waited for a service that no node had.
pub async fn unserved_work_is_reported(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let find = FindUnserved { limit: 2 };
    let free = |service| NewForward {
        here: false,
        ..of("anna", service)
    };
    forward(&a, 2, free("typo")).await;
    forward(&a, 1, of("anna", "a's")).await;
    assert_eq!(b.run(find).await, [], "nobody has said yet what it has");
    assert!(!b.run(AllHaveSaid).await);
    let note = |services: &[&str]| NoteServices {
        services: services.iter().map(|it| (*it).to_owned()).collect(),
    };
    a.run(note(&["a's", "both's"])).await;
    assert_eq!(b.run(find).await, []);
    assert!(!b.run(AllHaveSaid).await, "it has not itself");
    b.run(note(&["both's", "b's"])).await;
    assert!(b.run(AllHaveSaid).await);
    base.clock.advance(secs(30));
    let work = |service: &str, messages, oldest| UnservedWork {
        service: service.into(),
        messages,
        oldest: wall_time(oldest),
    };
    assert_eq!(b.run(find).await, [work("typo", 2, START)]);
    for service in ["a's", "both's", "b's", "typo"] {
        forward(&a, 1, free(service)).await;
    }
    assert_eq!(a.run(find).await, [work("typo", 3, START)]);
    let nodes = b.run(ListNodes).await;
    let services = |name: &str| vec![name.to_owned(), "both's".to_owned()];
    let named: Vec<_> = nodes.into_iter().map(|it| it.services).collect();
    let mut expected = [services("a's"), services("b's")];
    expected[1].reverse();
    assert_eq!(named, expected.map(Some));

    // What a dead node has left is included in the count.
    let renew = RenewLease {
        join: false,
        lease: secs(60),
    };
    assert!(b.run(renew).await);
    base.clock.advance(secs(31));
    assert_eq!(
        b.run(find).await,
        [work("a's", 2, START), work("typo", 3, START)]
    );
    let one = FindUnserved { limit: 1 };
    assert_eq!(b.run(one).await.len(), 1);
    base.node("of an earlier version").await;
    assert_eq!(b.run(find).await, [], "it takes anything");
}

/// The same, on the node that takes over.
pub async fn taken_over_service_by_service(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let (c, d) = (base.node("c").await, base.node("d").await);
    for node in [&a, &c] {
        forward(node, 300, of("anna", "slow")).await;
        forward(node, 2, of("anna", "quick")).await;
    }
    forward(&d, 2, of("anna", "quick")).await;
    base.clock.advance(secs(59));
    for node in [&b, &d] {
        let renew = RenewLease {
            join: false,
            lease: secs(60),
        };
        assert!(node.run(renew).await);
    }
    base.clock.advance(secs(1));
    let rooms = || [("slow", room(10)), ("quick", room(5))];
    let claimed = b.run(claim_of(rooms())).await;
    assert_eq!(counts(&claimed), [("quick", 4), ("slow", 10)]);
    assert!(claimed.rows.iter().all(|row| row.epoch == 2));
    let held: Vec<i64> = claimed.rows.iter().map(|row| row.id).collect();
    let rooms = [("slow", room(0)), ("quick", room(5))];
    let again = ClaimForwarded {
        holding: held.into_iter().collect(),
        ..claim_of(rooms)
    };
    assert_eq!(b.run(again).await.rows.len(), 0, "d lives");
}

/// The user who had forwarded most, and first, got all the room for a service.
pub async fn users_take_turns(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    forward(&a, 15, of("anna", "service")).await;
    forward(&a, 2, of("berta", "service")).await;
    forward(&a, 1, of("carla", "service")).await;
    a.run(LeaveNode).await;
    let claimed = b.run(claim_of([("service", room(5))])).await;
    let users: Vec<_> = claimed.rows.iter().map(|row| &*row.work.user_id).collect();
    assert_eq!(users, ["anna", "berta", "carla", "anna", "berta"]);
}

pub async fn claims_are_bounded_in_bytes(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let large = NewForward {
        msg: json(&format!("\"{}\"", "x".repeat(1_000))),
        ..of("anna", "service")
    };
    forward(&a, 10, large).await;
    a.run(LeaveNode).await;
    let within = |bytes| {
        let rows = 10;
        claim_of([("service", Room { rows, bytes })])
    };
    assert_eq!(b.run(within(0)).await.rows.len(), 0);
    let claimed = b.run(within(1)).await;
    assert_eq!(claimed.rows.len(), 1, "one may always come");
    assert!(claimed.more.contains("service"));
    assert_eq!(b.run(within(3_000)).await.rows.len(), 3);
}

pub async fn given_back(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let (row, other) = (a.forward("f").await, a.forward("g").await);
    let back = |epoch| GiveBackForwarded {
        rows: vec![(row.id, epoch), (other.id, 7)],
    };
    b.run(back(1)).await;
    a.run(back(2)).await;
    assert!(b.claim().await.is_empty(), "not b's, and not that claim");
    a.run(back(1)).await;
    let claimed = b.claim().await;
    assert_eq!(claimed.len(), 1, "at once, and none but the one");
    assert_eq!(
        (claimed[0].id, claimed[0].epoch, claimed[0].attempts),
        (row.id, 2, 0)
    );
    let settle = Unit {
        cause: Cause::Forwarded {
            id: row.id,
            proof: Proof::Epoch(1),
        },
        effects: vec![],
    };
    assert_eq!(a.run(settle).await, UnitOutcome::AlreadySettled);
}

/// A query that continues where the last one ended finds what one that starts over would.
pub async fn a_query_continues_where_the_last_one_ended(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let free = || NewForward {
        here: false,
        ..of("anna", "service")
    };
    let go_on = |rows: usize, looked: &Looked| ClaimForwarded {
        looked: Some(looked.clone()),
        claim_grace: secs(1_000),
        ..claim(rows, &[])
    };
    forward(&a, 3, free()).await;
    let claimed = b.run(claim(2, &[])).await;
    assert_eq!(claimed.rows.len(), 2);
    base.clock.advance(secs(10));
    let claimed = b.run(go_on(9, &claimed.looked)).await;
    assert_eq!(claimed.rows.len(), 1, "the one that was left");
    let back = PostponeForwarded {
        id: claimed.rows[0].id,
        epoch: claimed.rows[0].epoch,
        attempts: 1,
        delay: secs(15),
    };
    assert!(b.run(back).await);
    forward(&a, 1, free()).await;
    base.clock.advance(secs(10));
    let claimed = b.run(go_on(0, &claimed.looked)).await;
    assert_eq!(claimed.rows.len(), 0, "there is no room");
    let claimed = b.run(go_on(1, &claimed.looked)).await;
    assert_eq!(claimed.rows.len(), 1, "what came meanwhile");
    base.clock.advance(secs(10));
    let claimed = b.run(go_on(9, &claimed.looked)).await;
    assert_eq!(claimed.rows.len(), 1, "what was postponed");
    let claimed = b.run(go_on(9, &claimed.looked)).await;
    assert_eq!(claimed.rows.len(), 0);
}

pub async fn released_rows_are_checked_again(base: Base) {
    let a = base.node("a").await;
    let (known, unheard) = (a.forward("known").await, a.forward("unheard").await);
    let look = |holding: &[i64], looked| ClaimForwarded {
        looked,
        ..claim(10, holding)
    };
    let claimed = a.run(look(&[known.id, unheard.id], None)).await;
    base.clock.advance(secs(11));
    let claimed = a.run(look(&[known.id], Some(claimed.looked))).await;
    assert_eq!(claimed.rows.len(), 1);
    assert_eq!(claimed.rows[0].id, unheard.id);
    base.clock.advance(secs(8));
    let holding = [known.id, unheard.id];
    let claimed = a.run(look(&holding, Some(claimed.looked))).await;
    assert!(claimed.rows.is_empty());
    let claimed = a.run(look(&holding[1..], Some(claimed.looked))).await;
    assert_eq!(claimed.rows.len(), 1, "it was held, and is not any more");
    assert_eq!(claimed.rows[0].id, known.id);
}

pub async fn continued_queries_find_what_dead_nodes_left(base: Base) {
    let (a, b, c) = (
        base.node("a").await,
        base.node("b").await,
        base.node("c").await,
    );
    let renew = || RenewLease {
        join: false,
        lease: secs(60),
    };
    let look = |looked: &Looked| ClaimForwarded {
        looked: Some(looked.clone()),
        ..claim_of([("service", room(2)), ("full", room(0))])
    };
    forward(&a, 3, of("anna", "service")).await;
    forward(&a, 1, of("anna", "full")).await;
    forward(&c, 1, of("anna", "service")).await;
    let claimed = b.run(claim(9, &[])).await;
    assert!(claimed.rows.is_empty());
    base.clock.advance(secs(30));
    assert!(b.run(renew()).await && c.run(renew()).await);
    base.clock.advance(secs(31));
    let claimed = b.run(look(&claimed.looked)).await;
    assert_eq!(counts(&claimed), [("service", 2)]);
    let held: Vec<i64> = claimed.rows.iter().map(|row| row.id).collect();
    let claimed = b.run(look(&claimed.looked)).await;
    assert_eq!(counts(&claimed), [("service", 1)], "the rest");
    let with_room = ClaimForwarded {
        rooms: [("full".to_owned(), room(1))].into(),
        ..look(&claimed.looked)
    };
    let claimed = b.run(with_room).await;
    assert_eq!(counts(&claimed), [("full", 1)], "when there was room");
    // Whatever the dead node had in progress may still be committed.
    forward(&a, 1, of("anna", "service")).await;
    let claimed = b.run(look(&claimed.looked)).await;
    assert_eq!(counts(&claimed), [("service", 1)], "committed late");
    // Another node dies.
    base.clock.advance(secs(28));
    assert!(b.run(renew()).await);
    base.clock.advance(secs(2));
    let look = ClaimForwarded {
        holding: held.into_iter().collect(),
        claim_grace: secs(1_000),
        ..look(&claimed.looked)
    };
    assert_eq!(counts(&b.run(look).await), [("service", 1)]);
}
