//! Work that no living node can do: looked for periodically, logged, and shown in the metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Node;
use crate::logging;
use crate::store::StoreError;
use crate::store::operation::{FindUnserved, UnservedWork};
use crate::wire::quoted;

/// Most services that are examined: handlers may have derived service names from client input.
pub(crate) const MOST_SERVICES: usize = 100;

/// How often a log line is repeated while the condition lasts.
const AGAIN: Duration = Duration::from_secs(600);

/// The search takes at most one part in this many of the time.
const PARTS: u32 = 100;

/// What this node knows of work that no living node can do.
#[derive(Debug, Default)]
pub(crate) struct Unserved {
    waiting: Mutex<BTreeMap<String, Waiting>>,
    /// The next search starts no earlier than this.
    next: Mutex<Option<Instant>>,
}

/// What waits for one service.
#[derive(Debug)]
struct Waiting {
    messages: u64,
    /// When this was last logged.
    said: Instant,
}

/// What is to be logged about one service.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// Messages have been waiting for it for a while.
    Waits(UnservedWork),
    /// No messages are waiting for it any more.
    Served(String),
}

impl Unserved {
    /// How many messages wait, by service.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |(service, waiting): (&String, &Waiting)| (service.clone(), waiting.messages);
        known.iter().map(count).collect()
    }

    /// Whether it is time for a search.
    fn is_time(&self, now: Instant) -> bool {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.is_none_or(|next| next <= now)
    }

    /// Schedules the next search so that searching takes a small part of the time, however long a search takes.
    fn rest(&self, begun: Instant, now: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(now + (now - begun) * PARTS);
    }

    /// Records what is waiting now. Returns what is to be logged: at once the first time, then seldom.
    fn learn(&self, found: Vec<UnservedWork>, now: Instant) -> Vec<News> {
        let mut known = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        let mut news = Vec::new();
        for work in found {
            let said = match before.remove(&work.service) {
                Some(waiting) if now.duration_since(waiting.said) < AGAIN => waiting.said,
                Some(_) | None => {
                    news.push(News::Waits(work.clone()));
                    now
                }
            };
            let messages = work.messages;
            known.insert(work.service, Waiting { messages, said });
        }
        news.extend(before.into_keys().map(News::Served));
        news
    }
}

impl Node {
    /// Searches for such work, and logs it.
    pub(crate) async fn note_unserved(&self) -> Result<(), StoreError> {
        let begun = Instant::now();
        if !self.unserved.is_time(begun) {
            return Ok(());
        }
        let limit = MOST_SERVICES;
        let found = self.store.run(FindUnserved { limit }).await?;
        let now = Instant::now();
        self.unserved.rest(begun, now);
        for news in self.unserved.learn(found, now) {
            news.log();
        }
        Ok(())
    }
}

impl News {
    fn log(&self) {
        match self {
            News::Waits(work) => logging::warn!(
                "messages are waiting for the service {}, which no running node has: {} of them. They will be handled when such a \
                node joins; if none is expected, a handler forwards to a wrong name",
                quoted(&work.service),
                work.messages
            ),
            News::Served(service) => logging::info!(
                "no more messages are waiting for a node that has the service {}",
                quoted(service)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(service: &str, messages: u64) -> UnservedWork {
        UnservedWork {
            service: service.into(),
            messages,
            oldest: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_takes_long_is_looked_for_seldom() {
        let (unserved, start) = (Unserved::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(unserved.is_time(start));
        unserved.rest(at(0), at(10));
        assert!(!unserved.is_time(at(1_009)) && unserved.is_time(at(1_010)));
    }

    #[test]
    fn it_is_said_at_once_then_seldom_and_when_it_is_over() {
        let (unserved, start) = (Unserved::default(), Instant::now());
        let at = |seconds, found: &[UnservedWork]| {
            unserved.learn(found.to_vec(), start + Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &[]), []);
        assert_eq!(at(1, &[work("a", 1)]), [News::Waits(work("a", 1))]);
        let both = [work("a", 2), work("b", 7)];
        assert_eq!(at(2, &both), [News::Waits(work("b", 7))]);
        assert_eq!(unserved.counts(), [("a".into(), 2), ("b".into(), 7)].into());
        assert_eq!(at(600, &both), []);
        assert_eq!(at(601, &both), [News::Waits(work("a", 2))]);
        assert_eq!(
            at(602, &both[1..]),
            [News::Waits(work("b", 7)), News::Served("a".into())]
        );
        assert_eq!(at(603, &[]), [News::Served("b".into())]);
        assert!(unserved.counts().is_empty());
    }
}
