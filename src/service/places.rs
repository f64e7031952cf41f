//! The places of one service on this node: which rows are in progress, which wait for a place, and how many more may be
//! claimed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::fair::FairQueue;
use crate::endpoint::ServiceCounters;
use crate::store::operation::{Forwarded, Room};

/// Most rows claimed for one service at a time.
const MOST_CLAIMED: usize = 1_000;

/// The limits of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Rows in progress.
    pub(super) running: usize,
    /// Rows waiting in memory.
    pub(super) waiting: usize,
    /// Bytes of both.
    pub(super) bytes: usize,
}

/// The places of one service.
pub(super) struct Places {
    bounds: Bounds,
    /// Id and bytes of the rows in progress.
    running: HashMap<i64, usize>,
    /// Rows that this node has claimed again, having lost its claim, while their earlier attempts are still in progress.
    /// Such an attempt cannot settle its row any more, and an attempt beside it would only be overtaken in turn.
    claimed_again: HashMap<i64, Forwarded>,
    waiting: FairQueue,
    /// Bytes of the rows in progress.
    running_bytes: usize,
    /// Bytes of the waiting rows.
    waiting_bytes: usize,
    /// How many have ended since the last look, and between that and the one before.
    ended: usize,
    ended_before: usize,
    /// Rows were waiting at the last look.
    waited: bool,
    /// The store may have more rows for it.
    more: bool,
    /// Rows for it are being claimed.
    claiming: bool,
    counters: Arc<ServiceCounters>,
}

impl Places {
    pub(super) fn new(bounds: Bounds, counters: Arc<ServiceCounters>) -> Places {
        Places {
            bounds,
            running: HashMap::new(),
            claimed_again: HashMap::new(),
            waiting: FairQueue::default(),
            running_bytes: 0,
            waiting_bytes: 0,
            ended: 0,
            ended_before: 0,
            waited: false,
            more: false,
            claiming: false,
            counters,
        }
    }

    /// Adds a waiting row. One whose earlier attempt is still in progress waits for the end of that.
    pub(super) fn add(&mut self, row: Forwarded) {
        if self.running.contains_key(&row.id) {
            self.claimed_again.insert(row.id, row);
            return;
        }
        self.waiting_bytes += row.work.bytes();
        self.waiting.push(row);
        self.show();
    }

    /// The next row, in progress from now on, if there is a place for it. One row is always begun, however large.
    pub(super) fn begin(&mut self) -> Option<Forwarded> {
        let is_full = self.running.len() >= self.bounds.running
            || (self.running_bytes >= self.bounds.bytes && !self.running.is_empty());
        if is_full {
            return None;
        }
        let row = self.waiting.pop()?;
        let bytes = row.work.bytes();
        self.waiting_bytes -= bytes;
        self.running_bytes += bytes;
        self.running.insert(row.id, bytes);
        self.show();
        Some(row)
    }

    /// A row is no longer in progress. If it was claimed again meanwhile, it waits for its next attempt.
    pub(super) fn end(&mut self, id: i64) {
        if let Some(bytes) = self.running.remove(&id) {
            self.running_bytes -= bytes;
            self.ended += 1;
            self.counters.attempts.fetch_add(1, Relaxed);
            self.show();
        }
        if let Some(row) = self.claimed_again.remove(&id) {
            self.add(row);
        }
    }

    /// Rows that cannot wait here, to be given back: the newest ones of the users who have most.
    pub(super) fn excess(&mut self) -> Vec<Forwarded> {
        let (rows, bytes) = (self.bounds.waiting, self.bounds.bytes);
        self.take_while(|it| {
            it.waiting.len() > rows || (it.running_bytes + it.waiting_bytes) > bytes
        })
    }

    /// Called at intervals. If no row has ended for a whole interval although others were waiting, the waiting rows are
    /// given back: another node may have places.
    pub(super) fn look(&mut self) -> Vec<Forwarded> {
        self.ended_before = std::mem::take(&mut self.ended);
        let waits = !self.waiting.is_empty();
        let is_stuck = std::mem::replace(&mut self.waited, waits) && self.ended_before == 0;
        self.take_while(|it| is_stuck && !it.waiting.is_empty())
    }

