//! How PostgreSQL executes our statements, whatever its statistics say about the tables.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::probe::{ME, Probe};
use super::*;

/// The time of the test: so early that numbers are consecutive from 1.
const NOW: i64 = 1_500_000_000_000;

/// Rows in each table, in the stages with many.
const MANY: i64 = 100_000;

/// Maximum number of table and index pages that an operation may read, however many rows there are.
const MOST_PAGES: i64 = 500;

/// Operations that are rare.
const SELDOM: [&str; 7] = [
    "ListUsers",
    "MendTimes",
    "ListDeadLetters",
    "RedriveDeadLetter",
    "DropDeadLetter",
    "DeadLettersBeyond",
    "ScavengeDeadLetters",
];

/// Operations that start at the beginning of an index here, and therefore step over deleted rows. (The tests of polls
/// check that they normally do not.)
const FROM_THE_START: [&str; 4] = ["ClaimForwarded", "FindUnserved", "Scavenge", "Subscribe"];

fn most_pages(operation: &str, when: &str) -> i64 {
    let steps_over = FROM_THE_START.contains(&operation) && when.contains("dead");
    match SELDOM.contains(&operation) || steps_over {
        true => i64::MAX,
        false => MOST_PAGES,
    }
}

/// Tables that may have many rows. (The others have a few rows, which may be scanned; dead letters are read seldom.)
const LARGE: [&str; 8] = [
    "session",
    "inbox",
    "outbox",
    "correlation",
    "subscription",
    "publication",
    "sent_key",
    "forwarded",
];

/// Operations that an operator runs now and then; they concern nearly all rows.
const ABOUT_ALL: [&str; 3] = ["ListSessions", "CountSessions", "ListNodes"];

macro_rules! names {
    ($($mode:ident $rank:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        /// All operations.
        fn operations() -> Vec<&'static str> {
            vec![$(std::any::type_name::<$operation>()),*]
        }
    };
}
crate::store::statements::operations!(names);

fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Fills all tables. The probe's node holds a few of the sessions and some of the work.
fn fill(rows: i64) -> String {
    format!(
        "INSERT INTO node (name, lease_until, services) VALUES ('other', {NOW} + 1000000000, '[\"other\\u0027s\"]') ON CONFLICT DO NOTHING; \
        UPDATE publication_clock SET newest = greatest(newest, {rows}); \
        INSERT INTO session (key, sid, smid_prefix, user_id, connection, node, client, app_name, app_version, created, alive, last_seq) \
        SELECT i * 256, 's' || i, 'p', 'u' || i / 4, 1, CASE WHEN i <= 10 THEN '{ME}' WHEN i % 2 = 0 THEN 'other' END, 'c', 'a', '1', \
            {NOW}, {NOW} - CASE WHEN i > {rows} - 5 THEN 100000000 ELSE i % 1000 END, 1000000 FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO inbox (session, cmid, created) \
        SELECT (i % 1000 + 1) * 256, 'c' || i, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO inbox_1 (session, cmid, created) \
        SELECT (i % 1000 + 1) * 256, 'd' || i, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO outbox_1 (session, seq, kind, eid, tid, msg, deliveries, created, expires) \
        SELECT (i % 1000 + 1) * 256, {rows} + i, 'SEND', 'e', 't', '1', 0, {NOW}, {NOW} + CASE WHEN i <= 5 THEN -60000 ELSE i * 1000 END \
        FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT (i % 1000 + 1) * 256, i, 'SEND', 'e', 't', '1', 0, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO correlation (session, seq, sid, user_id, tid, terminator, requested, timeout_ms, due) \
        SELECT (i % 1000 + 1) * 256, i, 's', 'u', 't', 'r', {NOW}, 1000, {NOW} + i % 50000 FROM generate_series(1, {rows}) AS i \
        ON CONFLICT DO NOTHING; \
        INSERT INTO subscription (session, topic) \
        SELECT (i % 1000 + 1) * 256, 't' || i FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO publication (id, created, topic, tid, msg) \
        SELECT i, {NOW}, 't' || i % 1000, 't', '1' FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO sent_key (key, created) \
        SELECT 'k' || i, {NOW} - i FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO dead_letter (origin, sid, user_id, kind, tid, created, reason, deliveries, died, bytes) \
        SELECT 'outbox', 's', 'u', 'SEND', 't', {NOW}, 'r', 1, {NOW}, 1 FROM generate_series(1, {rows}) AS i; \
        INSERT INTO forwarded (epoch, node, due, attempts, secret, created, service, endpoint, sid, user_id, kind, tid, msg, key) \
        SELECT 1, CASE WHEN i % 10000 = 0 THEN '{ME}' WHEN i % 3 = 0 THEN 'other' END, {NOW} - i % 100, 0, 's', {NOW}, \
            CASE WHEN i % 2 = 0 THEN 'service' ELSE 'other''s' END, 'e', 's' || i, 'u' || i / 4, 'SEND', 't', '1', 'k' || i \
        FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING;"
    )
}

