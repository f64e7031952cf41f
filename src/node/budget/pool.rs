//! A budget of bytes, with an ordered queue of waiters for room in it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::Share;

/// Bytes in use, and their limit. It may be overdrawn: small amounts are counted without checking for room.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    used: AtomicUsize,
    /// How many bytes the first waiter for room here needs; 0: nobody waits.
    wanted: AtomicUsize,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Pool {
        Pool {
            limit,
            used: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, SeqCst);
    }

    fn try_add(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|after| *after <= self.limit);
        self.used.fetch_update(SeqCst, SeqCst, fits).is_ok()
    }

    /// Takes bytes for a waiter. If there is no room, it announces the waiter first and then checks again: whoever
    /// frees room either sees the announcement, or did so early enough for the second check to see the room.
    fn try_add_for_waiter(&self, bytes: usize) -> bool {
        self.wanted.store(bytes, SeqCst);
        let taken = self.try_add(bytes);
        if taken {
            self.wanted.store(0, SeqCst);
        }
        taken
    }

    /// Gives bytes back. Returns whether there may now be room for the first waiter here.
    fn subtract(&self, bytes: usize) -> bool {
        let used = self.used.fetch_sub(bytes, SeqCst) - bytes;
        let wanted = self.wanted.load(SeqCst);
        wanted > 0 && used.saturating_add(wanted) <= self.limit
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.used.load(Relaxed))
    }
}

