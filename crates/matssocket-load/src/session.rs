//! One session: its connection, and its pending messages.

use std::fmt::Display;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::http::Uri;

use crate::line::Line;
use crate::pipeline::{Pipeline, parse};

/// An established session.
pub struct Session {
    line: Line,
    id: String,
    user: String,
    last_cmid: u64,
    /// What arrived with WELCOME.
    along: Option<Utf8Bytes>,
    pub out: Pipeline,
}

/// What outlives a lost connection.
pub struct Lost {
    id: String,
    user: String,
    last_cmid: u64,
}

impl Lost {
    /// A session with this id, which is also its user's.
    pub fn named(id: &str) -> Lost {
        Lost {
            id: id.to_owned(),
            user: id.to_owned(),
            last_cmid: 0,
        }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Session {
    /// Opens a new session of this user.
    pub async fn open(url: &Uri, user: impl Into<String>) -> Result<Session, String> {
        hello(url, user.into(), None).await
    }

    /// Resumes the session on a new connection.
    pub async fn resume(lost: &Lost, url: &Uri) -> Result<Session, String> {
        hello(url, lost.user.clone(), Some(lost)).await
    }

    /// Drops the connection without a Close.
    pub fn lose(self) -> Lost {
        Lost {
            id: self.id,
            user: self.user,
            last_cmid: self.last_cmid,
        }
    }

    /// The underlying socket, for sending incomplete messages.
    pub fn socket(&mut self) -> &mut TcpStream {
        self.line.socket()
    }

    /// Queues a REQUEST or SEND. Returns its cmid.
    pub fn say(&mut self, t: &str, endpoint: &str, tid: impl Display, msg: &str) -> u64 {
        let cmid = self.next_cmid();
        self.say_again(t, cmid, endpoint, tid, msg);
        cmid
    }

    /// An id for the next message.
    pub fn next_cmid(&mut self) -> u64 {
        self.last_cmid += 1;
        self.last_cmid
    }

    pub fn say_again(&mut self, t: &str, cmid: u64, endpoint: &str, tid: impl Display, msg: &str) {
        self.out.envelope(format_args!(
            r#"{{"t":"{t}","cmid":{cmid},"tid":"{tid}","eid":"{endpoint}","msg":{msg}}}"#
        ));
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> Result<(), String> {
        match self.out.take() {
            Some(text) => self.line.send(text).await,
            None => Ok(()),
        }
    }

    /// The server's next message. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Utf8Bytes, String> {
        match self.along.take() {
            Some(text) => Ok(text),
            None => self.line.next().await,
        }
    }

    /// Closes the session, so that the server keeps nothing of it.
    pub async fn close(mut self) {
        let _ = self.line.close(CLOSE_SESSION).await;
    }
}

/// CLOSE_SESSION of the protocol.
const CLOSE_SESSION: u16 = 4000;

/// Sends HELLO, for an existing session, if given.
async fn hello(url: &Uri, user: String, before: Option<&Lost>) -> Result<Session, String> {
    let mut line = Line::open(url, Some("matssocket")).await?;
    let sid = before.map_or(String::new(), |lost| format!(r#","sid":"{}""#, lost.id));
    let hello = format!(
        r#"[{{"t":"HELLO","clv":"matssocket-load","an":"load","av":"1","auth":"DummyAuth:{user}:-1"{sid}}}]"#
    );
    line.send(hello).await?;
    let text = line.next().await?;
    let envelopes = parse(&text)?;
    let Some(id) = envelopes
        .first()
        .filter(|first| first.t == "WELCOME")
        .and_then(|welcome| welcome.sid)
    else {
        return Err(format!("{text:?} instead of WELCOME"));
    };
    Ok(Session {
        line,
        id: id.to_owned(),
        user,
        last_cmid: before.map_or(0, |lost| lost.last_cmid),
        along: (envelopes.len() > 1).then(|| text.clone()),
        out: Pipeline::default(),
    })
}
