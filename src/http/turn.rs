//! Decides which connection is read from next. Processing input occupies the thread, and its consequences take places
//! that others need too. So a few messages are read from a connection at a time, the connections of a thread take turns
//! that are shared fairly between users, and connections of a user at the limit of running handlers are not read from
//! at all.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::session::connection::{Bell, ConnectionUser};
use crate::store::{Fair, Share, Shared};

/// How much is read in one turn: this many small envelopes, whether each is a message of its own or all are one.
const TURN: isize = 16;
/// Bytes of a small envelope.
const ENVELOPE: usize = 512;
/// How long reading is paused for a user at the limit of running handlers. Then one turn is read, whose messages get
/// RETRY: the running handlers may be waiting for something the client is about to send.
const PATIENCE: Duration = Duration::from_secs(1);
/// Number of slots to which users are assigned by their hash.
const SLOTS: usize = 256;

thread_local! {
    static TURNS: Rc<Turns> = Rc::new(Turns {
        had_one: RefCell::new([false; SLOTS]),
        waiting: RefCell::default(),
        given: Cell::new(false),
    });
}

/// The turns of one thread.
struct Turns {
    /// Users who have had a turn since turns were last given to waiting connections: each gets one without waiting.
    had_one: RefCell<[bool; SLOTS]>,
    waiting: RefCell<Fair<Waiting>>,
    /// Whether a task is giving turns, which it does until nothing is waiting.
    given: Cell<bool>,
}

/// A connection waiting for its turn.
struct Waiting {
    share: Share,
    place: Rc<Place>,
}

#[derive(Default)]
struct Place {
    given: Cell<bool>,
    connection: Bell,
}

impl Shared for Waiting {
    fn share(&self) -> Share {
        self.share
    }

    fn bytes(&self) -> usize {
        0
    }
}

impl Turns {
    /// Gives one turn after the other. Between two of them, the other tasks of the thread run.
    async fn give(self: Rc<Self>) {
        let mut next = Vec::with_capacity(1);
        loop {
            tokio::task::yield_now().await;
            self.had_one.borrow_mut().fill(false);
            self.waiting.borrow_mut().take(&mut next, 1, usize::MAX);
            let Some(Waiting { place, .. }) = next.pop() else {
                self.given.set(false);
                return;
            };
            place.given.set(true);
            place.connection.ring();
        }
    }
}

/// The turns of one connection.
#[derive(Default)]
pub(super) struct Turn {
    /// How much may still be read in this turn. Negative if a long message took more than a turn: the connection then
    /// skips as many turns as it overdrew.
    left: isize,
    /// Its place in the queue for the next turn.
    place: Option<Rc<Place>>,
    /// The wait until its user has room for more handlers, or for long enough.
    room: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// It has waited long enough: this turn is read.
    has_waited: bool,
}

impl Turn {
    /// Whether the connection may be read from; if not, its task is woken when it may.
    pub(super) fn poll(&mut self, user: &ConnectionUser, context: &mut Context<'_>) -> Poll<()> {
        if self.poll_room(user, context).is_pending() {
            return Poll::Pending;
        }
        while self.left <= 0 {
            if self.poll_turn(user.share, context).is_pending() {
                return Poll::Pending;
            }
            self.left += TURN;
        }
        Poll::Ready(())
    }