/// One budget of a node.
#[derive(Debug)]
pub(super) struct Budget {
    pool: Pool,
    queue: Mutex<VecDeque<Arc<Waiter>>>,
    /// The length of the queue.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    account: Account,
    granted: AtomicBool,
    waker: AtomicWaker,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget {
            pool: Pool::new(limit),
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    pub(super) fn used(&self) -> usize {
        self.pool.used.load(Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Waiter>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants room to the waiters, in order. A waiter whose user's share is used up is skipped, along with the user's
    /// other waiters. A waiter that only lacks room in the node's budget is not overtaken.
    fn grant(&self, queue: &mut VecDeque<Arc<Waiter>>) {
        self.pool.wanted.store(0, SeqCst);
        let mut exhausted: Vec<&Pool> = Vec::new();
        let mut granted = Vec::new();
        for (index, waiter) in queue.iter().enumerate() {
            let share = waiter.account.share();
            if let Some(share) = share {
                if exhausted.iter().any(|it| std::ptr::eq(*it, share)) {
                    continue;
                }
                if !share.try_add_for_waiter(waiter.bytes) {
                    exhausted.push(share);
                    continue;
                }
            }
            if !self.pool.try_add_for_waiter(waiter.bytes) {
                // The user's other waiters are behind this one, which must not be overtaken.
                if let Some(share) = share {
                    share.subtract(waiter.bytes);
                }
                break;
            }
            granted.push(index);
        }
        for index in granted.into_iter().rev() {
            if let Some(waiter) = queue.remove(index) {
                waiter.granted.store(true, SeqCst);
                waiter.waker.wake();
            }
        }
        self.waiting.store(queue.len(), SeqCst);
    }
}

/// Where bytes are counted: in a budget, and in a user's share of it.
#[derive(Clone)]
pub(crate) struct Account {
    budget: Arc<Budget>,
    share: Option<ShareOf>,
}

/// A user's share, and the pool in it for one direction.
#[derive(Clone)]
struct ShareOf {
    share: Arc<Share>,
    direction: Direction,
}

/// Selects the pool for one direction in a user's share.
pub(super) type Direction = fn(&Share) -> &Pool;

impl Account {
    pub(super) fn new(budget: Arc<Budget>) -> Account {
        let share = None;
        Account { budget, share }
    }

    pub(super) fn of_user(budget: Arc<Budget>, share: Arc<Share>, direction: Direction) -> Account {
        let share = Some(ShareOf { share, direction });
        Account { budget, share }
    }

    fn share(&self) -> Option<&Pool> {
        self.share.as_ref().map(|it| (it.direction)(&it.share))
    }

    /// Whether both count their bytes in the same place.
    pub(super) fn is(&self, other: &Account) -> bool {
        let share = |it: &Account| it.share.as_ref().map(|it| Arc::as_ptr(&it.share));
        Arc::ptr_eq(&self.budget, &other.budget) && share(self) == share(other)
    }

    /// How many bytes can be reserved now.
    pub(crate) fn room(&self) -> usize {
        let of_node = self.budget.pool.room();
        self.share().map_or(of_node, |it| it.room().min(of_node))
    }

    /// Counts bytes, whether or not there is room.
    pub(super) fn add(&self, bytes: usize) {
        if let Some(share) = self.share() {
            share.add(bytes);
        }
        self.budget.pool.add(bytes);
    }

    /// Gives bytes back, and grants the room to waiters.
    pub(super) fn subtract(&self, bytes: usize) {
        let of_user = self.share().is_some_and(|share| share.subtract(bytes));
        let of_node = self.budget.pool.subtract(bytes);
        if of_user || of_node {
            self.budget.grant(&mut self.budget.lock());
        }
    }

    /// Reserves bytes if there is room for them and nobody is already waiting.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        if self.budget.waiting.load(SeqCst) > 0 {
            return None;
        }
        if self.share().is_some_and(|share| !share.try_add(bytes)) {
            return None;
        }
        if !self.budget.pool.try_add(bytes) {
            if self.share().is_some_and(|share| share.subtract(bytes)) {
                self.budget.grant(&mut self.budget.lock());
            }
            return None;
        }
        Some(Reserved {
            account: self.clone(),
            bytes,
        })
    }

    /// Waits for room for this many bytes, behind those already waiting. A request larger than the whole budget is
    /// reduced to the budget.
    pub(crate) fn wait(&self, bytes: usize) -> Ticket {
        let of_user = self.share().map_or(usize::MAX, |share| share.limit);
        let waiter = Arc::new(Waiter {
            bytes: bytes.min(of_user).min(self.budget.pool.limit),
            account: self.clone(),
            granted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut queue = self.budget.lock();
        queue.push_back(waiter.clone());
        self.budget.grant(&mut queue);
        Ticket {
            waiter: Some(waiter),
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("share", &self.share())
            .finish_non_exhaustive()
    }
}

/// A place in the queue, given up on drop. As a future, it resolves when its turn comes.
#[derive(Debug)]
#[must_use]
pub(crate) struct Ticket {
    /// `None`: its turn has come.
    waiter: Option<Arc<Waiter>>,
}

impl Future for Ticket {
    type Output = Reserved;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reserved> {
        let waiter = self.waiter.as_ref().expect("polled until it is ready");
        waiter.waker.register(context.waker());
        if !waiter.granted.load(SeqCst) {
            return Poll::Pending;
        }
        let reserved = Reserved {
            account: waiter.account.clone(),
            bytes: waiter.bytes,
        };
        self.waiter = None;
        Poll::Ready(reserved)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        let budget = &waiter.account.budget;
        let mut queue = budget.lock();
        if waiter.granted.load(SeqCst) {
            drop(queue);
            return waiter.account.subtract(waiter.bytes);
        }
        queue.retain(|it| !Arc::ptr_eq(it, &waiter));
        // It may have been the first, holding up those behind it.
        budget.grant(&mut queue);
    }
}

/// Reserved bytes, given back on drop: on every exit path, panics included.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reserved {
    account: Account,
    bytes: usize,
}

impl Reserved {
    /// Hands the bytes over to a holder that counts in this account. Returns how many are counted there from now on.
    pub(super) fn hand_over(mut self, account: &Account) -> usize {
        let bytes = std::mem::take(&mut self.bytes);
        if !self.account.is(account) {
            self.account.subtract(bytes);
            account.add(bytes);
        }
        bytes
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.subtract(self.bytes);
        }
    }
}
