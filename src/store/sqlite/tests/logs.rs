//! What happens to the write-ahead log when the log or its database file is moved.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::faults::{assert_unable, registered, stored};
use super::{attach, refusal};
use crate::store::operation::*;
use crate::store::{Store, StoreError};

/// The logs that were set aside.
fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).expect("read");
    let all = all.map(|entry| entry.expect("read").path());
    all.filter(|path| path.to_string_lossy().contains("test.db-wal.of-"))
        .collect()
}

/// A directory with a database and a copy of it.
fn with_backup() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    drop(attach(&Store::sqlite(at("test.db"))).expect("opens"));
    fs::copy(at("test.db"), at("backup.db")).expect("copied");
    dir
}

/// The log was left under its name and replayed onto the backup.
#[actix::test]
async fn the_log_of_a_deleted_file_is_not_replayed_onto_a_backup() {
    let dir = with_backup();
    let at = |name: &str| dir.path().join(name);
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "k").await;
        fs::rename(at("test.db"), at("old.db")).expect("moved");
        assert_unable(&handle, "deleted or moved away").await;
    }
    assert!(!at("test.db-wal").exists());
    fs::rename(at("backup.db"), at("test.db")).expect("moved");
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        assert_eq!(stored(&handle, "k").await, UnitOutcome::Committed(vec![]));
    }
    // The operator puts the old file and its log back together.
    let [aside] = &set_aside(dir.path())[..] else {
        panic!("one")
    };
    fs::rename(at("old.db"), at("again.db")).expect("moved");
    fs::rename(aside, at("again.db-wal")).expect("moved");
    let handle = attach(&Store::sqlite(at("again.db"))).expect("opens");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Repeated);
}

/// The log was later recognised by its inode number alone, which another file may have by then.
#[actix::test]
async fn a_log_that_was_set_aside_is_not_put_back_automatically() {
    let dir = with_backup();
    let at = |name: &str| dir.path().join(name);
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "k").await;
        fs::rename(at("test.db"), at("old.db")).expect("moved");
        fs::rename(at("backup.db"), at("test.db")).expect("moved");
        assert_unable(&handle, "another file has taken the place").await;
    }
    fs::rename(at("old.db"), at("test.db")).expect("moved back");
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Committed(vec![]));
    assert_eq!(set_aside(dir.path()).len(), 1);
}

/// The situation after a `kill -9`, when a copy was restored beside the remaining log.
#[actix::test]
async fn a_log_that_another_file_has_left_is_refused() {
    let dir = with_backup();
    let at = |name: &str| dir.path().join(name);
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "k").await;
        fs::copy(at("test.db-wal"), at("left-wal")).expect("copied");
    }
    // The file itself with its log, as a crash leaves them.
    fs::copy(at("left-wal"), at("test.db-wal")).expect("copied");
    drop(attach(&Store::sqlite(at("test.db"))).expect("its own"));
    fs::copy(at("left-wal"), at("test.db-wal")).expect("copied");
    fs::remove_file(at("test.db")).expect("removed");
    let remedy = |text: String| {
        let named = ["test.db-wal", "test.db-shm", "test.db.lock"];
        assert!(named.iter().all(|it| text.contains(it)), "{text}");
        assert!(text.contains("belongs to another file"), "{text}");
    };
    remedy(refusal(&Store::sqlite(at("test.db"))));
    assert!(!at("test.db").exists(), "nothing was created");
    fs::rename(at("backup.db"), at("test.db")).expect("moved");
    for _ in 0..2 {
        remedy(refusal(&Store::sqlite(at("test.db"))));
    }
    fs::remove_file(at("test.db-wal")).expect("removed");
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Committed(vec![]));
}

#[actix::test]
async fn a_log_that_was_deleted_is_saved_by_a_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "k").await;
        fs::remove_file(at("test.db-wal")).expect("deleted");
        assert_unable(&handle, "test.db-wal was deleted").await;
    }
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, "k").await, UnitOutcome::Repeated);
}

fn open(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().expect("text")).expect("opens")
}

/// The writer's connection was discarded, and the next one introduced an empty log under the index of the old one:
/// acknowledged data was lost, and the file became malformed.
#[actix::test]
async fn a_log_that_is_deleted_during_a_transaction_loses_nothing() {
    for emptied in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("test.db");
        let handle = attach(&Store::sqlite(&path)).expect("opens");
        let holder = registered(&handle).await;
        handle.run(ListNodes).await.expect("there is a reader");
        for i in 0..50 {
            stored(&handle, &format!("k{i}")).await;
        }
        if emptied {
            let emptied = open(&path).batch_execute("PRAGMA wal_checkpoint(TRUNCATE)");
            emptied.expect("works");
        }
        let log = dir.path().join("test.db-wal");
        let transact = Transact {
            handles: Handles::Message {
                holder,
                cmid: "c".into(),
            },
            limit: Duration::from_secs(60),
            run: Box::new(move |_| {
                fs::remove_file(log).expect("deleted");
                Ok(super::keyed("within".into()))
            }),
        };
        let unknown = handle.run(transact).await;
        assert!(matches!(unknown, Err(StoreError::Unknown)));
        for _ in 0..3 {
            assert_unable(&handle, "test.db-wal was deleted").await;
        }
        assert!(!dir.path().join("test.db-wal").exists());
        drop(handle);
        // A thread may still be about to close it. Until then it is refused, and whoever opened it beside that would begin
        // a new log.
        let handle = loop {
            match attach(&Store::sqlite(&path)) {
                Ok(handle) => break handle,
                Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let whole = diesel::dsl::sql::<diesel::sql_types::Text>("PRAGMA integrity_check");
        let whole: String = whole.get_result(&mut open(&path)).expect("works");
        assert_eq!(whole, "ok");
        for i in 0..50 {
            let key = format!("k{i}");
            assert_eq!(stored(&handle, &key).await, UnitOutcome::Repeated, "{key}");
        }
        assert_eq!(stored(&handle, "within").await, UnitOutcome::Repeated);
    }
}

/// The log was emptied only when the other program that had the file open closed it last.
#[actix::test]
async fn stopping_empties_the_log_although_another_program_has_the_file_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mut shell = {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        stored(&handle, "k").await;
        let mut shell = open(&at("test.db"));
        shell
            .batch_execute("SELECT count(*) FROM matssocket_session")
            .expect("reads");
        shell
    };
    fs::copy(at("test.db"), at("copy.db")).expect("copied");
    let copy = attach(&Store::sqlite(at("copy.db"))).expect("opens");
    assert_eq!(stored(&copy, "k").await, UnitOutcome::Repeated);
    // A reader of an old state prevents this, and nobody waits for it.
    {
        let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
        shell
            .batch_execute("BEGIN; SELECT count(*) FROM matssocket_session")
            .expect("reads");
        stored(&handle, "l").await;
    }
    assert!(at("test.db-wal").metadata().expect("there").len() > 0);
    drop(shell);
    let handle = attach(&Store::sqlite(at("test.db"))).expect("opens");
    assert_eq!(stored(&handle, "l").await, UnitOutcome::Repeated);
}
