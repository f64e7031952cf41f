//! One LISTEN connection, which sends and receives notices until it is lost.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, Text};

use super::packet::{Kind, Packet, compose};
use super::watch::Watch;
use super::{Post, Told};
use crate::cluster::Notice;
use crate::conninfo::{longest_connect, one_line, refusal};
use crate::logging;

/// Incoming notices must be polled for: how often while there is traffic, and when there was none for `QUIET`.
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_secs(1);

/// How often the node sends itself a notice, to verify that the connection works.
const ECHO: Duration = Duration::from_secs(5);
/// How long that, or any statement, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most notices sent by one statement.
const MOST: usize = 1_000;

diesel::define_sql_function! { fn pg_notify(channel: Text, payload: Text) -> Nullable<Text>; }
diesel::define_sql_function! { fn unnest(items: Array<Text>) -> Text; }

struct ListenConnection<'a> {
    post: &'a Post,
    watch: &'a Watch,
    conn: PgConnection,
    /// When a notice was last sent or received.
    stirred: Instant,
    echo: Echo,
    /// The node has received its own echo.
    up: bool,
}

enum Echo {
    Told(Instant),
    Heard(Instant),
}

/// Opens a connection and runs it until it is lost, which is an error, or the node has left and everything is sent.
pub(super) fn run(post: &Post, watch: &Watch) -> Result<(), String> {
    let mut connection = ListenConnection::open(post, watch)?;
    loop {
        let quiet = connection.stirred.elapsed() > QUIET;
        match post.waiting.recv_timeout(if quiet { SLOW } else { QUICK }) {
            Ok(first) => connection.tell(first)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        connection.hear()?;
        connection.check()?;
    }
}

impl<'a> ListenConnection<'a> {
    fn open(post: &'a Post, watch: &'a Watch) -> Result<ListenConnection<'a>, String> {
        let connect = || PgConnection::establish(&post.conninfo).map_err(|error| refusal(&error));
        // Afterwards, Diesel sets up the connection, and waits for the server without a limit of its own.
        let longest = longest_connect(&post.conninfo) + PATIENCE;
        let mut connection = ListenConnection {
            post,
            watch,
            conn: watch.during(longest, connect)?,
            stirred: Instant::now(),
            echo: Echo::Told(Instant::now()),
            up: false,
        };
        // To PostgreSQL, a NOTIFY is a write, whose commit would wait for the disk.
        let listen = format!(
            "SET synchronous_commit TO off; LISTEN {}; LISTEN {}",
            quoted(&post.own),
            quoted(&post.all)
        );
        connection.call(|conn| conn.batch_execute(&listen))?;
        connection.tell_itself()?;
        Ok(connection)
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, String> {
        let conn = &mut self.conn;
        self.watch
            .during(PATIENCE, || call(conn).map_err(|error| one_line(&error)))
    }

    fn notify(&mut self, channels: &[String], payloads: &[String]) -> Result<(), String> {
        let notify = diesel::select(pg_notify(unnest(channels), unnest(payloads)));
        self.call(|conn| notify.execute(conn)).map(drop)
    }

    /// Sends all waiting notices.
    fn tell(&mut self, first: Told) -> Result<(), String> {
        let more = self.post.waiting.try_iter().take(MOST - 1);
        let (channels, payloads) = compose(std::iter::once(first).chain(more));
        if channels.is_empty() {
            return Ok(());
        }
        self.stirred = Instant::now();
        self.notify(&channels, &payloads)?;
        let counters = &self.post.counters;
        counters.statements.fetch_add(1, Relaxed);
        counters.sent.fetch_add(channels.len() as u64, Relaxed);
        Ok(())
    }

    fn tell_itself(&mut self) -> Result<(), String> {
        let (from, kind) = (None, Kind::Echo);
        self.echo = Echo::Told(Instant::now());
        let own = self.post.own.clone();
        self.notify(&[own], &[Packet { from, kind }.text()])
    }

    /// Checks whether the connection works: it may look healthy on our side without a peer.
    fn check(&mut self) -> Result<(), String> {
        match self.echo {
            Echo::Told(at) if at.elapsed() > PATIENCE => Err(
                "the node does not receive its own notices (is there a pooler in transaction mode in between?)"
                    .into(),
            ),
            Echo::Heard(at) if at.elapsed() > ECHO => self.tell_itself(),
            Echo::Told(_) | Echo::Heard(_) => Ok(()),
        }
    }

    /// Passes all incoming notices on.
    fn hear(&mut self) -> Result<(), String> {
        while let Some(next) = { self.conn.notifications_iter().next() } {
            let payload = next.map_err(|error| one_line(&error))?.payload;
            match serde_json::from_str(&payload) {
                Ok(packet) => self.heard(packet),
                Err(error) => logging::debug!("a notice of an unknown kind is ignored: {error}"),
            }
        }
        Ok(())
    }

    fn heard(&mut self, Packet { from, kind }: Packet) {
        if from.as_ref() == Some(&self.post.own) {
            return;
        }
        match kind.notice() {
            Some(notice) => {
                self.stirred = Instant::now();
                self.post.counters.received.fetch_add(1, Relaxed);
                self.post.deliver(notice);
            }
            None => {
                self.echo = Echo::Heard(Instant::now());
                self.up();
            }
        }
    }

    /// The connection works. If it is new, notices may have been missed.
    fn up(&mut self) {
        if std::mem::replace(&mut self.up, true) {
            return;
        }
        self.post.counters.mark_up();
        if self.post.failures.swap(0, Relaxed) > 0 {
            self.post.counters.reconnects.fetch_add(1, Relaxed);
            logging::info!("the LISTEN connection is back");
        }
        self.post.deliver(Notice::Missed);
    }
}

fn quoted(channel: &str) -> String {
    format!("\"{}\"", channel.replace('"', "\"\""))
}
