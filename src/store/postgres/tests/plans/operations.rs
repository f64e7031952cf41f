//! Runs every operation of the store.

use std::time::Duration;

use super::*;

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
    pub fn run_all(&mut self) {
        self.nodes();
        let holder = self.sessions();
        self.mailbox(holder);
        self.kept();
        self.correlations(holder);
        self.topics(holder);
        self.presence();
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

    /// Messages for a user who opens a session only afterwards.
    fn kept(&mut self) {
        let keep = |tid: &str| Effect::ToUser {
            user_id: "away".into(),
            message: send(tid),
            keep: Some(KeepFor {
                time: day(),
                for_every_session: false,
            }),
        };
        self.run(call(vec![keep("m5"), keep("m6")]));
        let sid = format!("away {}", self.ran.len());
        let session = NewOrResumed::New {
            sid: sid.clone(),
            smid_prefix: "p".into(),
        };
        self.run(Register {
            user_id: "away".into(),
            ..register(session)
        });
        self.run(CloseSession {
            target: CloseTarget::Sid(sid),
            reason: "it is over".into(),
        });
        self.run(DropKept {
            user_id: "away".into(),
        });
        self.run(ExpireKept { limit: 10 });
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
            value_of: None,
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
        for number in ["p2", "p3"] {
            self.run(call(vec![Effect::Publish {
                topic: "t1".into(),
                tid: number.into(),
                msg: serde_json::value::RawValue::NULL.to_owned(),
                value_of: Some("k1".into()),
            }]));
        }
        let new = ["t1", "t2"].map(|topic| (topic.to_owned(), ValuesFor::New));
        let resumed = ("t3".to_owned(), ValuesFor::Resumed { since: 5 });
        self.run(FindValues {
            session: holder.session,
            topics: new.into_iter().chain([resumed]).collect(),
            up_to: i64::MAX,
        });
        self.run(ReadValues {
            topic: "t1".into(),
            after: 0,
            up_to: i64::MAX,
            max_bytes: 1_000,
        });
        self.run(DropValue {
            topic: "t1".into(),
            key: "k1".into(),
        });
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

    fn presence(&mut self) {
        let (after, user_id) = (Some("u2".to_owned()), "u24999".to_owned());
        self.run(FindConnected { user_id });
        let limit = 10;
        self.run(ListConnected {
            after: after.clone(),
            limit,
        });
        for subscriber in [None, Some(("s1".to_owned(), "t1".to_owned()))] {
            self.run(ReadPresence {
                subscriber,
                after: after.clone(),
                limit,
            });
        }
        let grace = Duration::from_secs(60);
        // The second time, those users are known, and some of them are gone or back.
        for users in [1..20, 10..30] {
            self.run(SettlePresence {
                users: users.map(|number| format!("u{number}")).collect(),
                grace,
                limit,
                topic: "presence".into(),
            });
        }
        let review = day();
        self.run(LookAtPresence { grace, review });
        self.run(ClaimPresenceReview { review });
        for of in [Reviewed::Present, Reviewed::WithSessions] {
            for after in [None, after.clone()] {
                self.run(ReviewPresence { of, after, limit });
            }
        }
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