fn on_all(statement: impl Fn(&str) -> String) -> String {
    LARGE.map(statement).concat()
}

fn day() -> Duration {
    Duration::from_secs(24 * 3600)
}

fn register(session: NewOrResumed) -> Register {
    Register {
        session,
        user_id: "anna".into(),
        client: "test,1".into(),
        app_name: "App".into(),
        app_version: "1".into(),
        max_sessions_per_user: 1,
        min_absence: Duration::ZERO,
        of_the_dead: true,
    }
}

impl Probe {
    /// Runs every operation.
    fn run_all(&mut self) {
        self.nodes();
        let holder = self.sessions();
        self.mailbox(holder);
        self.correlations(holder);
        self.topics(holder);
        self.forwarded();
        self.dead_letters();
        self.upkeep(holder);
        self.run(CloseSession {
            target: CloseTarget::Holder(holder),
            reason: "it is over".into(),
        });
        // There are segments from the first run on.
        self.run(Rotate { beyond: u64::MAX });
    }

    fn nodes(&mut self) {
        let lease = Duration::from_secs(1_000);
        self.run(RenewLease { join: true, lease });
        self.run(LeaveNode);
        for join in [true, false] {
            self.run(RenewLease { join, lease });
        }
        let services = vec!["service".to_owned()];
        self.run(NoteServices { services });
        self.run(AllHaveSaid);
        let name = "application".to_owned();
        self.run(ClaimApplication { name: name.clone() });
        self.run(RenameApplication { name });
    }

    /// Opens a session, which makes room by closing that of the previous run, and resumes it.
    fn sessions(&mut self) -> Holder {
        let sid = format!("session {}", self.ran.len());
        let resumed = NewOrResumed::Resumed { sid: sid.clone() };
        let new = NewOrResumed::New {
            sid: sid.clone(),
            smid_prefix: "p".into(),
        };
        self.run(register(new));
        let Registered::Held(held) = self.run(register(resumed.clone())) else {
            panic!("it is there");
        };
        self.run(Deregister {
            holder: held.holder,
        });
        self.run(FindHome { sid: sid.clone() });
        self.run(CloseSession {
            target: CloseTarget::Sid("nobody".into()),
            reason: "nobody".into(),
        });
        let after = Duration::ZERO;
        self.run(CloseLater {
            sid: sid.clone(),
            after,
        });
        self.run(ReadStanding {
            session: held.holder.session,
        });
        let Registered::Held(held) = self.run(register(resumed)) else {
            panic!("it is there");
        };
        self.run(CloseDue { after, limit: 10 });
        held.holder
    }

    fn mailbox(&mut self, holder: Holder) {
        let (session, sid) = (holder.session, format!("s{}", holder.session.0));
        let cause = |cmid: &str| Cause::Incoming {
            holder,
            cmid: cmid.into(),
            answer: None,
            settles: None,
        };
        for cmid in ["c1", "c2"] {
            let effects = vec![to(&sid, "m1"), to("s1", "m2"), to("s2", "m3")];
            let cause = cause(cmid);
            self.run(Unit { cause, effects });
        }
        let cmid = "c1".to_owned();
        self.run(ReadAnswer { session, cmid });
        let cmids = vec!["c1".to_owned(), "c2".to_owned()];
        self.run(DropInbox { holder, cmids });
        self.run(fetch(session, 0));
        self.run(fetch(SessionKey(256), 1_000));
        self.run(MarkRedelivery {
            holder,
            seqs: vec![1, 2],
            max: 1,
        });
        self.run(Complete {
            holder,
            acked: vec![1],
            nacked: vec![2],
        });
        // A user with four sessions whose outboxes are empty: counting others would read a page for each message.
        self.run(call(vec![to_user("u24999", "m4")]));
        self.run(ListUsers {
            after: Some("u2".into()),
            limit: 10,
        });
        let key = "key".to_owned();
        let cause = Cause::Call {
            idempotency_key: Some(key),
        };
        let effects = Vec::new();
        self.run(Unit { cause, effects });
    }

    fn correlations(&mut self, holder: Holder) {
        let (session, seq) = (holder.session, 7);
        self.run(ReadCorrelation { session, seq });
        self.run(ClaimEndedCorrelations {
            limit: 10,
            again: day(),
            since: None,
        });
        self.run(ExpireMessages {
            grace: Duration::from_secs(10),
            since: None,
            limit: 100,
        });
        self.run(call(vec![Effect::EndRequest {
            session,
            seq,
            reason: "it ends".into(),
        }]));
        let cause = Cause::EndedCorrelation { session, seq };
        let effects = Vec::new();
        self.run(Unit { cause, effects });
    }

