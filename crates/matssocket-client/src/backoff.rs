//! Growing waits with jitter, and rotation through the servers' URLs.

use std::time::Duration;

use rand::RngExt;

/// A wait that doubles with each failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// A wait of `first` that doubles with each failure, up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest }
    }

    /// The wait after this many failures (0: the first wait), without jitter.
    pub(super) fn plain(&self, failures: u32) -> Duration {
        self.first
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
            .min(self.longest)
    }

    /// The wait after this many failures, plus up to half of it at random, so that clients spread out.
    pub(super) fn jittered(&self, failures: u32) -> Duration {
        let plain = self.plain(failures);
        plain + plain.mul_f64(rand::rng().random_range(0.0..0.5))
    }
}

/// Which URL to connect to next, and how long to wait first.
#[derive(Debug)]
pub(super) struct Rotation {
    urls: Vec<String>,
    backoff: Backoff,
    at: usize,
    /// Failed connection attempts in a row.
    failures: u32,
    /// Connections in a row that were lost right after they were established.
    short_lived: u32,
}

impl Rotation {
    const SHORT_LIFE: Duration = Duration::from_secs(2);
    /// How often short-lived connections can double the wait, at most.
    const LONGEST_DOUBLING: u32 = 2;

    pub(super) fn new(urls: Vec<String>, backoff: Backoff) -> Rotation {
        Rotation {
            urls,
            backoff,
            at: 0,
            failures: 0,
            short_lived: 0,
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.urls[self.at]
    }

    /// Connecting failed: the next URL is tried, and the wait grows with each round.
    pub(super) fn failed(&mut self) {
        self.at = (self.at + 1) % self.urls.len();
        self.failures = self.failures.saturating_add(1);
    }

    /// An established connection was lost: start again at the first URL.
    ///
    /// A server that keeps accepting and dropping connections must not be hammered, so short-lived connections also
    /// make the wait grow.
    pub(super) fn lost(&mut self, lived: Duration) {
        self.at = 0;
        self.failures = 0;
        self.short_lived = if lived < Self::SHORT_LIFE {
            self.short_lived.saturating_add(1)
        } else {
            0
        };
    }

    /// The server asked the client to leave because it is restarting: as after a lost connection, but another URL is
    /// tried first, if there is one, since that server will probably refuse for a while.
    pub(super) fn sent_elsewhere(&mut self, lived: Duration) {
        let next = (self.at + 1) % self.urls.len();
        self.lost(lived);
        self.at = next;
    }

    /// The server has answered, though with a refusal: the next attempt does not wait for earlier failures.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// Forgets all failures, since a connection is wanted now.
    pub(super) fn reset(&mut self) {
        (self.at, self.failures, self.short_lived) = (0, 0, 0);
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// How long to wait before the next attempt.
    pub(super) fn wait(&self) -> Duration {
        if self.failures > 0 {
            let round = (self.failures - 1) / self.urls.len() as u32;
            return self.backoff.jittered(round);
        }
        match self.short_lived {
            0 => Duration::ZERO,
            // The first reconnect is quick: usually only the connection was lost.
            1 => self
                .backoff
                .first
                .mul_f64(rand::rng().random_range(0.0..0.2)),
            // The wait stays short, since a restarting server closes every connection, whatever its age.
            more => self
                .backoff
                .jittered((more - 2).min(Self::LONGEST_DOUBLING)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(10),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        assert_eq!(BACKOFF.plain(0), Duration::from_millis(500));
        assert_eq!(BACKOFF.plain(2), Duration::from_secs(2));
        assert_eq!(BACKOFF.plain(60), Duration::from_secs(10));
        for failures in 0..70 {
            let (plain, jittered) = (BACKOFF.plain(failures), BACKOFF.jittered(failures));
            assert!(plain <= jittered && jittered <= plain.mul_f64(1.5));
        }
    }

    #[test]
    fn failures_rotate_and_a_lost_line_starts_again_at_the_first() {
        let mut rotation = Rotation::new(vec!["a".into(), "b".into()], BACKOFF);
        assert_eq!((rotation.url(), rotation.wait()), ("a", Duration::ZERO));
        rotation.failed();
        assert_eq!(rotation.url(), "b");
        assert!(rotation.wait() >= BACKOFF.plain(0) && rotation.wait() <= BACKOFF.plain(1));
        rotation.failed();
        rotation.failed();
        assert_eq!(rotation.url(), "b");
        assert!(rotation.wait() >= BACKOFF.plain(1));
        rotation.lost(Duration::from_secs(60));
        assert_eq!((rotation.url(), rotation.wait()), ("a", Duration::ZERO));
    }

    #[test]
    fn a_restart_leads_to_the_next_url() {
        let mut rotation = Rotation::new(vec!["a".into(), "b".into()], BACKOFF);
        rotation.sent_elsewhere(Duration::from_secs(60));
        assert_eq!((rotation.url(), rotation.wait()), ("b", Duration::ZERO));
        rotation.sent_elsewhere(Duration::ZERO);
        assert_eq!(rotation.url(), "a");
        assert!(rotation.wait() <= Duration::from_millis(100));
        let mut alone = Rotation::new(vec!["a".into()], BACKOFF);
        alone.sent_elsewhere(Duration::from_secs(60));
        assert_eq!((alone.url(), alone.wait()), ("a", Duration::ZERO));
    }

    #[test]
    fn an_answer_forgets_failures_but_not_short_lives() {
        let mut rotation = Rotation::new(vec!["a".into(), "b".into()], BACKOFF);
        for _ in 0..3 {
            rotation.lost(Duration::ZERO);
        }
        rotation.failed();
        rotation.answered();
        assert_eq!((rotation.url(), rotation.failures()), ("b", 0));
        assert!(rotation.wait() >= Duration::from_secs(1));
    }

    #[test]
    fn short_lived_lines_let_the_wait_grow() {
        let mut rotation = Rotation::new(vec!["a".into()], BACKOFF);
        rotation.lost(Duration::ZERO);
        assert!(rotation.wait() <= Duration::from_millis(100));
        rotation.lost(Duration::ZERO);
        rotation.lost(Duration::ZERO);
        assert!(rotation.wait() >= Duration::from_secs(1));
        rotation.lost(Duration::from_secs(60));
        assert_eq!(rotation.wait(), Duration::ZERO);
    }
}
