//! A limit on how many of something may be in progress at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Admits a limited number of holders at a time. It never waits: when it is full, it refuses.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    inside: AtomicUsize,
}

/// A place in a [`Gate`], released on drop: on every exit path, panics included.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Gate>);

impl Gate {
    pub(crate) fn new(limit: usize) -> Arc<Gate> {
        Arc::new(Gate {
            limit,
            inside: AtomicUsize::new(0),
        })
    }

    /// Takes a place; `None` if all are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Permit> {
        self.inside
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |inside| {
                (inside < self.limit).then_some(inside + 1)
            })
            .is_ok()
            .then(|| Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[test]
    fn a_full_gate_refuses_until_a_permit_is_dropped() {
        let gate = Gate::new(2);
        let first = gate.enter().unwrap();
        let second = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        drop(first);
        let third = gate.enter().unwrap();
        assert!(gate.enter().is_none());
        drop((second, third));
        assert_eq!((0..5).filter_map(|_| gate.enter()).count(), 5);
        assert!(Gate::new(0).enter().is_none());
    }
}
