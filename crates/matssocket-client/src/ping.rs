//! PINGs, which check whether the connection is alive.

use rand::RngExt;
use tokio::time::{Duration, Instant};

use matssocket_wire::PingId;

/// PINGs and the PONGs they wait for.
pub(super) struct Pings {
    interval: Duration,
    last: u64,
    next: Instant,
    /// The PING without a PONG yet.
    sent: Option<(u64, Instant)>,
}

impl Pings {
    pub(super) fn new(interval: Duration, now: Instant) -> Pings {
        // The first is sent early, but not by all clients at once.
        let first = Duration::from_secs_f64(rand::rng().random_range(3.0..7.0)).min(interval);
        Pings {
            interval,
            last: 0,
            next: now + first,
            sent: None,
        }
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.sent.is_some() || now < self.next {
            return None;
        }
        self.last += 1;
        self.sent = Some((self.last, now));
        self.next = now + self.interval;
        Some(self.last)
    }

    pub(super) fn pong(&mut self, x: &PingId, now: Instant) -> Option<Duration> {
        let (number, sent) = self.sent?;
        if *x != PingId::Number(number as i64) {
            return None;
        }
        self.sent = None;
        Some(now - sent)
    }

    /// When to send the next, or to give up waiting for the PONG.
    pub(super) fn due(&self) -> Instant {
        self.sent
            .map_or(self.next, |(_, sent)| sent + 2 * self.interval)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.sent.is_some() && now >= self.due()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.sent.is_some()
    }

    /// No PONG could arrive until now: the wait for it starts again.
    pub(super) fn excuse(&mut self, now: Instant) {
        if let Some((_, sent)) = &mut self.sent {
            *sent = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    #[test]
    fn pings_come_at_intervals_and_wait_for_their_pong() {
        let start = Instant::now();
        let mut pings = Pings::new(INTERVAL, start);
        let first = pings.due();
        assert!(first >= start + Duration::from_secs(3) && first <= start + Duration::from_secs(7));
        assert_eq!(
            (pings.take_due(start), pings.take_due(first)),
            (None, Some(1))
        );
        let later = first + Duration::from_secs(1);
        assert_eq!(pings.pong(&PingId::Number(7), later), None);
        assert_eq!(
            pings.pong(&PingId::Number(1), later),
            Some(Duration::from_secs(1))
        );
        assert_eq!(
            (pings.due(), pings.take_due(first + INTERVAL)),
            (first + INTERVAL, Some(2))
        );
    }

    #[test]
    fn a_missing_pong_is_overdue_after_two_intervals_of_reading() {
        let start = Instant::now();
        let mut pings = Pings::new(INTERVAL, start);
        let first = pings.due();
        pings.take_due(first);
        assert!(!pings.is_overdue(first + INTERVAL));
        assert!(pings.is_overdue(first + 2 * INTERVAL));
        pings.excuse(first + INTERVAL);
        assert!(!pings.is_overdue(first + 2 * INTERVAL));
    }
}
