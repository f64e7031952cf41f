//! Reading leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{attach, keyed, refusal};
use crate::store::operation::*;
use crate::store::{Store, StoreConfig, StoreError, StoreHandle};

fn look(store: &Store) -> Result<StoreHandle, StoreError> {
    store.look("a", &StoreConfig::default())
}

fn look_refusal(store: &Store) -> String {
    match look(store) {
        Err(StoreError::Open(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Names and contents.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("readable");
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("readable");
        let bytes = fs::read(entry.path()).expect("readable");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(file).collect()
}

/// Leaves a database with one node in this directory, with these of its files, as a crash does.
async fn crash(directory: &Path, suffixes: &[&str]) {
    let origin = tempfile::tempdir().expect("a directory");
    let store = Store::sqlite(origin.path().join("test.db"));
    let handle = attach(&store).expect("opens");
    let lease = RenewLease {
        join: true,
        lease: std::time::Duration::from_secs(60),
    };
    handle.run(lease).await.expect("a node");
    for suffix in suffixes {
        let name = format!("test.db{suffix}");
        fs::copy(origin.path().join(&name), directory.join(&name)).expect("copied");
    }
}

#[actix::test]
async fn what_a_crash_has_left_is_read_and_not_changed() {
    for suffixes in [&["", "-wal", "-shm"][..], &["", "-wal"]] {
        let dir = tempfile::tempdir().expect("a directory");
        crash(dir.path(), suffixes).await;
        let before = contents(dir.path());
        let store = Store::sqlite(dir.path().join("test.db"));
        let handle = look(&store).expect("opens");
        let nodes = handle.run(ListNodes).await.expect("reads");
        assert_eq!(nodes.len(), 1, "it is in the log only: {nodes:?}");
        drop(handle);
        assert_eq!(contents(dir.path()), before);
        attach(&store).expect("and then it is opened as ever");
    }
}

#[actix::test]
async fn what_was_closed_is_read_and_not_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a ?#%.db");
    {
        let handle = attach(&Store::sqlite(&path)).expect("opens");
        handle.run(keyed("k".into())).await.expect("works");
    }
    fs::remove_file(dir.path().join("a ?#%.db.lock")).expect("there");
    let before = contents(dir.path());
    assert_eq!(before.len(), 1, "the log is gone");
    let handle = look(&Store::sqlite(&path)).expect("opens");
    assert_eq!(handle.run(ListNodes).await.expect("reads"), []);
    drop(handle);
    assert_eq!(contents(dir.path()), before);
}

#[actix::test]
async fn a_store_opened_for_reading_cannot_write() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    drop(attach(&Store::sqlite(&path)).expect("opens"));
    let store = Store::sqlite(&path);
    let (first, second) = (look(&store).expect("opens"), look(&store).expect("shares"));
    for handle in [first, second] {
        let refused = handle.run(keyed("k".into())).await;
        assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
        let text = refusal(&Store::sqlite(&path));
        assert!(text.contains("in use"), "{text}");
    }
    let writes = attach(&store).expect("nobody reads any more");
    let reads = look(&store).expect("shares what is open");
    assert_eq!(reads.run(ListNodes).await.expect("reads"), []);
    let refused = reads.run(keyed("k".into())).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)), "{refused:?}");
    writes.run(keyed("k".into())).await.expect("works");
    let text = look_refusal(&Store::sqlite(&path));
    assert!(text.contains("in use"), "{text}");
}

#[actix::test]
async fn what_is_not_there_or_too_old_is_refused_and_not_created() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = look_refusal(&Store::sqlite(dir.path().join("missing.db")));
    assert!(text.contains("no such file"), "{text}");
    assert!(contents(dir.path()).is_empty());
    let empty = dir.path().join("empty.db");
    fs::write(&empty, "").expect("written");
    let text = look_refusal(&Store::sqlite(&empty));
    assert!(text.contains("matssocket migrate"), "{text}");
    assert_eq!(contents(dir.path()).len(), 1);
}
