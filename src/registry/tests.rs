//! The registry alone, with sessions that are no more than mailboxes.

use std::sync::Mutex;

use super::*;
use crate::cluster::{ClusterCounters, ClusterNotify, Transport};
use crate::mailbox::Meter;

/// A session that does nothing; it ends when told to let go.
struct Quiet;

impl Actor for Quiet {
    type Context = Context<Self>;
}

impl Handler<ToSession> for Quiet {
    type Result = ();

    fn handle(&mut self, event: ToSession, ctx: &mut Self::Context) {
        if let ToSession::Closed(_) | ToSession::TakenOver = event {
            actix::ActorContext::stop(ctx);
        }
    }
}

metered!(Quiet: ToSession);

/// Writes down what other nodes are told.
#[derive(Default)]
struct Written(Mutex<Vec<(String, Notice)>>);

impl Transport for Written {
    fn join(&self, _: &str, _: crate::cluster::Deliver, _: Arc<ClusterCounters>) {}
    fn leave(&self, _: &str, _: crate::cluster::Done) {}
    fn tell(&self, _: &str, node: &str, notice: Notice) {
        let mut told = self.0.lock().expect("no test panics with it");
        told.push((node.to_owned(), notice));
    }
    fn tell_others(&self, _: &str, _: Notice) {}
}

fn holder(connection: i64) -> Holder {
    Holder {
        session: SessionKey(1),
        connection: ConnectionId(connection),
    }
}

fn quiet() -> Mailbox<ToSession> {
    Mailbox::new(&Quiet.start(), &Arc::<Meter>::default())
}

#[actix::test]
async fn a_session_whose_actor_is_gone_does_not_live_here_any_more() {
    let registry = Registry::new().start();
    let meter = Arc::<Meter>::default();
    let attach: Mailbox<Attach> = Mailbox::new(&registry, &meter);
    let begin: Mailbox<BeginSweep> = Mailbox::new(&registry, &meter);
    let to = quiet();
    attach.tell(Attach {
        holder: holder(1),
        to: to.clone(),
        user: None,
        revocations: 0,
    });
    assert_eq!(begin.ask(BeginSweep).await, Some(vec![holder(1)]));
    to.ask(ToSession::Closed("its thread".into())).await;
    ended(&to).await;
    assert_eq!(
        begin.ask(BeginSweep).await,
        Some(vec![]),
        "else it would count as connected for ever"
    );
}

async fn ended(session: &Mailbox<ToSession>) {
    while session.connected() {
        actix::clock::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[actix::test]
async fn a_registration_that_attaches_late_lets_go_for_the_one_that_waits_for_it() {
    let registry = Registry::new().start();
    let meter = Arc::<Meter>::default();
    let attach: Mailbox<Attach> = Mailbox::new(&registry, &meter);
    let take_over: Mailbox<TakeOver> = Mailbox::new(&registry, &meter);
    let (first, second) = (quiet(), quiet());
    attach.tell(Attach {
        holder: holder(1),
        to: first.clone(),
        user: None,
        revocations: 0,
    });
    let (released, done) = oneshot::channel();
    take_over.tell(TakeOver {
        holder: holder(3),
        old_node: String::new(),
        released,
    });
    attach.tell(Attach {
        holder: holder(2),
        to: second.clone(),
        user: None,
        revocations: 0,
    });
    ended(&first).await;
    tokio::time::timeout(std::time::Duration::from_secs(5), ended(&second))
        .await
        .expect("the second is told at once");
    Mailbox::<Detach>::new(&registry, &meter).tell(Detach(holder(2)));
    assert!(done.await.is_ok());
}

#[actix::test]
async fn a_take_over_is_told_to_the_other_node_though_an_older_registration_is_left_here() {
    let written = Arc::new(Written::default());
    let mut registry = Registry::new();
    registry.node = "here".into();
    let meter = Arc::<Meter>::default();
    let registry = Registry::create(|ctx| {
        let from_cluster = Mailbox::new(&actix::AsyncContext::address(ctx), &meter);
        let cluster = ClusterNotify::new(written.clone(), from_cluster, Arc::default()).start();
        registry.cluster = Some(Mailbox::new(&cluster, &meter));
        registry
    });
    let attach: Mailbox<Attach> = Mailbox::new(&registry, &meter);
    let take_over: Mailbox<TakeOver> = Mailbox::new(&registry, &meter);
    attach.tell(Attach {
        holder: holder(1),
        to: quiet(),
        user: None,
        revocations: 0,
    });
    let (released, done) = oneshot::channel();
    take_over.tell(TakeOver {
        holder: holder(3),
        old_node: "there".into(),
        released,
    });
    attach.tell(Attach {
        holder: holder(3),
        to: quiet(),
        user: None,
        revocations: 0,
    });
    // Whoever attaches waits no more.
    assert!(done.await.is_err());
    let told = written.0.lock().expect("no test panics with it");
    assert!(
        matches!(&told[..], [(node, Notice::TakenOver { .. })] if node == "there"),
        "{told:?}"
    );
}
