//! What a node sends by itself: numbered for each receiver, one after the other, and noted in its journal.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use matssocket::{MatsSocketServer, ReplyTo, SendError, StoreError};
use tokio::sync::Semaphore;

use crate::data::{Mail, Process, endpoint, now, terminator, user};
use crate::journal::{self, Fate, Journal};
use crate::node::Args;

/// Tasks that push at a time, each to clients of its own.
const TASKS: usize = 4;
/// One in so many pushes is a request.
const REQUESTS: u64 = 4;
/// One in so many of the others is for all sessions of the client's user. (There is one.)
const TO_USER: u64 = 3;

/// A node's pushing, and the way to stop it.
#[derive(Clone)]
pub struct Pusher {
    stopping: Arc<AtomicBool>,
    /// One permit for each task that has ended.
    ended: Arc<Semaphore>,
}

impl Pusher {
    /// Begins to push as soon as the list of sessions is there.
    pub fn start(server: MatsSocketServer, args: &Args) -> Result<Pusher, String> {
        let pusher = Pusher {
            stopping: Arc::default(),
            ended: Arc::new(Semaphore::new(0)),
        };
        let tasks = if args.pushes > 0.0 { TASKS } else { 0 };
        pusher.ended.add_permits(TASKS - tasks);
        for task in 0..tasks {
            let path = journal::path(&args.directory, args.process);
            let journal = Journal::create(&path).map_err(|why| why.to_string())?;
            let mut pushing = Pushing {
                server: server.clone(),
                process: args.process,
                journal,
                numbers: HashMap::new(),
                pause: Duration::from_secs_f64(TASKS as f64 / args.pushes),
            };
            let (pusher, directory) = (pusher.clone(), args.directory.clone());
            actix_web::rt::spawn(async move {
                let sessions = sessions(&directory, &pusher.stopping).await;
                let mine = sessions
                    .iter()
                    .filter(|(client, _)| client % TASKS == task)
                    .cloned();
                pushing
                    .run(&mine.collect::<Vec<_>>(), &pusher.stopping)
                    .await;
                pusher.ended.add_permits(1);
            });
        }
        Ok(pusher)
    }

    /// Returns when nothing is pushed any more.
    pub async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        let all = self.ended.acquire_many(TASKS as u32).await;
        drop(all.expect("it is never closed"));
    }
}

/// The file in which the sessions of all clients are listed.
pub const SESSIONS: &str = "sessions";

async fn sessions(directory: &Path, stopping: &AtomicBool) -> Rc<Vec<(usize, String)>> {
    let path = directory.join(SESSIONS);
    while !stopping.load(Ordering::SeqCst) {
        if let Ok(text) = std::fs::read_to_string(&path) {
            return Rc::new(serde_json::from_str(&text).expect("a list of sessions"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Rc::default()
}

struct Pushing {
    server: MatsSocketServer,
    process: Process,
    journal: Journal,
    numbers: HashMap<usize, u64>,
    pause: Duration,
}

impl Pushing {
    async fn run(&mut self, sessions: &[(usize, String)], stopping: &AtomicBool) {
        let mut ticks = tokio::time::interval(self.pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !sessions.is_empty() && !stopping.load(Ordering::SeqCst) {
            ticks.tick().await;
            let (client, session) = &sessions[rand::random_range(0..sessions.len())];
            let number = self.numbers.entry(*client).or_default();
            *number += 1;
            let number = *number;
            self.journal.note(*client, number, Fate::Open);
            let fate = match self.push(*client, session, number).await {
                Ok(()) => Fate::Accepted,
                Err(SendError::Store(StoreError::Unknown)) => Fate::Open,
                Err(_) => Fate::Refused,
            };
            if fate != Fate::Open {
                self.journal.note(*client, number, fate);
            }
        }
    }

    async fn push(&self, client: usize, session: &str, number: u64) -> Result<(), SendError> {
        let mail = Mail {
            to: client,
            from: self.process.to_string(),
            number,
            by: self.process.to_string(),
            at: now(),
        };
        let trace_id = format!("push-{}-{client}-{number}", self.process);
        if number.is_multiple_of(REQUESTS) {
            let reply_to = ReplyTo::terminator(endpoint::ANSWER);
            self.server
                .request(session, &trace_id, terminator::ASK, &mail, reply_to)
                .await
        } else if number.is_multiple_of(TO_USER) {
            let user = user(client);
            let sent = self
                .server
                .send_to_user(&user, &trace_id, terminator::PUSH, &mail)
                .await?;
            match sent.sessions {
                0 => Err(SendError::NoSession(user)),
                _ => Ok(()),
            }
        } else {
            self.server
                .send(session, &trace_id, terminator::PUSH, &mail)
                .await
        }
    }
}