    fn topics(&mut self, holder: Holder) {
        let topics = vec![("t1".to_owned(), Some(1)), ("t2".to_owned(), None)];
        self.run(Subscribe { holder, topics });
        let topic = "t1".to_owned();
        self.run(Unsubscribe {
            holder,
            topic: topic.clone(),
        });
        self.run(NotePositions {
            positions: (1..=20).map(|i| (SessionKey(i * 256), i)).collect(),
        });
        let msg = serde_json::value::RawValue::NULL.to_owned();
        self.run(call(vec![Effect::Publish {
            topic: topic.clone(),
            tid: "tid".into(),
            msg,
        }]));
        let newest = self.run(NewestPublication);
        let (after, max_bytes) = ((newest - 20).max(0), 10_000);
        self.run(FetchPublications { after, max_bytes });
        let session = holder.session;
        let since = Since::Seen {
            id: after,
            created: NOW,
        };
        let topics = vec![
            (topic.clone(), since),
            ("t2".to_owned(), Since::Subscribed(Some(after))),
        ];
        self.run(FindMissed {
            session,
            topics,
            up_to: newest,
            limit: 10,
        });
        self.run(ReadTopic {
            topic,
            after,
            up_to: newest,
            max_bytes,
            complete: true,
        });
    }

    fn forwarded(&mut self) {
        let room = Room {
            rows: 5,
            bytes: 1_000,
        };
        let claimed = self.run(ClaimForwarded {
            rooms: [("service".to_owned(), room)].into(),
            holding: Default::default(),
            claim_grace: Duration::from_secs(15),
            asked: Instant::now(),
            looked: None,
        });
        let free = NewForward {
            here: false,
            ..work()
        };
        let keyed = NewForward {
            key: Some("key".into()),
            ..work()
        };
        for work in [work(), free, keyed] {
            self.run(call(vec![Effect::Forward(Box::new(work))]));
        }
        let (service, key) = ("service".into(), "another".into());
        self.run(call(vec![Effect::Cancel { service, key }]));
        let rows: Vec<_> = claimed.rows.iter().map(|row| (row.id, row.epoch)).collect();
        let (id, epoch) = rows.first().copied().unwrap_or_default();
        let secret = "s".to_owned();
        self.run(ReadForwarded { id, secret });
        let back = PostponeForwarded {
            id,
            epoch,
            attempts: 1,
            delay: Duration::ZERO,
        };
        self.run(back.clone());
        self.run(Unit {
            cause: Cause::Postponed {
                back,
                idempotency_key: None,
            },
            effects: Vec::new(),
        });
        let (id, epoch) = rows.get(1).copied().unwrap_or_default();
        let reason = "it failed".to_owned();
        self.run(BuryForwarded { id, epoch, reason });
        let (id, epoch) = rows.get(2).copied().unwrap_or_default();
        let proof = Proof::Epoch(epoch);
        self.run(Unit {
            cause: Cause::Forwarded { id, proof },
            effects: Vec::new(),
        });
        let rows = rows.into_iter().skip(3).collect();
        self.run(GiveBackForwarded { rows });
        self.run(FindUnserved { limit: 10 });
    }

    fn dead_letters(&mut self) {
        let letters = self.run(ListDeadLetters {
            after: 0,
            limit: 10,
        });
        let id = letters.last().map_or(0, |letter| letter.id);
        self.run(RedriveDeadLetter { id });
        self.run(DropDeadLetter { id });
        self.run(DeadLettersBeyond {
            max_letters: 10,
            max_bytes: 1_000,
        });
        self.run(ScavengeDeadLetters {
            older: day(),
            beyond: None,
            limit: 10,
        });
    }

    fn upkeep(&mut self, holder: Holder) {
        let holders = (1..=20).map(|i| Holder {
            session: SessionKey(i * 256),
            connection: ConnectionId(1),
        });
        let holders: Vec<_> = holders.chain([holder]).collect();
        let sessions = holders.iter().map(|holder| holder.session).collect();
        self.run(Liveliness { holders });
        self.run(WhichExist { sessions });
        self.run(Sweep);
        self.run(TimeOutSessions {
            idle: day(),
            limit: 10,
        });
        self.run(MendTimes {
            close_after: day(),
            again: day(),
            limit: 10,
        });
        let tables = [
            ScavengeFrom::default(),
            ScavengeFrom::Outbox(i64::MIN, 0),
            ScavengeFrom::Subscriptions(i64::MIN, String::new()),
            ScavengeFrom::Publications(i64::MIN),
            ScavengeFrom::Keys(i64::MIN),
            ScavengeFrom::Nodes,
        ];
        for from in tables {
            self.run(Scavenge {
                inbox_older: day(),
                publications_older: day(),
                keys_older: day(),
                from,
                limit: 10,
            });
        }
    }
}

