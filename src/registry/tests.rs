//! The registry alone, with sessions that are mere mailboxes.

use std::sync::{Arc, Mutex};

use actix::Addr;

use super::*;
use crate::cluster::{ClusterCounters, ClusterNotify, Transport};
use crate::mailbox::Meter;
use crate::store::{Store, StoreConfig};

/// A session that does nothing, except that it ends when told to release its session.
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

/// Services and maintenance, which do nothing.
struct Deaf;

impl Actor for Deaf {
    type Context = Context<Self>;
}

impl Handler<LookSoon> for Deaf {
    type Result = ();

    fn handle(&mut self, _: LookSoon, _: &mut Self::Context) {}
}

impl Handler<SweepNow> for Deaf {
    type Result = ();

    fn handle(&mut self, _: SweepNow, _: &mut Self::Context) {}
}

metered!(Deaf: LookSoon, SweepNow);

/// Records the notices to other nodes.
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

/// A registry on a node called `here`, with its notices to other nodes.
fn registry() -> (Addr<Registry>, Arc<Written>) {
    let (written, meter) = (Arc::new(Written::default()), Arc::<Meter>::default());
    let store = Store::sqlite_in_memory();
    let store = store.visit("here", &StoreConfig::default());
    let deaf = Deaf.start();
    let registry = Registry::create(|ctx| {
        let from_cluster = Mailbox::new(&actix::AsyncContext::address(ctx), &meter);
        let cluster = ClusterNotify::new(written.clone(), from_cluster, Arc::default()).start();
        Registry::new(Links {
            node: "here".into(),
            store: store.expect("the store opens"),
            cluster: Mailbox::new(&cluster, &meter),
            services: Mailbox::new(&deaf, &meter),
            maintenance: Mailbox::new(&deaf, &meter),
            newest_publication: 0,
            takeover_wait: Duration::MAX,
            revocations: SeenRevocations::default(),
            connected: Arc::default(),
            fan_out: Arc::default(),
        })
    });
    (registry, written)
}

#[actix::test]
async fn a_session_whose_actor_is_gone_does_not_live_here_any_more() {
    let (registry, _) = registry();
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
    let (registry, _) = registry();
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
        old_node: "here".into(),
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
    let (registry, written) = registry();
    let meter = Arc::<Meter>::default();
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
    // A registration that attaches no longer waits.
    assert!(done.await.is_err());
    let told = written.0.lock().expect("no test panics with it");
    assert!(
        matches!(&told[..], [(node, Notice::TakenOver { .. })] if node == "there"),
        "{told:?}"
    );
}
