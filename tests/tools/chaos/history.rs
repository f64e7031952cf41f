//! What each client has seen, and what went wrong under its eyes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::data::Mail;

/// What a client's message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Effect,
    Note,
    Relay,
    Work,
    /// The answer to a server's request.
    Answer,
}

/// One message of a client.
#[derive(Clone, Debug)]
pub struct Sent {
    pub kind: Kind,
    pub number: u64,
    /// Relay: to whom. Answer: which request.
    pub to: Option<usize>,
    pub answers: Option<Mail>,
    /// How often it went out.
    pub times: u32,
    pub acks: u32,
    pub nacks: u32,
    pub resolves: u32,
    pub rejects: u32,
    /// The line on which its ACK2 went out last.
    pub ack2_on: Option<usize>,
}

impl Sent {
    /// The server has taken it: from now on it must be neither lost nor done again.
    pub fn accepted(&self) -> bool {
        self.acks + self.resolves + self.rejects > 0
    }

    /// Nothing more is to come.
    pub fn settled(&self) -> bool {
        match self.kind {
            Kind::Note | Kind::Answer => self.acks + self.nacks > 0,
            Kind::Effect | Kind::Relay | Kind::Work => {
                self.resolves + self.rejects + self.nacks > 0
            }
        }
    }
}

/// How a message from the server came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Came {
    Push,
    Ask,
    Relayed,
    News,
    /// A service's reply.
    Reply,
}

/// A message from the server, at its first delivery.
#[derive(Clone, Debug)]
pub struct Received {
    pub smid: String,
    pub came: Came,
    pub mail: Mail,
}

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It broke.
    Lost,
    /// The server closed it with this code.
    Closed(u16),
    /// The client heard nothing for too long.
    GivenUp,
}

/// A connection with WELCOME.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub node: usize,
    pub since: Instant,
    pub end: Option<(Instant, End)>,
}

/// What one client has seen.
#[derive(Debug, Default)]
pub struct View {
    /// By cmid.
    pub sent: HashMap<u64, Sent>,
    /// In the order of their first delivery.
    pub received: Vec<Received>,
    pub lines: Vec<Line>,
    pub session: Option<String>,
    /// Since when, and on which line, it waits for a message after something was done to its node.
    pub affected: Option<(Instant, usize)>,
}

impl View {
    /// The node that it is connected to.
    pub fn node(&self) -> Option<usize> {
        let line = self.lines.last()?;
        line.end.is_none().then_some(line.node)
    }
}

/// A promise that was broken. The numbers are those of the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Promise {
    Kept,
    Once,
    InOrder,
    ToTheRightOne,
    /// It heals, and leaves nothing behind.
    Heals,
}

impl Promise {
    pub const ALL: [(Promise, &str); 5] = [
        (Promise::Kept, "lost"),
        (Promise::Once, "processed twice"),
        (Promise::InOrder, "out of order"),
        (Promise::ToTheRightOne, "to the wrong one"),
        (Promise::Heals, "not healed"),
    ];
}

/// What everybody tells.
#[derive(Default)]
pub struct History {
    pub views: Vec<RefCell<View>>,
    violations: RefCell<Vec<(Promise, String)>>,
    /// Time from a fault to the next message, of each client that it affected.
    pub healed: RefCell<Vec<Duration>>,
    /// Nodes that were stopped for longer than their lease, and when (also in milliseconds since the epoch).
    pub pauses: RefCell<Vec<(usize, Instant, u64)>>,
    pub messages: Cell<u64>,
    pub redelivered: Cell<u64>,
    pub resent: Cell<u64>,
    pub retries: Cell<u64>,
    pub refused: Cell<u64>,
    /// Messages made in another node than the one that delivered them.
    pub from_elsewhere: Cell<u64>,
    /// Messages made in a node to which their receiver had never been connected.
    pub from_strangers: Cell<u64>,
}

/// Counts one more.
pub fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl History {
    pub fn new(clients: usize) -> History {
        History {
            views: (0..clients).map(|_| RefCell::default()).collect(),
            ..History::default()
        }
    }

    pub fn violated(&self, promise: Promise, what: String) {
        self.violations.borrow_mut().push((promise, what));
    }

    pub fn violations(&self) -> Vec<(Promise, String)> {
        self.violations.borrow().clone()
    }

    /// Takes the last ones back: it was too early to judge.
    pub fn forget_violations(&self, last: usize) {
        let mut violations = self.violations.borrow_mut();
        let keep = violations.len() - last;
        violations.truncate(keep);
    }

    pub fn violation_count(&self) -> usize {
        self.violations.borrow().len()
    }

    /// Something was done to a node (to all of them: `None`): its clients wait for the next message from now on.
    pub fn affected(&self, node: Option<usize>) {
        let now = Instant::now();
        for view in &self.views {
            let mut view = view.borrow_mut();
            let hit = node.is_none_or(|node| view.node() == Some(node));
            if hit && view.affected.is_none() {
                // On a broken line something may still be under way.
                let from = match node {
                    Some(_) => view.lines.len(),
                    None => view.lines.len().saturating_sub(1),
                };
                view.affected = Some((now, from));
            }
        }
    }

    /// Whether the node of this line was stopped, in the line's time, before this message was made.
    pub fn stopped_before(&self, line: &Line, mail: &Mail) -> bool {
        let pauses = self.pauses.borrow();
        let mut over = pauses.iter().filter(|(node, ..)| *node == line.node);
        over.any(|(_, stopped, at)| line.since < *stopped && mail.at > *at)
    }

    pub fn connected(&self) -> usize {
        let up = |view: &&RefCell<View>| view.borrow().node().is_some();
        self.views.iter().filter(up).count()
    }

    pub fn reconnects(&self) -> usize {
        let lines = self.views.iter().map(|view| view.borrow().lines.len());
        lines.sum::<usize>().saturating_sub(self.views.len())
    }
}