    /// The claims were lost: no row waits here any more.
    pub(super) fn forget_waiting(&mut self) {
        self.claimed_again.clear();
        while self.take_excess().is_some() {}
        self.show();
    }

    fn take_while(&mut self, go_on: impl Fn(&Self) -> bool) -> Vec<Forwarded> {
        let mut taken = Vec::new();
        while go_on(self) {
            taken.extend(self.take_excess());
        }
        let given_back = &self.counters.given_back;
        given_back.fetch_add(taken.len() as u64, Relaxed);
        self.show();
        taken
    }

    fn take_excess(&mut self) -> Option<Forwarded> {
        let row = self.waiting.pop_excess()?;
        self.waiting_bytes -= row.work.bytes();
        Some(row)
    }

    /// How much may be claimed: as many rows as there are free places, plus as many as recently ended within one
    /// interval, so that quick services do not wait for the store after each row, and slow ones leave rows to other
    /// nodes.
    pub(super) fn room(&self) -> Room {
        let ahead = self.ended.max(self.ended_before).min(self.bounds.waiting);
        let places = self.bounds.running.saturating_sub(self.running.len());
        let bytes = self.running_bytes + self.waiting_bytes;
        let is_idle = self.running.is_empty() && self.waiting.is_empty();
        let bytes = match self.bounds.bytes.saturating_sub(bytes) {
            0 if is_idle => 1,
            bytes => bytes,
        };
        let rows = match bytes {
            0 => 0,
            _ => places
                .saturating_add(ahead)
                .saturating_sub(self.waiting.len()),
        };
        Room {
            rows: rows.min(MOST_CLAIMED),
            bytes: bytes as u64,
        }
    }

    /// The store may have more rows for it than are here or requested. Until it has none, new rows must wait in the
    /// store too: otherwise the older ones would wait for as long as new ones arrive.
    pub(super) fn expect_more(&mut self) {
        self.more = true;
        self.counters.has_backlog.store(true, Relaxed);
    }

    /// A claim for this many rows begins.
    pub(super) fn claims(&mut self, room: Room) {
        self.claiming = room.rows > 0;
        self.more &= !self.claiming;
    }

    /// A claim has ended. If it was for this service, the store has no more rows for it.
    pub(super) fn claimed_all(&mut self) {
        if std::mem::take(&mut self.claiming) {
            self.counters.has_backlog.store(self.more, Relaxed);
        }
    }

    /// Whether it is running out of rows although the store may have more.
    pub(super) fn wants_more(&self) -> bool {
        self.more && self.waiting.len() <= self.running.len() / 2 && self.room().rows > 0
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Ids of all rows here.
    pub(super) fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.running.keys().copied().chain(self.waiting.ids())
    }

    fn show(&self) {
        let (running, waiting) = (&self.counters.running, &self.counters.waiting);
        running.store(self.running.len() as u64, Relaxed);
        waiting.store(self.waiting.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fair::tests::row;
    use super::*;

    fn places(running: usize, waiting: usize, bytes: usize) -> Places {
        let bounds = Bounds {
            running,
            waiting,
            bytes,
        };
        Places::new(bounds, Arc::default())
    }

    /// Begins all rows that have a place.
    fn begin(places: &mut Places) -> Vec<i64> {
        let begun = std::iter::from_fn(|| places.begin());
        begun.map(|row| row.id).collect()
    }

    fn add(places: &mut Places, ids: std::ops::Range<i64>) {
        for id in ids {
            places.add(row(id, "anna", "a1"));
        }
    }

    #[test]
    fn what_has_no_place_waits_and_what_cannot_wait_is_too_much() {
        let mut places = places(2, 3, 1_000);
        assert_eq!(places.room().rows, 2);
        add(&mut places, 0..8);
        assert_eq!(begin(&mut places), [0, 1]);
        let excess: Vec<_> = places.excess().iter().map(|row| row.id).collect();
        assert_eq!(excess, [7, 6, 5]);
        assert_eq!(places.room().rows, 0);
        let mut ids: Vec<_> = places.ids().collect();
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2, 3, 4]);
        places.end(0);
        places.end(0);
        assert_eq!(begin(&mut places), [2]);
        assert_eq!((places.running(), places.excess().len()), (2, 0));
        let seen = [
            &places.counters.running,
            &places.counters.waiting,
            &places.counters.given_back,
        ];
        assert_eq!(seen.map(|it| it.load(Relaxed)), [2, 2, 3]);
    }