    /// This many bytes of a message were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.left -= 1 + (bytes / ENVELOPE) as isize;
        if self.left <= 0 {
            self.has_waited = false;
        }
    }

    fn poll_room(&mut self, user: &ConnectionUser, context: &mut Context<'_>) -> Poll<()> {
        if self.has_waited || !user.handlers.is_filled(user.share.user) {
            self.room = None;
            return Poll::Ready(());
        }
        let room = self.room.get_or_insert_with(|| {
            let room = user.handlers.clone().room(user.share.user);
            Box::pin(async move {
                let _ = tokio::time::timeout(PATIENCE, room).await;
            })
        });
        if room.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.room = None;
        self.has_waited = true;
        Poll::Ready(())
    }

    fn poll_turn(&mut self, share: Share, context: &mut Context<'_>) -> Poll<()> {
        if let Some(place) = &self.place {
            place.connection.register(context);
            if !place.given.get() {
                return Poll::Pending;
            }
            self.place = None;
            return Poll::Ready(());
        }
        let turns = TURNS.with(Rc::clone);
        let slot = share.user as usize % SLOTS;
        let had_one = std::mem::replace(&mut turns.had_one.borrow_mut()[slot], true);
        if !had_one {
            return Poll::Ready(());
        }
        let place = Rc::<Place>::default();
        place.connection.register(context);
        turns.waiting.borrow_mut().push(Waiting {
            share,
            place: place.clone(),
        });
        self.place = Some(place);
        if !turns.given.replace(true) {
            actix_web::rt::spawn(turns.give());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;
    use crate::node::UserCounts;

    fn connection_user(handlers: &Arc<UserCounts>, user: u64, session: u64) -> ConnectionUser {
        ConnectionUser {
            share: Share { user, session },
            handlers: handlers.clone(),
        }
    }

    fn may_read(turn: &mut Turn, user: &ConnectionUser) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        turn.poll(user, &mut context).is_ready()
    }

    /// Waits until the connection may be read from. Returns after how many turns of the thread.
    async fn turns_until(turn: &mut Turn, user: &ConnectionUser) -> usize {
        let mut turns = 0;
        while !may_read(turn, user) {
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    }

    #[actix_web::test]
    async fn the_lines_of_one_user_take_turns_and_others_do_not_wait_for_them() {
        let handlers = UserCounts::new(1_000);
        let mut connections: Vec<_> = (0..40)
            .map(|session| (Turn::default(), connection_user(&handlers, 1, session)))
            .collect();
        let at_once = connections
            .iter_mut()
            .filter_map(|(turn, user)| may_read(turn, user).then_some(()))
            .count();
        assert_eq!(at_once, 1, "of one user's connections");
        assert!(may_read(
            &mut Turn::default(),
            &connection_user(&handlers, 2, 0)
        ));
        for (turn, user) in &mut connections {
            turns_until(turn, user).await;
            for message in 0..TURN {
                assert!(may_read(turn, user), "message {message}");
                turn.read(100);
            }
        }
    }

    #[actix_web::test]
    async fn a_long_message_takes_the_turns_that_its_envelopes_would_have_taken() {
        let handlers = UserCounts::new(1_000);
        let (mut turn, user) = (Turn::default(), connection_user(&handlers, 1, 0));
        turns_until(&mut turn, &user).await;
        turn.read(1_000 * ENVELOPE);
        let turns = turns_until(&mut turn, &user).await;
        // One of every two turns is given without waiting.
        assert!(turns >= 1_000 / TURN as usize / 2 - 1, "{turns} turns");
    }

    #[actix_web::test]
    async fn a_user_with_many_handlers_is_not_read_from_until_they_end() {
        let handlers = UserCounts::new(4);
        let (mut turn, user) = (Turn::default(), connection_user(&handlers, 1, 0));
        let mut running = vec![handlers.enter(1)];
        assert!(may_read(&mut turn, &user));
        running.push(handlers.enter(1));
        assert!(!may_read(&mut turn, &user));
        running.pop();
        assert!(may_read(&mut turn, &user));
    }

    #[actix_web::test]
    async fn handlers_that_do_not_end_let_a_turn_pass_in_the_end() {
        let handlers = UserCounts::new(4);
        let (mut turn, user) = (Turn::default(), connection_user(&handlers, 1, 0));
        let _running = [handlers.enter(1), handlers.enter(1)];
        std::future::poll_fn(|context| turn.poll(&user, context)).await;
        for _ in 0..TURN {
            assert!(may_read(&mut turn, &user));
            turn.read(100);
        }
        assert!(!may_read(&mut turn, &user));
    }
}
