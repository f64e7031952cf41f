//! What happens when the file is moved, replaced or made read-only while it is open, or the disk is full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::{attach, keyed};
use crate::store::operation::*;
use crate::store::{Store, StoreError, StoreHandle};

const RENEW: RenewLease = RenewLease {
    join: true,
    lease: Duration::from_secs(60),
};

/// Asserts that nothing can be stored, and that the store gives a reason with these words.
pub async fn assert_unable(handle: &StoreHandle, words: &str) {
    let unit = handle.run(keyed(words.into())).await.map(drop);
    let lease = handle.run(RENEW).await.map(drop);
    for refused in [unit, lease] {
        match refused {
            Err(StoreError::Unable(why)) => assert!(why.contains(words), "{why}"),
            other => panic!("{other:?} instead of {words}"),
        }
    }
}

pub async fn stored(handle: &StoreHandle, key: &str) -> UnitOutcome {
    handle.run(keyed(key.into())).await.expect("works")
}

/// 278 messages were acknowledged into a file that had been deleted.
#[actix::test]
async fn nothing_is_acknowledged_into_a_deleted_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Committed(vec![]));
    fs::rename(at("test.db"), at("away.db")).expect("moved");
    assert_unable(&handle, "deleted or moved away").await;
    // It is not opened for reading either, which happens at the first read.
    let read = handle.run(ListNodes).await;
    assert!(matches!(read, Err(StoreError::Unable(_))), "{read:?}");
    fs::rename(at("away.db"), at("test.db")).expect("moved back");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Repeated);
    assert_eq!(stored(&handle, "l").await, UnitOutcome::Committed(vec![]));
    fs::remove_file(at("test.db")).expect("deleted");
    assert_unable(&handle, "a backup in its place").await;
}

#[actix::test]
async fn a_file_that_was_replaced_is_not_written_to_before_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    drop(attach(&Store::sqlite(at("test.db"))).expect("opens"));
    fs::copy(at("test.db"), at("backup.db")).expect("copied");
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "lost with the old file").await;
        fs::rename(at("backup.db"), at("test.db")).expect("moved over it");
        assert_unable(&handle, "another file has taken the place").await;
        // A failed transaction does not cause a new connection to be opened to the other file.
        assert_unable(&handle, "stop this node").await;
    }
    // The log of the old file is not mistaken for that of the new one.
    let key = "lost with the old file";
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, key).await, UnitOutcome::Committed(vec![]));
}

#[actix::test]
async fn a_file_that_is_made_read_only_is_not_written_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    let handle = attach(&Store::sqlite(&path)).expect("opens");
    stored(&handle, "k").await;
    mode(0o400);
    assert_unable(&handle, "made read-only").await;
    mode(0o600);
    assert_eq!(stored(&handle, "l").await, UnitOutcome::Committed(vec![]));
}

/// Registers a session, for handlers.
pub async fn registered(handle: &StoreHandle) -> Holder {
    let session = NewOrResumed::New {
        sid: "s".into(),
        smid_prefix: "s-".into(),
    };
    let registered = handle.run(crate::store::conformance::register_of("u", session));
    match registered.await.expect("works") {
        Registered::Held(held) => held.holder,
        other => panic!("{other:?}"),
    }
}

/// Simulates a disk that is full and later has room again.
#[actix::test]
async fn a_full_disk_is_reported_and_survived() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = attach(&Store::sqlite(dir.path().join("test.db"))).expect("opens");
    let holder = registered(&handle).await;
    set_pages(&handle, holder, "c1", 1).await;
    let large = "x".repeat(1 << 20);
    let refused = handle.run(keyed(large.clone())).await;
    let Err(StoreError::Unable(why)) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("full"), "{why}");
    // Operations that need no room still work.
    handle
        .run(FindHome { sid: "s".into() })
        .await
        .expect("reads");
    set_pages(&handle, holder, "c2", 1_000_000).await;
    assert_eq!(
        stored(&handle, &large).await,
        UnitOutcome::Committed(vec![])
    );
}

/// Limits the size of the database in pages, but not below its current size.
async fn set_pages(handle: &StoreHandle, holder: Holder, cmid: &str, pages: u32) {
    let run: TransactBody = Box::new(move |conn| {
        let conn: &mut SqliteConnection = conn.downcast_mut().expect("a connection");
        conn.batch_execute(&format!("PRAGMA max_page_count = {pages}"))
            .expect("works");
        Err(Box::new(()))
    });
    let set = Transact {
        handles: Handles::Message {
            holder,
            cmid: cmid.into(),
        },
        limit: Duration::from_secs(60),
        run,
    };
    let done = handle.run(set).await.expect("works");
    assert!(matches!(done, Transacted::RolledBack(_)));
}

#[actix::test]
async fn the_size_of_the_log_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let handle = attach(&Store::sqlite(&path)).expect("opens");
    stored(&handle, "k").await;
    let log = Path::new(&format!("{}-wal", path.display())).metadata();
    let bytes = log.expect("there").len();
    assert!(bytes > 0);
    assert_eq!(handle.metrics().log_bytes, bytes);
    let conn = SqliteConnection::establish(path.to_str().expect("text"));
    conn.expect("opens")
        .batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("works");
    assert_eq!(handle.metrics().log_bytes, 0);
}

/// SQLite had already rolled back by itself, and the failing rollback hid the handler's rejection: its client was asked
/// to try again.
#[actix::test]
async fn a_handler_that_rejects_after_its_transaction_has_gone_is_heard() {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = attach(&Store::sqlite(dir.path().join("test.db"))).expect("opens");
    let holder = registered(&handle).await;
    let run: TransactBody = Box::new(move |conn| {
        let conn: &mut SqliteConnection = conn.downcast_mut().expect("a connection");
        // As SQLite does when the disk is full.
        conn.batch_execute("ROLLBACK").expect("works");
        Err(Box::new("rejected"))
    });
    let transact = Transact {
        handles: Handles::Message {
            holder,
            cmid: "c".into(),
        },
        limit: Duration::from_secs(60),
        run,
    };
    match handle.run(transact).await {
        Ok(Transacted::RolledBack(said)) => {
            assert_eq!(said.downcast_ref::<&str>(), Some(&"rejected"));
        }
        Ok(_) => panic!("something else"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Committed(vec![]));
}
