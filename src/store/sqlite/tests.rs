//! Tests of what only SQLite promises: its file, its lock, its closing.

#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod logs;
mod mended;
mod neighbours;
mod read;
mod stopping;

use crate::store::operation::*;
use crate::store::{Store, StoreConfig, StoreError, StoreHandle};

fn attach(store: &Store) -> Result<StoreHandle, StoreError> {
    store.visit("a", &StoreConfig::default())
}

fn refusal(store: &Store) -> String {
    match attach(store) {
        Err(StoreError::Open(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

fn keyed(key: String) -> Unit {
    Unit {
        cause: Cause::Call {
            idempotency_key: Some(key),
        },
        effects: Vec::new(),
    }
}

#[actix::test]
async fn a_second_store_on_the_same_file_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let first = Store::sqlite(&path);
    let handle = attach(&first).expect("opens");
    attach(&first.clone()).expect("clones share it");
    let text = refusal(&Store::sqlite(&path));
    assert!(
        text.contains("test.db.lock") && text.contains("share one `Store`") && !text.contains('\n'),
        "{text}"
    );
    drop(first);
    refusal(&Store::sqlite(&path));
    drop(handle);
    attach(&Store::sqlite(&path)).expect("free again");
}

#[actix::test]
async fn refusals_name_the_unusable_path() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing").join("test.db");
    let text = refusal(&Store::sqlite(&missing));
    assert!(
        text.contains(missing.to_str().expect("text")) && !text.contains('\n'),
        "{text}"
    );
    let directory = dir.path().join("directory");
    std::fs::create_dir(&directory).expect("created");
    let text = refusal(&Store::sqlite(&directory));
    assert!(
        text.contains(directory.to_str().expect("text")) && !text.contains('\n'),
        "{text}"
    );
    let garbage = dir.path().join("garbage.db");
    std::fs::write(&garbage, "this is not a database. ".repeat(100)).expect("written");
    let text = refusal(&Store::sqlite(&garbage));
    assert!(
        text.contains("garbage.db") && text.contains("not a database"),
        "{text}"
    );
}

#[actix::test]
async fn operations_given_before_the_last_drop_are_completed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    // Most of them find no room at first.
    let config = StoreConfig {
        queue: 1,
        ..StoreConfig::default()
    };
    for round in 0..4 {
        let store = Store::sqlite(&path);
        let handle = store.visit("a", &config).expect("reopens at once");
        for before in 0..10 * round {
            let outcome = handle.run(keyed(format!("k{before}"))).await;
            assert_eq!(outcome.expect("works"), UnitOutcome::Repeated);
        }
        for i in 0..10 {
            drop(handle.run(keyed(format!("k{}", 10 * round + i))));
        }
    }
}

#[actix::test]
async fn committed_data_survives_a_crash() {
    // After a crash, only the files remain. A copy of them at the time of the answer must therefore contain everything.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let store = Store::sqlite(&path);
    let handle = attach(&store).expect("opens");
    for i in 0..50 {
        handle.run(keyed(format!("k{i}"))).await.expect("works");
    }
    let crashed = dir.path().join("crashed.db");
    for suffix in ["", "-wal"] {
        let name = |path: &std::path::Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(&path), name(&crashed)).expect("copied");
    }
    let again = attach(&Store::sqlite(&crashed)).expect("opens");
    for i in 0..50 {
        assert_eq!(
            again.run(keyed(format!("k{i}"))).await.expect("works"),
            UnitOutcome::Repeated
        );
    }
    assert_eq!(
        again.run(keyed("new".into())).await.expect("works"),
        UnitOutcome::Committed(vec![])
    );
}

#[actix::test]
async fn in_memory_databases_are_separate() {
    let (one, two) = (Store::sqlite_in_memory(), Store::sqlite_in_memory());
    let (first, second) = (attach(&one).expect("opens"), attach(&two).expect("opens"));
    first.run(keyed("k".into())).await.expect("works");
    assert_eq!(
        second.run(keyed("k".into())).await.expect("works"),
        UnitOutcome::Committed(vec![])
    );
}

#[actix::test]
async fn the_last_handle_may_be_dropped_by_an_operation() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let (dropped, until_dropped) = tokio::sync::oneshot::channel();
    {
        let store = Store::sqlite(&path);
        let handle = attach(&store).expect("opens");
        let inner = handle.clone();
        let holder = Holder {
            session: SessionKey(1),
            connection: ConnectionId(1),
        };
        let last = NotifiesDrop(Some(dropped), inner);
        let run: TransactBody = Box::new(move |_| {
            drop(last);
            Err(Box::new(()))
        });
        // Fenced off, so it never runs: the writer drops it, and with it perhaps the last handle.
        drop(handle.run(Transact {
            handles: Handles::Message {
                holder,
                cmid: "c".into(),
            },
            limit: std::time::Duration::ZERO,
            run,
        }));
    }
    until_dropped.await.expect("dropped, and nothing hangs");
}

struct NotifiesDrop(
    Option<tokio::sync::oneshot::Sender<()>>,
    #[allow(dead_code)] StoreHandle,
);

impl Drop for NotifiesDrop {
    fn drop(&mut self) {
        if let Some(dropped) = self.0.take() {
            let _ = dropped.send(());
        }
    }
}
