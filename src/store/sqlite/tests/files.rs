//! Who owns the files, and which file the lock protects.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{attach, keyed, refusal};
use crate::store::operation::*;
use crate::store::{Store, StoreHandle};

const JOIN: RenewLease = RenewLease {
    join: true,
    lease: std::time::Duration::from_secs(60),
};

/// Asserts that the store still works and knows its node.
async fn assert_undisturbed(handle: &StoreHandle, key: &str) {
    let nodes = handle.run(ListNodes).await.expect("reads");
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    let written = handle.run(keyed(key.into())).await.expect("writes");
    assert_eq!(written, UnitOutcome::Committed(vec![]));
}

#[actix::test]
async fn the_lock_follows_the_file_and_not_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let store = Store::sqlite(at("test.db"));
    let handle = attach(&store).expect("opens");
    handle.run(JOIN).await.expect("a node");
    fs::create_dir(at("sub")).expect("created");
    symlink(at("test.db"), at("sub/link.db")).expect("linked");
    symlink(at("sub"), at("dir")).expect("linked");
    fs::hard_link(at("test.db"), at("hard.db")).expect("linked");
    let names: [PathBuf; 5] = [
        at("test.db"),
        at("sub/link.db"),
        at("dir/../test.db"),
        at("dir/link.db"),
        at("hard.db"),
    ];
    for removed in [false, true] {
        for name in &names {
            let text = refusal(&Store::sqlite(name));
            assert!(text.contains("in use") && text.contains(".lock"), "{text}");
            assert_undisturbed(&handle, &format!("{removed} {}", name.display())).await;
        }
        fs::remove_file(at("test.db.lock")).unwrap_or_else(|why| assert!(removed, "{why}"));
    }
    assert!(!at("hard.db.lock").exists() && !at("sub/link.db.lock").exists());
    drop((handle, store));
    attach(&Store::sqlite(at("sub/link.db"))).expect("free again");
    assert!(at("test.db.lock").exists(), "beside the file itself");
}

#[actix::test]
async fn a_refused_store_does_not_drop_the_locks_of_sqlite() {
    // Another process must find the database locked by SQLite itself, even after a second store was refused in this
    // one.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let store = Store::sqlite(&path);
    let handle = attach(&store).expect("opens");
    handle.run(keyed("k".into())).await.expect("writes");
    fs::hard_link(&path, dir.path().join("hard.db")).expect("linked");
    let before = posix_locks(&path);
    refusal(&Store::sqlite(&path));
    refusal(&Store::sqlite(dir.path().join("hard.db")));
    assert_eq!(posix_locks(&path), before);
    if cfg!(target_os = "linux") {
        assert!(before > 0, "SQLite holds one while a connection is open");
    }
}

/// Number of POSIX locks on a file and on its shared memory.
fn posix_locks(path: &Path) -> usize {
    use std::os::unix::fs::MetadataExt;
    let shm = PathBuf::from(format!("{}-shm", path.display()));
    let inodes = [path.to_owned(), shm].map(|path| path.metadata().expect("there").ino());
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let of_these = |line: &&str| {
        let ends = |inode: &u64| line.contains(&format!(":{inode} "));
        line.contains("POSIX") && inodes.iter().any(ends)
    };
    locks.lines().filter(of_these).count()
}

#[actix::test]
async fn files_are_accessible_to_their_owner_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let mode = |name: &str| {
        let metadata = dir.path().join(name).metadata().expect("there");
        metadata.permissions().mode() & 0o777
    };
    let handle = attach(&Store::sqlite(dir.path().join("test.db"))).expect("opens");
    handle.run(keyed("k".into())).await.expect("works");
    for name in ["test.db", "test.db-wal", "test.db-shm", "test.db.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }

    let shared = dir.path().join("shared.db");
    fs::write(&shared, "").expect("written");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).expect("ours");
    let handle = attach(&Store::sqlite(&shared)).expect("opens");
    handle.run(keyed("k".into())).await.expect("works");
    for name in ["shared.db", "shared.db-wal", "shared.db-shm"] {
        assert_eq!(mode(name), 0o640, "{name}: what was there is left alone");
    }
}

#[actix::test]
async fn links_to_other_files_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    symlink(at("nothing.db"), at("dangling.db")).expect("linked");
    let text = refusal(&Store::sqlite(at("dangling.db")));
    assert!(text.contains("symbolic link"), "{text}");
    assert!(!at("nothing.db").exists());

    fs::write(at("victim"), "kept").expect("written");
    symlink(at("victim"), at("test.db.lock")).expect("linked");
    let text = refusal(&Store::sqlite(at("test.db")));
    assert!(
        text.contains("test.db.lock") && text.contains("symbolic link"),
        "{text}"
    );
    assert!(!at("test.db").exists());
}

#[actix::test]
async fn a_database_cannot_be_the_lock_file_of_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let odd = dir.path().join("test.db.lock");
    let handle = attach(&Store::sqlite(&odd)).expect("opens");
    handle.run(JOIN).await.expect("a node");
    refusal(&Store::sqlite(dir.path().join("test.db")));
    assert_undisturbed(&handle, "k").await;
    drop(handle);
    // Nor is it overwritten while nobody has it open.
    drop(attach(&Store::sqlite(dir.path().join("test.db"))).expect("opens"));
    attach(&Store::sqlite(&odd)).expect("still a database");
}

#[actix::test]
async fn a_connection_string_is_refused_and_not_shown() {
    for text in [
        "host=db password=secret",
        "postgres://anna:secret@db.invalid/app",
        "mysql://anna:secret@db.invalid/app",
    ] {
        let refused = refusal(&Store::sqlite(text));
        assert!(
            !refused.contains("secret") && refused.contains("Store::postgres"),
            "{refused}"
        );
        assert!(!Path::new(text).exists());
    }
}
