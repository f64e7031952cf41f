//! Recurring queries do not become slower because of deleted rows. An old transaction keeps PostgreSQL from removing
//! dead rows, and their index entries, for as long as it runs.

use std::time::{Duration, Instant};

use super::probe::{ME, Probe};
use super::*;

/// The time of the test: so early that numbers are consecutive from 1.
const NOW: i64 = 1_500_000_000_000;

/// Number of deleted rows.
const GONE: i64 = 200_000;

/// Pages that a query may read once an earlier one has stepped over the deleted rows.
const A_FEW: i64 = 40;

const SECOND: Duration = Duration::from_secs(1);

/// A transaction that sees the database as of its beginning, while this exists.
struct Report {
    _conn: PgConnection,
    /// Released after the transaction has ended.
    _alone: MutexGuard<'static, ()>,
}

impl Report {
    fn begin() -> Report {
        let alone = dead_rows_are_ours();
        let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class";
        conn.batch_execute(begin).expect("begins");
        Report {
            _conn: conn,
            _alone: alone,
        }
    }
}

/// A probe on empty tables without autovacuum, and a transaction that is older than everything that follows.
fn begin() -> (Schema, Probe, Report) {
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    let mut probe = Probe::new(&schema, NOW);
    for table in ["forwarded", "correlation", "publication"] {
        probe.execute(&format!(
            "ALTER TABLE {table} SET (autovacuum_enabled = off)"
        ));
    }
    probe.run(RenewLease {
        join: true,
        lease: SECOND * 1_000,
    });
    let report = Report::begin();
    (schema, probe, report)
}

pub(super) fn claim(looked: Option<Looked>) -> ClaimForwarded {
    let room = Room {
        rows: 10,
        bytes: 1_000,
    };
    ClaimForwarded {
        rooms: [("service".to_owned(), room)].into(),
        holding: Default::default(),
        claim_grace: SECOND * 15,
        asked: Instant::now(),
        looked,
    }
}

fn free() -> NewForward {
    NewForward {
        here: false,
        ..work()
    }
}

/// With 256,000 deleted rows, the claim made every second took 650 ms.
#[test]
fn a_claim_steps_over_deleted_rows_once() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "INSERT INTO node (name, lease_until) VALUES ('dead', {NOW} - 30000); \
        INSERT INTO forwarded (epoch, node, due, attempts, secret, created, service, endpoint, sid, user_id, kind, tid, msg) \
        SELECT 1, CASE i % 4 WHEN 0 THEN '{ME}' WHEN 1 THEN 'dead' END, {NOW} - 30000 - i % 1000, 0, 's', {NOW}, 'service', \
            'e', 's', 'u', 'SEND', 't', '1' \
        FROM generate_series(1, {GONE}) AS i; \
        DELETE FROM forwarded"
    ));
    let (mut claimed, first) = probe.count_pages(claim(None));
    assert!(first > GONE, "nothing was in the way: {first} pages");
    for _ in 0..3 {
        probe.clock.advance(SECOND);
        let (next, pages) = probe.count_pages(claim(Some(claimed.looked)));
        assert!(
            pages < A_FEW,
            "a claim looked at {pages} pages, the first one at {first}"
        );
        claimed = next;
    }
    probe.run(call(vec![Effect::Forward(Box::new(free()))]));
    probe.clock.advance(SECOND);
    let (found, pages) = probe.count_pages(claim(Some(claimed.looked)));
    assert_eq!(found.rows.len(), 1);
    assert!(
        pages < 2 * A_FEW,
        "a claim of one row looked at {pages} pages"
    );
}

#[test]
fn looking_for_ended_requests_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "INSERT INTO correlation (session, seq, sid, user_id, tid, terminator, requested, timeout_ms, due) \
        SELECT i % 1000, i, 's', 'u', 't', 'r', {NOW}, 1000, {NOW} - 30000 - i % 1000 FROM generate_series(1, {GONE}) AS i; \
        DELETE FROM correlation"
    ));
    let look = |since| ClaimEndedCorrelations {
        limit: 100,
        again: SECOND,
        since,
    };
    let (mut claimed, first) = probe.count_pages(look(None));
    assert!(first > GONE, "nothing was in the way: {first} pages");
    for _ in 0..3 {
        probe.clock.advance(SECOND);
        let (next, pages) = probe.count_pages(look(Some(claimed.since)));
        assert!(
            pages < A_FEW,
            "a look took {pages} pages, the first one {first}"
        );
        claimed = next;
    }
}

#[test]
fn looking_for_expired_messages_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created, expires) \
        SELECT i % 1000, i, 'SEND', 'e', 't', '1', 0, {NOW}, {NOW} - 30000 - i % 1000 FROM generate_series(1, {GONE}) AS i; \
        DELETE FROM outbox"
    ));
    let look = |since| ExpireMessages {
        grace: SECOND,
        since,
        limit: 100,
    };
    let (mut expired, first) = probe.count_pages(look(None));
    assert!(first > GONE, "nothing was in the way: {first} pages");
    for _ in 0..3 {
        probe.clock.advance(SECOND);
        let (next, pages) = probe.count_pages(look(Some(expired.since)));
        assert!(
            pages < A_FEW,
            "a look took {pages} pages, the first one {first}"
        );
        expired = next;
    }
}