    /// Rows of slow services waited on one node although another one had places.
    #[test]
    fn what_waits_in_vain_for_a_whole_interval_goes_back() {
        let mut places = places(1, 10, 1_000);
        add(&mut places, 0..4);
        begin(&mut places);
        assert_eq!(places.look().len(), 0, "they may have come just now");
        places.end(0);
        begin(&mut places);
        assert_eq!(places.look().len(), 0, "one has ended");
        assert_eq!(places.look().len(), 2);
        assert_eq!((places.look().len(), places.running()), (0, 1));
        assert_eq!(places.room().rows, 0, "none is claimed for a place taken");
    }

    /// Each attempt of a service that took longer than the lease was overtaken by the next one, without end.
    #[test]
    fn what_is_claimed_again_waits_for_the_attempt_in_progress() {
        let mut places = places(10, 10, 1_000);
        add(&mut places, 0..2);
        assert_eq!(begin(&mut places), [0, 1]);
        places.forget_waiting();
        let again = |epoch| Forwarded {
            epoch,
            ..row(0, "anna", "a1")
        };
        places.add(again(2));
        places.add(again(3));
        assert!(begin(&mut places).is_empty(), "its first attempt goes on");
        assert_eq!(places.ids().filter(|id| *id == 0).count(), 1, "it is known");
        places.end(0);
        let next = places.begin().expect("it has its turn");
        assert_eq!((next.id, next.epoch), (0, 3), "under the newest claim");
        places.end(0);
        places.end(1);
        assert!(begin(&mut places).is_empty());
        let left = (places.running_bytes, places.waiting_bytes, places.running());
        assert_eq!(left, (0, 0, 0));
    }

    #[test]
    fn quick_services_claim_ahead_as_many_as_end_within_an_interval() {
        let mut places = places(2, 10, 1_000);
        for id in 0..6 {
            add(&mut places, id..id + 1);
            begin(&mut places);
            places.end(id);
        }
        assert_eq!(places.room().rows, 2 + 6);
        places.look();
        assert_eq!(places.room().rows, 2 + 6, "as in the interval before");
        places.look();
        assert_eq!(places.room().rows, 2);
        places.expect_more();
        assert!(places.wants_more());
        add(&mut places, 10..14);
        begin(&mut places);
        assert!(!places.wants_more(), "enough waits");
    }

    /// While new ones kept coming, those that had been given back were not claimed for as long.
    #[test]
    fn what_comes_does_not_go_ahead_of_what_waits_in_the_store() {
        let mut places = places(2, 3, 1_000);
        let has_backlog = |places: &Places| places.counters.has_backlog.load(Relaxed);
        places.expect_more();
        assert!(has_backlog(&places));
        let none = Room { rows: 0, bytes: 1 };
        places.claims(none);
        places.claimed_all();
        assert!(has_backlog(&places), "it was not looked for");
        places.claims(places.room());
        places.expect_more();
        places.claimed_all();
        assert!(has_backlog(&places), "there are more");
        places.claims(places.room());
        assert!(has_backlog(&places), "not known yet");
        places.claimed_all();
        assert!(!has_backlog(&places));
    }

    #[test]
    fn bytes_are_bounded_but_one_is_always_in_work() {
        let mut places = places(10, 10, 2);
        add(&mut places, 0..5);
        assert_eq!(begin(&mut places), [0, 1], "a byte each");
        assert_eq!(places.excess().len(), 3);
        assert_eq!(places.room().rows, 0);
        places.end(0);
        places.end(1);
        assert_eq!(places.room().bytes, 2);
        let mut tiny = super::tests::places(10, 10, 0);
        add(&mut tiny, 0..1);
        assert_eq!(begin(&mut tiny), [0]);
        tiny.end(0);
        assert_eq!((tiny.room().rows, tiny.room().bytes), (11, 1));
    }
}
