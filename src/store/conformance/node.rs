//! A node attached to the store of a case, and the news it receives.

use super::*;

/// Collects the news of a node.
#[derive(Default)]
pub(super) struct Collector(Vec<News>);

impl Actor for Collector {
    type Context = Context<Collector>;
}

crate::mailbox::metered!(Collector: CommitNews, Dispatch);

impl Handler<CommitNews> for Collector {
    type Result = ();

    fn handle(&mut self, news: CommitNews, _: &mut Context<Collector>) {
        let CommitNews {
            stored,
            work,
            published,
        } = news;
        self.0.push(News {
            stored,
            work,
            published,
            ..News::default()
        });
    }
}

impl Handler<Dispatch> for Collector {
    type Result = ();

    /// Arrives after the news of the same commit, if there is any.
    fn handle(&mut self, Dispatch { rows, due }: Dispatch, _: &mut Context<Collector>) {
        let last = self.0.last_mut();
        match last.filter(|news| news.forwarded.is_empty() && news.due.is_empty()) {
            Some(news) => (news.forwarded, news.due) = (rows, due),
            None => self.0.push(News {
                forwarded: rows,
                due,
                ..News::default()
            }),
        }
    }
}

/// Takes the news collected so far.
#[derive(Message)]
#[rtype(result = "Collected")]
struct Take;

#[derive(MessageResponse)]
struct Collected(Vec<News>);

impl Handler<Take> for Collector {
    type Result = Collected;

    fn handle(&mut self, _: Take, _: &mut Context<Collector>) -> Collected {
        Collected(std::mem::take(&mut self.0))
    }
}

/// A node attached to the store.
pub(super) struct Node {
    pub(super) store: StoreHandle,
    pub(super) news: Addr<Collector>,
    pub(super) rotates: Option<StoreHandle>,
}

impl Node {
    pub(super) async fn run<O: Operation>(&self, operation: O) -> O::Outcome {
        if let Some(rotates) = &self.rotates {
            let rotated = rotates.run(Rotate { beyond: 0 }).await;
            rotated.expect("the store works");
        }
        self.store.run(operation).await.expect("the store works")
    }

    /// The news sent since the last call.
    pub(super) async fn news(&self) -> Vec<News> {
        self.news.send(Take).await.expect("the collector lives").0
    }

    pub(super) async fn register(&self, user: &str, session: NewOrResumed) -> Registered {
        self.run(register_of(user, session)).await
    }

    pub(super) async fn open(&self, user: &str, sid: &str) -> HeldSession {
        held(
            self.register(
                user,
                NewOrResumed::New {
                    sid: sid.into(),
                    smid_prefix: format!("{sid}-"),
                },
            )
            .await,
        )
    }

    pub(super) async fn resume(&self, user: &str, sid: &str) -> HeldSession {
        held(
            self.register(user, NewOrResumed::Resumed { sid: sid.into() })
                .await,
        )
    }

    /// The node to which a session is connected, as all nodes see it.
    pub(super) async fn home(&self, sid: &str) -> Option<String> {
        self.listed(sid).await.expect("it exists").node
    }

    pub(super) async fn listed(&self, sid: &str) -> Option<StoredSession> {
        let all = ListSessions {
            newest_first: false,
            filter: SessionFilter::default(),
            limit: 1000,
        };
        let mut listed = self.run(all).await.into_iter();
        listed.find(|session| session.session_id == sid)
    }

    /// Stores a SEND for a session.
    pub(super) async fn send(&self, sid: &str, tid: &str) -> UnitOutcome {
        self.run(call(vec![to(sid, send(tid))])).await
    }

    pub(super) async fn fetch(&self, session: SessionKey) -> Vec<OutboxMessage> {
        self.run(FetchOutbox {
            session,
            after: 0,
            limit: 1000,
            max_bytes: u64::MAX,
            max_first: u64::MAX,
        })
        .await
        .messages
    }

    pub(super) async fn tids(&self, session: SessionKey) -> Vec<String> {
        self.fetch(session)
            .await
            .into_iter()
            .map(|message| message.tid)
            .collect()
    }

    pub(super) async fn ended(&self) -> Vec<EndedCorrelation> {
        self.ended_since(None).await.ended
    }

    pub(super) async fn ended_since(&self, since: Option<i64>) -> ClaimedCorrelations {
        self.run(ClaimEndedCorrelations {
            limit: 10,
            again: Duration::from_secs(10),
            since,
        })
        .await
    }

    /// Scavenges everything in batches of a few rows, and returns the number of rows deleted.
    pub(super) async fn scavenge(
        &self,
        inbox: Duration,
        publications: Duration,
        keys: Duration,
    ) -> u64 {
        let mut scavenge = Scavenge {
            inbox_older: inbox,
            publications_older: publications,
            keys_older: keys,
            from: ScavengeFrom::default(),
            limit: 3,
        };
        let mut rows = 0;
        loop {
            let part = self.run(scavenge.clone()).await;
            rows += part.rows;
            match part.next {
                Some(next) => scavenge.from = next,
                None => return rows,
            }
        }
    }

    pub(super) async fn claim(&self) -> Vec<Forwarded> {
        self.run(claim(10, &[])).await.rows
    }

    pub(super) async fn dead(&self) -> Vec<DeadLetter> {
        self.run(ListDeadLetters {
            after: 0,
            limit: 10,
        })
        .await
    }

    /// Forwards work, without a client.
    pub(super) async fn forward(&self, tid: &str) -> Forwarded {
        self.news().await;
        self.run(call(vec![Effect::Forward(Box::new(work(tid)))]))
            .await;
        let mut news = self.news().await;
        news.remove(0).forwarded.remove(0)
    }
}
