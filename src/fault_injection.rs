//! Breaks guarantees on purpose, to prove that the tests that check them would notice. Everything is off unless the
//! program turns it on; without the feature `sabotage`, only checks that are always false are compiled.

#[cfg(feature = "sabotage")]
pub use switched::{Broken, Step, break_promise, die_at, pose_as_next_version};
#[cfg(feature = "sabotage")]
pub(crate) use switched::{is_broken, is_next_version, reached};

#[cfg(not(feature = "sabotage"))]
pub(crate) use intact::{Broken, Step, is_broken, reached};

#[cfg(feature = "sabotage")]
mod switched {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

    /// A mechanism that can be switched off.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Broken {
        /// The inbox: a repeated message is handled again.
        Deduplication = 1,
        /// The check that a registration, or a claim, is still the newest.
        Fencing = 2,
        /// Redelivery after a reconnect.
        Redelivery = 4,
    }

    /// A step of a transactional handler's message, on the store's thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Step {
        /// Everything is written, nothing is committed.
        BeforeCommit,
        /// Committed, but nobody has been notified yet.
        AfterCommit,
    }

    static BROKEN: AtomicU8 = AtomicU8::new(0);
    static NEXT_VERSION: AtomicBool = AtomicBool::new(false);

    thread_local! {
        static DIES_AT: Cell<Option<Step>> = const { Cell::new(None) };
    }

    /// Switches this mechanism off, for the whole process.
    pub fn break_promise(what: Broken) {
        BROKEN.fetch_or(what as u8, Ordering::SeqCst);
    }

    pub(crate) fn is_broken(what: Broken) -> bool {
        BROKEN.load(Ordering::Relaxed) & what as u8 != 0
    }

    /// From now on, this process migrates databases as the next version might: it adds the tables and columns of
    /// `tests/upgrade/next`.
    pub fn pose_as_next_version() {
        NEXT_VERSION.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_next_version() -> bool {
        NEXT_VERSION.load(Ordering::Relaxed)
    }

    /// Called by a transactional handler: the process dies when its own transaction reaches this step.
    pub fn die_at(step: Step) {
        DIES_AT.set(Some(step));
    }

    pub(crate) fn reached(step: Step) {
        if DIES_AT.get() == Some(step) {
            std::process::abort();
        }
    }
}

#[cfg(not(feature = "sabotage"))]
mod intact {
    pub(crate) enum Broken {
        Deduplication,
        Fencing,
        Redelivery,
    }

    pub(crate) enum Step {
        BeforeCommit,
        AfterCommit,
    }

    #[inline(always)]
    pub(crate) fn is_broken(_: Broken) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn reached(_: Step) {}
}
