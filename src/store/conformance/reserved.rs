//! Sequence numbers that a connection has reserved, without writing each of them to the session row.

use super::*;

/// More messages than are stored before a range is reserved.
const MANY: usize = 20;

impl Node {
    /// Stores this number of messages for a session, one by one. Returns what the node's news says of each: the number
    /// before it and its own.
    async fn send_many(&self, sid: &str, many: usize) -> Vec<(i64, i64)> {
        self.news().await;
        let mut sent = Vec::new();
        for _ in 0..many {
            self.send(sid, "m").await;
            let news = self.news().await.into_iter();
            let stored = news.flat_map(|news| news.stored);
            sent.extend(stored.map(|stored| (stored.after, message(&stored).seq)));
        }
        sent
    }
}

/// Each message has its own number, in order, and nothing was stored between it and its stated predecessor.
pub async fn whoever_stores(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    let mut sent = Vec::new();
    for _ in 0..2 {
        sent.extend(a.send_many("s1", MANY).await);
        sent.extend(b.send_many("s1", 1).await);
        sent.extend(b.send_many("s1", MANY).await);
    }
    let stored = a.fetch(holder.session).await;
    let numbers: Vec<_> = stored.iter().map(|message| message.seq).collect();
    assert_eq!(
        numbers,
        sent.iter().map(|(_, seq)| *seq).collect::<Vec<_>>()
    );
    let mut newest = 0;
    for (after, seq) in sent {
        assert!(newest <= after && after < seq, "{newest}, {after}, {seq}");
        newest = seq;
    }
}

/// Resuming a session returns its newest number, or a higher one that will not be assigned. What is stored from then on
/// comes after that number and is known to be the next.
pub async fn a_registration_ends_a_range(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    for _ in 0..3 {
        let sent = a.send_many("s1", MANY).await;
        let held = a.resume("user", "s1").await;
        assert!(held.last_seq >= sent[MANY - 1].1);
        let next = a.send_many("s1", 1).await[0];
        assert_eq!(next, (held.last_seq, held.last_seq + 1));
    }
}

/// The sweep reports what is in the outbox, not what is reserved.
pub async fn swept(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let newest = async || a.run(Sweep).await.sessions[0].newest;
    assert_eq!(newest().await, 0);
    let sent = a.send_many("s1", MANY).await;
    assert_eq!(newest().await, sent[MANY - 1].1);
    let acked = sent.iter().map(|(_, seq)| *seq).collect();
    let complete = Complete {
        holder,
        acked,
        nacked: Vec::new(),
    };
    assert_eq!(a.run(complete).await, Fenced::Done);
    assert_eq!(newest().await, 0);
    let next = a.send_many("s1", 1).await[0];
    assert_eq!(newest().await, next.1);
}

/// Reserved numbers are not messages: they do not make an outbox full.
pub async fn fills_no_outbox(mut base: Base) {
    base.config.max_outbox = 30;
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    for round in 0..3 {
        for number in 0..30 {
            let node = if number < 15 { &a } else { &b };
            let outcome = node.send("s1", "m").await;
            let is_stored = matches!(outcome, UnitOutcome::Committed(_));
            assert!(is_stored, "{round}.{number}: {outcome:?}");
        }
        for node in [&a, &b] {
            let full = node.send("s1", "m").await;
            assert!(matches!(full, UnitOutcome::OutboxFull(_)), "{full:?}");
        }
        let acked = a.fetch(holder.session).await;
        let complete = Complete {
            holder,
            acked: acked.into_iter().map(|it| it.seq).collect(),
            nacked: Vec::new(),
        };
        assert_eq!(a.run(complete).await, Fenced::Done);
    }
}

/// A reserved range stays in use when a transaction is rolled back.
pub async fn rolled_back(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let before = a.send_many("s1", MANY).await;
    let unit = || incoming(holder, "c1", None);
    assert!(matches!(a.run(unit()).await, UnitOutcome::Committed(_)));
    // The second of the two is refused, without affecting the range.
    let again = Unit {
        effects: vec![to("s1", send("not stored"))],
        ..unit()
    };
    assert!(matches!(a.run(again).await, UnitOutcome::Duplicate(_)));
    let after = a.send_many("s1", 1).await[0];
    assert_eq!(after.0, before[MANY - 1].1);
    let numbers: Vec<_> = a.fetch(holder.session).await;
    let numbers: Vec<_> = numbers.into_iter().map(|it| it.seq).collect();
    assert_eq!(numbers.last(), Some(&after.1));
    assert_eq!(numbers.len(), MANY + 1);
}