/// A user who forwards much is counted again and again.
#[test]
fn counting_a_users_forwarded_messages_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, alive, last_seq) \
        VALUES (256, 's1', 'p', 'user', 1, 'c', 'a', '1', {NOW}, {NOW}, 0); \
        INSERT INTO forwarded (epoch, node, due, attempts, secret, created, service, endpoint, sid, user_id, kind, tid, msg) \
        SELECT 1, 'other', {NOW} - 30000, 0, 's', {NOW} - 30000, 'service', 'e', 's1', 'user', 'SEND', 't', '1' \
        FROM generate_series(1, {GONE}) AS i; \
        DELETE FROM forwarded"
    ));
    let mut forward = |many: usize, cmid: &str| {
        let incoming = Unit {
            cause: Cause::Incoming {
                holder: Holder {
                    session: SessionKey(256),
                    connection: ConnectionId(1),
                },
                cmid: cmid.into(),
                answer: None,
                settles: None,
            },
            effects: vec![Effect::Forward(Box::new(work())); many],
        };
        let (outcome, pages) = probe.count_pages(incoming);
        assert!(matches!(outcome, UnitOutcome::Committed(_)), "{outcome:?}");
        pages
    };
    let first = forward(1, "c0");
    assert!(first > 1_000, "nothing was in the way: {first} pages");
    // More than may be forwarded between two counts.
    let many = StoreConfig::default().max_forwarded_per_session as usize / 4;
    let pages = forward(many, "c1");
    let of_one = pages / many as i64;
    assert!(
        of_one < A_FEW,
        "{many} messages took {pages} pages, the first one {first}"
    );
}

#[test]
fn looking_for_the_oldest_publication_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "INSERT INTO publication (id, created, topic, tid, msg) \
        SELECT i, {NOW}, 't', 't', '1' FROM generate_series(1, {GONE} + 10) AS i; \
        DELETE FROM publication WHERE id <= {GONE}"
    ));
    let read = || ReadTopic {
        topic: "t".into(),
        after: GONE + 5,
        up_to: GONE + 10,
        max_bytes: 10_000,
        complete: true,
    };
    let (page, first) = probe.count_pages(read());
    assert_eq!(page.expect("all of it is there").publications.len(), 5);
    assert!(first > 1_000, "nothing was in the way: {first} pages");
    let (page, pages) = probe.count_pages(read());
    assert_eq!(page.expect("all of it is there").publications.len(), 5);
    assert!(
        pages < A_FEW,
        "a look took {pages} pages, the first one {first}"
    );
}

#[test]
fn looking_for_sessions_to_close_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "ALTER TABLE session SET (autovacuum_enabled = off); \
        INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, alive, \
            last_seq, close_at) \
        SELECT i, 's' || i, 'p', 'user', 1, 'c', 'a', '1', {NOW}, {NOW}, 0, {NOW} - 30000 - i % 1000 \
        FROM generate_series(1, {GONE} / 10) AS i; \
        DELETE FROM session"
    ));
    let (swept, first) = probe.count_pages(Sweep);
    assert!(!swept.close_due);
    assert!(first > 1_000, "nothing was in the way: {first} pages");
    for _ in 0..3 {
        probe.clock.advance(SECOND);
        let (_, pages) = probe.count_pages(Sweep);
        assert!(
            pages < A_FEW,
            "a sweep looked at {pages} pages, the first one at {first}"
        );
    }
}

#[test]
fn looking_for_a_sessions_newest_message_skips_deleted_rows() {
    let (_schema, mut probe, _report) = begin();
    probe.execute(&format!(
        "ALTER TABLE outbox SET (autovacuum_enabled = off); \
        INSERT INTO session (key, sid, smid_prefix, user_id, connection, node, client, app_name, app_version, created, alive, \
            last_seq) \
        VALUES (256, 's1', 'p', 'user', 1, '{ME}', 'c', 'a', '1', {NOW}, {NOW}, {GONE}); \
        INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT 256, i, 'SEND', 'e', 't', '1', 0, {NOW} FROM generate_series(1, {GONE}) AS i; \
        DELETE FROM outbox WHERE seq < {GONE}"
    ));
    let holder = Holder {
        session: SessionKey(256),
        connection: ConnectionId(1),
    };
    let newest = |swept: &Swept| Vec::from_iter(swept.sessions.iter().map(|it| it.newest));
    assert_eq!(newest(&probe.run(Sweep)), [GONE]);
    probe.run(Complete {
        holder,
        acked: vec![GONE],
        nacked: vec![],
    });
    let (swept, pages) = probe.count_pages(Sweep);
    assert_eq!(newest(&swept), [0], "it is known");
    assert!(pages < A_FEW, "a sweep looked at {pages} pages");
    probe.run(call(vec![to("s1", "m")]));
    assert_eq!(
        newest(&probe.run(Sweep)),
        [GONE + 1],
        "what is new is found"
    );
}
