//! A store whose segments a test can look at.

use super::*;

/// A node, and another one that rotates the segments.
pub struct Case {
    pub schema: Schema,
    pub node: Node,
    pub other: Node,
    pub holder: Holder,
}

impl Case {
    /// Opens one session, whose rows go to the first segment.
    pub async fn begin() -> Case {
        let schema = Schema::new();
        let node = Node::attach("a", schema.settings()).expect("opens");
        let other = Node::attach("b", schema.settings()).expect("opens");
        let holder = node.open("s1").await;
        let case = Case {
            schema,
            node,
            other,
            holder,
        };
        assert_eq!(case.step().await, Rotated::More);
        assert_eq!(case.current(), 1, "it has begun");
        case
    }

    pub async fn step(&self) -> Rotated {
        self.other.run(Rotate { beyond: 0 }).await
    }

    /// Advances to the next segment and no further: the segment before the previous one still has its rows.
    pub async fn rotate(&self) {
        let before = self.current();
        // A row that was inserted and deleted makes the segment large enough.
        self.schema.execute(&format!(
            "INSERT INTO inbox_{before} (session, cmid, created) VALUES (0, 'c', 0); \
            DELETE FROM ONLY inbox_{before} WHERE session = 0"
        ));
        while self.current() == before {
            assert_eq!(self.step().await, Rotated::More);
        }
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.schema.number(sql)
    }

    pub fn current(&self) -> i64 {
        self.number("SELECT current::bigint FROM segments")
    }

    /// Number of rows in each table, the parent first.
    pub fn counts(&self, name: &str) -> [i64; 5] {
        [0, 1, 2, 3, 4].map(|segment| match segment {
            0 => self.number(&format!("SELECT count(*) FROM ONLY {name}")),
            _ => self.number(&format!("SELECT count(*) FROM ONLY {name}_{segment}")),
        })
    }

    pub async fn send(&self, tid: &str) {
        self.node.run(call(vec![to("s1", tid)])).await;
    }

    /// Receives a client's message. False: it had been received before.
    pub async fn receive(&self, cmid: &str) -> bool {
        let cause = Cause::Incoming {
            holder: self.holder,
            cmid: cmid.into(),
            answer: Some("answer".into()),
            settles: None,
        };
        let unit = Unit {
            cause,
            effects: vec![],
        };
        match self.node.run(unit).await {
            UnitOutcome::Committed(_) => true,
            UnitOutcome::Duplicate(answer) => {
                assert_eq!(answer.as_deref(), Some("answer"));
                false
            }
            other => panic!("{other:?}"),
        }
    }

    /// Stores a message of each kind in each table that may hold any.
    pub async fn fill(&self) {
        for round in 1..=5 {
            self.send(&format!("m{round}")).await;
            assert!(self.receive(&format!("c{round}")).await);
            if round < 5 {
                self.rotate().await;
            }
        }
        assert_eq!(self.counts("outbox"), [2, 1, 0, 1, 1]);
    }

    /// The sequence numbers in the session's outbox.
    pub async fn seqs(&self) -> Vec<i64> {
        let all = FetchOutbox {
            session: self.holder.session,
            after: 0,
            limit: 100_000,
            max_bytes: u64::MAX,
            max_first: u64::MAX,
        };
        let messages = self.node.run(all).await.messages.into_iter();
        messages.map(|message| message.seq).collect()
    }

    /// The client acknowledges these messages of its outbox, counted from 1.
    pub async fn complete(&self, which: std::ops::RangeInclusive<usize>) {
        let seqs = self.seqs().await;
        let complete = Complete {
            holder: self.holder,
            acked: seqs[which.start() - 1..*which.end()].to_vec(),
            nacked: vec![],
        };
        assert_eq!(self.node.run(complete).await, Fenced::Done);
    }

    /// Size of a segment's inbox in bytes.
    pub fn size(&self, segment: i32) -> i64 {
        self.number(&format!("SELECT pg_relation_size('inbox_{segment}')"))
    }

    pub fn old_node_joins(&self) {
        let join = "INSERT INTO node (name, lease_until) VALUES ('old', 0)";
        self.schema.execute(join);
    }

    pub async fn forget(&self, cmids: &[&str]) {
        let drop = DropInbox {
            holder: self.holder,
            cmids: cmids.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert_eq!(self.node.run(drop).await, Fenced::Done);
    }
}
