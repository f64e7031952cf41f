//! The order in which a thread's handlers are started. Each occupies the thread while it computes, so starting all
//! handlers of a long pipeline at once would hold up everything else on this thread. Beyond a few, they are therefore
//! started in turns, which are shared fairly between users and let other tasks run in between.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use crate::store::{Fair, Share, Shared};

/// While fewer handlers than this are running on the thread, the next one is started at once.
const FREELY: usize = 64;
/// Handlers that are started in one turn.
const TURN: usize = 64;

thread_local! {
    static TURNS: Rc<Turns> = Rc::default();
}

#[derive(Default)]
struct Turns {
    running: Cell<usize>,
    waiting: RefCell<Fair<Waiting>>,
    /// Whether a task is giving turns, which it does until nothing is waiting.
    given: Cell<bool>,
}

/// A handler waiting for its turn.
struct Waiting {
    share: Share,
    bytes: usize,
    handler: Pin<Box<dyn Future<Output = ()>>>,
}

impl Shared for Waiting {
    fn share(&self) -> Share {
        self.share
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Counts a handler while it runs, even if it panics.
struct Runs(Rc<Turns>);

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

/// Starts a handler of this many bytes on a user's account, after the earlier ones of its session.
pub(in crate::session) fn start(
    share: Share,
    bytes: usize,
    handler: impl Future<Output = ()> + 'static,
) {
    let turns = TURNS.with(Rc::clone);
    if turns.running.get() < FREELY && !turns.given.get() {
        return turns.run(handler);
    }
    turns.waiting.borrow_mut().push(Waiting {
        share,
        bytes,
        handler: Box::pin(handler),
    });
    if !turns.given.replace(true) {
        actix::spawn(turns.give());
    }
}

impl Turns {
    fn run(self: &Rc<Self>, handler: impl Future<Output = ()> + 'static) {
        self.running.set(self.running.get() + 1);
        let runs = Runs(self.clone());
        actix::spawn(async move {
            handler.await;
            drop(runs);
        });
    }

    /// Between two turns, the other tasks of the thread run.
    async fn give(self: Rc<Self>) {
        let mut turn = Vec::with_capacity(TURN);
        loop {
            self.waiting.borrow_mut().take(&mut turn, TURN, usize::MAX);
            if turn.is_empty() {
                self.given.set(false);
                return;
            }
            for waiting in turn.drain(..) {
                self.run(waiting.handler);
            }
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Handlers record their start here: user, session, number.
    type Started = Rc<RefCell<Vec<(u64, u64, u32)>>>;

    /// A handler that ends when all end.
    fn give(
        started: &Started,
        user: u64,
        session: u64,
        number: u32,
        end: &Rc<oneshot::Sender<()>>,
    ) {
        let (started, end) = (started.clone(), end.clone());
        start(Share { user, session }, 100, async move {
            started.borrow_mut().push((user, session, number));
            drop(end);
        });
    }

    #[actix_web::test]
    async fn a_flood_of_one_user_holds_up_neither_others_nor_the_thread() {
        let started = Started::default();
        let (end, ended) = oneshot::channel::<()>();
        let end = Rc::new(end);
        for number in 0..2_000 {
            give(&started, 1, u64::from(number % 40), number, &end);
        }
        let meanwhile = Rc::new(Cell::new(usize::MAX));
        let (seen, before) = (meanwhile.clone(), started.clone());
        actix::spawn(async move { seen.set(before.borrow().len()) });
        give(&started, 2, 0, 0, &end);
        drop(end);
        ended.await.expect_err("all have ended");

        let started = started.borrow();
        assert_eq!(started.len(), 2_001);
        let place = started.iter().position(|(user, ..)| *user == 2);
        assert!(place.is_some_and(|place| place < 200), "{place:?}");
        let meanwhile = meanwhile.get();
        assert!(meanwhile < 200, "after {meanwhile} handlers");
        for session in 0..40 {
            let of_one = started
                .iter()
                .filter(|(user, it, _)| (*user, *it) == (1, session));
            let numbers: Vec<_> = of_one.map(|(.., number)| *number).collect();
            assert!(numbers.is_sorted(), "session {session}: {numbers:?}");
        }
    }

    #[actix_web::test]
    async fn handlers_that_do_not_end_do_not_keep_others_from_starting() {
        let (end, ended) = oneshot::channel::<()>();
        let end = Rc::new(end);
        let share = Share {
            user: 1,
            session: 1,
        };
        for _ in 0..10 * FREELY {
            start(share, 0, std::future::pending());
        }
        start(share, 0, async move { drop(end) });
        ended.await.expect_err("it was started");
    }
}
