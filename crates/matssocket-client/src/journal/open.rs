//! Opening a journal.

use std::path::{Path, PathBuf};
use std::sync::{Weak, mpsc};
use std::thread;

use tokio::sync::oneshot;

use super::file::File;
use super::{Bound, Op, Saved, Write, thread::run};
use crate::shared::Shared;

/// The file in which a client keeps its session, what it has sent and what it has received, so that all of it survives
/// the restart of the process. For [`ClientBuilder::journal`](crate::ClientBuilder::journal).
///
/// It is an SQLite database. One process has it open at a time. It belongs to one user of one application and its
/// servers, which `owner` names: any text, such as `"warehouse 7 at orders.example"`. A file of another owner is refused, so
/// that nobody's messages go out in another's name. It holds the messages in the clear: keep it where only your service can
/// read, on a disk of the machine (not on a network share), and do not copy it while it is in use. Its size follows what
/// is outstanding, which the limits of the builder bound.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use matssocket_client::{Client, Journal, Message};
///
/// let journal = Journal::open("orders.journal", "warehouse 7 at orders.example").await?;
/// // Where the last run stopped, whether or not the server has that order already.
/// let last = journal.last_trace_id().and_then(|id| id.strip_prefix("order-")?.parse().ok());
/// let client = Client::builder("Warehouse", "1.0")
///     .url("ws://orders.example/matssocket")
///     .authorization_value("Bearer …")
///     .journal(journal)
///     .build()?;
/// client.terminator("Warehouse.pick", |item: Message<String>| async move {
///     if item.redelivered {
///         println!("perhaps picked already: {}", item.payload);
///     }
/// });
/// // First what the last run has left, then everything new.
/// client.reconnect();
///
/// let next: u64 = last.map_or(1, |last: u64| last + 1);
/// let mut sending = client.send(format!("order-{next}"), "Orders.place", &next);
/// sending.stored().await?;
/// // From here on, the order is placed, even if the process is killed now.
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Journal {
    pub(crate) ops: mpsc::Sender<(Op, Weak<Shared>)>,
    pub(crate) saved: Saved,
    path: PathBuf,
}

/// How hard a commit of the journal tries to survive a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalSync {
    /// What is committed survives the loss of power: each commit waits for the disk (SQLite's `synchronous=FULL`).
    #[default]
    Full,
    /// What is committed survives the end of the process, however it ends, but the last commits may be lost with the
    /// machine's power (SQLite's `synchronous=NORMAL`). Faster by as much as the disk is slow.
    Process,
}

impl JournalSync {
    pub(super) fn pragma(self) -> &'static str {
        match self {
            JournalSync::Full => "FULL",
            JournalSync::Process => "NORMAL",
        }
    }
}

/// Why a journal cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another client has it open: in this process, or in another one.
    #[error("the journal {} is in use by another client: give each one a file of its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not a journal.
    #[error("{} is not a journal of a MatsSocket client: choose another file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another owner.
    #[error("the journal {} belongs to {found:?}, not to {wanted:?}: choose another file", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        found: String,
        /// The owner it was opened for.
        wanted: String,
    },
    /// Another version of this crate has written it.
    #[error("the journal {} has version {found}, and this client knows {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that this client writes.
        known: i64,
    },
    /// The file cannot be opened, read or written.
    #[error("the journal {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
}

impl Journal {
    /// Opens the file, or creates it, with [`JournalSync::Full`].
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn open(path: impl AsRef<Path>, owner: &str) -> Result<Journal, JournalError> {
        Journal::open_with(path, owner, JournalSync::default()).await
    }

    /// Opens the file, or creates it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub async fn open_with(
        path: impl AsRef<Path>,
        owner: &str,
        sync: JournalSync,
    ) -> Result<Journal, JournalError> {
        let (path, owner) = (path.as_ref().to_owned(), owner.to_owned());
        let (ops, queue) = mpsc::channel();
        let (opened, result) = oneshot::channel();
        let file = path.clone();
        let spawned = thread::Builder::new()
            .name("matssocket-journal".into())
            .spawn(move || match prepare(&path, &owner, sync) {
                Ok((file, saved)) => {
                    if opened.send(Ok(saved)).is_ok() {
                        run(file, &queue);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            });
        let failed = |why: String| JournalError::File {
            path: file.clone(),
            why,
        };
        spawned.map_err(|error| failed(error.to_string()))?;
        let saved = result
            .await
            .map_err(|_| failed("its thread panicked".into()))??;
        Ok(Journal {
            ops,
            saved,
            path: file,
        })
    }

    /// Notes what the file is used for; an error, if it was used for another application or for other servers.
    pub(crate) fn bind(&mut self, app_name: &str, urls: &[String]) -> Result<Write, String> {
        let file = self.path.display();
        let wanted = Bound {
            app_name: app_name.to_owned(),
            urls: urls.to_vec(),
        };
        let Some(bound) = self.saved.bound.take() else {
            return Ok(Write::Bind(wanted));
        };
        if bound.app_name != app_name {
            let found = bound.app_name;
            return Err(format!(
                "the journal {file} belongs to the application {found:?}, not to {app_name:?}: choose another file"
            ));
        }
        if !urls.iter().any(|url| bound.urls.contains(url)) {
            let known = bound.urls.join(", ");
            return Err(format!(
                "the journal {file} belongs to the servers {known}, of which this client knows none: choose another file, \
                 or name one of them, too"
            ));
        }
        // Nodes come and go: as long as one stays, it is the same cluster.
        Ok(Write::Bind(wanted))
    }

    /// The trace id of the last message that was kept, whether or not the server has settled it: whoever gives orders
    /// numbers, and puts them into the trace id, goes on after it.
    pub fn last_trace_id(&self) -> Option<&str> {
        self.saved.last_trace_id.as_deref()
    }
}

fn prepare(path: &Path, owner: &str, sync: JournalSync) -> Result<(File, Saved), JournalError> {
    let file = File::open(path, sync)?;
    let found = file.owner(owner)?;
    if found != owner {
        let (path, wanted) = (path.to_owned(), owner.to_owned());
        return Err(JournalError::Owner {
            path,
            found,
            wanted,
        });
    }
    let saved = file.load()?;
    Ok((file, saved))
}
