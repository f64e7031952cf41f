//! The bytes that one connection holds.

use std::cell::{Cell, RefCell};

use super::{Account, Reserved, SMALL, Ticket};

/// Bytes that a connection may hold uncounted: it costs more than that anyway, and its small messages need not touch
/// memory that all threads share.
const FREE: usize = 1024;

/// The bytes that one connection holds in one direction, counted in an [`Account`] until they are released or this is
/// dropped. It belongs to one thread.
#[derive(Debug)]
pub(crate) struct Held {
    account: RefCell<Account>,
    bytes: Cell<usize>,
    /// How many of the bytes are counted in the account.
    counted: Cell<usize>,
}

impl Held {
    pub(crate) fn new(account: Account) -> Held {
        Held {
            account: RefCell::new(account),
            bytes: Cell::new(0),
            counted: Cell::new(0),
        }
    }

    /// Holds this many bytes more, whether or not there is room.
    pub(crate) fn grow(&self, bytes: usize) {
        self.set(self.bytes.get() + bytes);
    }

    /// Holds less.
    pub(crate) fn shrink(&self, bytes: usize) {
        self.set(self.bytes.get().saturating_sub(bytes));
    }

    fn set(&self, bytes: usize) {
        self.bytes.set(bytes);
        let (counted, counts) = (self.counted.get(), bytes.saturating_sub(FREE));
        if counts > counted {
            self.account.borrow().add(counts - counted);
        } else if counts < counted {
            self.account.borrow().subtract(counted - counts);
        }
        self.counted.set(counts);
    }

    /// Holds this many bytes more if they are few or there is room.
    pub(crate) fn try_grow(&self, bytes: usize) -> bool {
        if self.bytes.get() + bytes <= SMALL {
            self.grow(bytes);
            return true;
        }
        let reserved = self.account.borrow().try_reserve(bytes);
        reserved.map(|it| self.grow_by(it, bytes)).is_some()
    }

    /// Waits until there is room for this many bytes more.
    pub(crate) fn wait(&self, bytes: usize) -> Ticket {
        self.account.borrow().wait(bytes)
    }

    /// Holds this many bytes more, for which room is already reserved.
    pub(crate) fn grow_by(&self, reserved: Reserved, bytes: usize) {
        let counted = reserved.hand_over(&self.account.borrow());
        self.counted.set(self.counted.get() + counted);
        self.grow(bytes);
    }

    /// Reserves room for this many bytes, if there is any, until the reservation is dropped.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Option<Reserved> {
        self.account.borrow().try_reserve(bytes)
    }

    /// How many more bytes it may hold, including what is left of the `small` bytes that are always allowed.
    pub(crate) fn room(&self, small: usize) -> usize {
        let room = self.account.borrow().room();
        room.max(small.saturating_sub(self.bytes.get()))
    }

    /// Moves the bytes to another account, where they count from now on.
    pub(crate) fn move_to(&self, account: Account) {
        let counted = self.counted.get();
        account.add(counted);
        self.account.replace(account).subtract(counted);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