fn fetch(session: SessionKey, after: i64) -> FetchOutbox {
    FetchOutbox {
        session,
        after,
        limit: 10,
        max_bytes: u64::MAX,
        max_first: u64::MAX,
    }
}

/// Whether a table, or a segment of one, may have many rows.
fn is_large(table: &str) -> bool {
    let table = table.trim_end_matches(|it: char| it == '_' || it.is_ascii_digit());
    LARGE.contains(&table)
}

/// Describes what is wrong with a plan, if anything: it scans whole tables or indexes, sorts what an index could return
/// in order, or scans the given values for each row of a table.
fn complaint(plan: &Json, parents: &[&str], of_table: bool) -> Option<String> {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    let (kind, table) = (text("Node Type"), text("Relation Name"));
    let is_large = is_large(table);
    let is_index = kind.contains("Index");
    let is_limited = parents.first() == Some(&"Limit");
    let wrong = match kind {
        "Seq Scan" if is_large => "walks through a table",
        "Hash Join" | "Merge Join" => "joins whole tables",
        "Function Scan" if text("Parent Relationship") == "Inner" && of_table => {
            "goes through the values for each row"
        }
        "Sort" if is_limited => "sorts all to take the first",
        _ if is_index && plan["Index Cond"].is_null() && !is_limited && is_large => {
            "walks through an index"
        }
        _ => "",
    };
    if !wrong.is_empty() {
        return Some(format!("{wrong}: {kind} {table} {}", text("Index Name")));
    }
    // A node that locks rows stands between them.
    let parents: Vec<_> = match kind {
        "LockRows" => parents.to_vec(),
        _ => [kind].iter().chain(parents).copied().collect(),
    };
    let below = plan["Plans"].as_array();
    let mut below = below.into_iter().flatten();
    let of_table = below.clone().any(reads_a_table);
    below.find_map(|below| complaint(below, &parents, of_table))
}

/// Whether part of a plan reads a table that may have many rows.
fn reads_a_table(plan: &Json) -> bool {
    let table = plan["Relation Name"].as_str();
    let below = plan["Plans"].as_array().into_iter().flatten();
    table.is_some_and(is_large) || below.into_iter().any(reads_a_table)
}

/// A node that started on an empty table kept a plan that scanned the whole inbox, dead rows included, and the array
/// for each of those rows.
#[test]
fn the_plans_are_right_whatever_the_statistics_say() {
    let _alone = dead_rows_are_ours();
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    let mut probe = Probe::new(&schema, NOW);
    probe.execute(&on_all(|it| {
        format!("ALTER TABLE {it} SET (autovacuum_enabled = off);")
    }));
    let stages = [
        ("with empty tables", "SELECT 1".to_owned()),
        ("analysed when empty", "ANALYZE".to_owned()),
        ("with one row", fill(1)),
        ("with one row, analysed", "ANALYZE".to_owned()),
        ("with many rows", fill(MANY)),
        ("with many rows, analysed", "ANALYZE".to_owned()),
        ("with dead rows", on_all(|it| format!("DELETE FROM {it};"))),
        ("with dead rows, analysed", "ANALYZE".to_owned()),
        ("with many rows again", fill(MANY)),
    ];
    let mut complaints = BTreeSet::new();
    for (when, sql) in stages {
        probe.execute(&sql);
        // First with the plans of the previous stage.
        for plans in ["earlier plans", "fresh plans"] {
            probe.ran.clear();
            probe.run_all();
            let many = probe
                .ran
                .iter()
                .filter(|(name, pages)| **pages > most_pages(short(name), when));
            complaints.extend(
                many.map(|(name, pages)| {
                    format!("{name} looks at {pages} pages {when}, by {plans}")
                }),
            );
            probe.forget_plans();
        }
        for prepared in probe.prepared() {
            let plan = probe.plan(&prepared);
            let wrong = complaint(&plan[0]["Plan"], &[], false);
            complaints
                .extend(wrong.map(|wrong| format!("{when}, this {wrong}\n    {}", prepared.text)));
        }
    }
    let complaints = Vec::from_iter(complaints).join("\n");
    assert!(complaints.is_empty(), "{complaints}");
    let forgotten = operations()
        .into_iter()
        .filter(|it| !probe.ran.contains_key(it) && !ABOUT_ALL.contains(&short(it)));
    assert_eq!(
        forgotten.collect::<Vec<_>>(),
        [""; 0],
        "these are not looked at"
    );
}
