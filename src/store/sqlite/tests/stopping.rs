//! When the database is closed, and what its file then contains.

use std::path::Path;
use std::time::Duration;

use actix::Actor;

use super::{attach, keyed, refusal};
use crate::clock::Clock;
use crate::mailbox::{Mailbox, metered};
use crate::store::operation::*;
use crate::store::{
    CommitNews, Dispatch, Store, StoreConfig, StoreError, StoreHandle, Subscribers,
};

/// Ignores all news.
struct Deaf;

impl Actor for Deaf {
    type Context = actix::Context<Deaf>;
}

impl actix::Handler<CommitNews> for Deaf {
    type Result = ();

    fn handle(&mut self, _: CommitNews, _: &mut actix::Context<Deaf>) {}
}

impl actix::Handler<Dispatch> for Deaf {
    type Result = ();

    fn handle(&mut self, _: Dispatch, _: &mut actix::Context<Deaf>) {}
}

metered!(Deaf: CommitNews, Dispatch);

fn node(store: &Store, name: &str) -> StoreHandle {
    let (deaf, meter) = (Deaf.start(), std::sync::Arc::default());
    let subscribers = Subscribers {
        news: Mailbox::new(&deaf, &meter),
        work: Mailbox::new(&deaf, &meter),
    };
    store
        .attach(name, &StoreConfig::default(), &Clock::system(), subscribers)
        .expect("opens")
}

const LONG: Duration = Duration::from_secs(60);

async fn stored(handle: &StoreHandle, key: &str) -> Result<UnitOutcome, StoreError> {
    handle.run(keyed(key.into())).await
}

/// Asserts that the file alone contains this key, as a copy would show.
async fn assert_whole(path: &Path, key: &str) {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).expect("copied");
    let repeated = stored(&attach(&Store::sqlite(&copy)).expect("opens"), key).await;
    assert_eq!(repeated.expect("works"), UnitOutcome::Repeated);
}

/// A handler that had captured the server's handle left everything in the log beside the file.
#[actix::test]
async fn the_last_node_to_stop_closes_it_whoever_has_a_handle() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let store = Store::sqlite(&path);
    let (a, b) = (node(&store, "a"), node(&store, "b"));
    let captured = b.clone();
    stored(&a, "k").await.expect("works");
    assert!(a.stop(LONG).await);
    let refused = stored(&a, "l").await;
    assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
    stored(&b, "l").await.expect("the other node goes on");
    let given_before = captured.run(keyed("m".into()));
    assert!(b.stop(LONG).await);
    given_before.await.expect("it was given before the stop");
    for handle in [&captured, &b] {
        let refused = stored(handle, "n").await;
        assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
        let refused = handle.run(ListNodes).await;
        assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
    }
    assert!(!dir.path().join("test.db-wal").exists());
    assert_whole(&path, "m").await;
    assert!(b.stop(LONG).await, "a second time does nothing");
    // Free for other processes, and for a node that attaches later.
    drop(attach(&Store::sqlite(&path)).expect("free"));
    let again = node(&store, "c");
    assert_eq!(
        stored(&again, "m").await.expect("works"),
        UnitOutcome::Repeated
    );
}

#[actix::test]
async fn a_node_that_never_started_keeps_nobody_from_closing_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let store = Store::sqlite(&path);
    let a = node(&store, "a");
    drop(node(&store, "b"));
    refusal(&Store::sqlite(&path));
    assert!(a.stop(LONG).await);
    attach(&Store::sqlite(&path)).expect("free");
}

/// The other nodes had stopped while this one was starting: nobody was left to close the database.
#[actix::test]
async fn a_node_that_never_started_closes_it_if_all_others_have_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let store = Store::sqlite(&path);
    let (a, b) = (node(&store, "a"), node(&store, "b"));
    stored(&a, "k").await.expect("works");
    assert!(a.stop(LONG).await);
    refusal(&Store::sqlite(&path));
    drop(b);
    let until = std::time::Instant::now() + LONG;
    while let Err(error) = attach(&Store::sqlite(&path)) {
        assert!(std::time::Instant::now() < until, "{error}");
        tokio::task::yield_now().await;
    }
    let repeated = stored(&node(&store, "c"), "k").await;
    assert_eq!(repeated.expect("works"), UnitOutcome::Repeated);
}

#[actix::test]
async fn an_in_memory_database_is_kept_for_the_next_node() {
    let store = Store::sqlite_in_memory();
    let a = node(&store, "a");
    stored(&a, "k").await.expect("works");
    assert!(a.stop(LONG).await);
    let refused = stored(&a, "k").await;
    assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
    let repeated = stored(&node(&store, "b"), "k").await;
    assert_eq!(repeated.expect("works"), UnitOutcome::Repeated);
}

#[actix::test]
async fn a_handler_that_does_not_end_keeps_no_stop_waiting() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let a = node(&Store::sqlite(&path), "a");
    let session = NewOrResumed::New {
        sid: "s".into(),
        smid_prefix: "s-".into(),
    };
    let registered = a.run(crate::store::conformance::register_of("u", session));
    let Registered::Held(held) = registered.await.expect("works") else {
        panic!("not registered")
    };
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (begun, began) = tokio::sync::oneshot::channel();
    let handler = a.run(Transact {
        handles: Handles::Message {
            holder: held.holder,
            cmid: "c".into(),
        },
        limit: LONG,
        run: Box::new(move |_| {
            let _ = begun.send(());
            let _ = released.recv();
            Err(Box::new(()))
        }),
    });
    began.await.expect("it runs");
    assert!(!a.stop(Duration::ZERO).await);
    release.send(()).expect("it waits");
    handler.await.expect("it has ended");
}
