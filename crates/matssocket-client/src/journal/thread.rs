//! The journal's thread: commits what waits, together.

use std::sync::{Arc, Weak, mpsc};

use super::file::File;
use super::{Op, Then, Write};
use crate::shared::Shared;

/// Most operations in one transaction.
const GROUP: usize = 1_000;

type Ops = mpsc::Receiver<(Op, Weak<Shared>)>;

/// Runs until the client is gone; then the file is closed, and with it its lock released.
pub(super) fn run(mut file: File, ops: &Ops) {
    // What nobody waits for and has not been written yet, because the disk was full.
    let mut owed = Vec::new();
    while let Ok(first) = ops.recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = ops.try_recv()
        {
            group.push(next);
        }
        commit(&mut file, &mut owed, group);
    }
    if let Err(error) = file.write(&owed) {
        log::error!("the last entries of the journal could not be written: {error}");
    }
}

fn commit(file: &mut File, owed: &mut Vec<Write>, group: Vec<(Op, Weak<Shared>)>) {
    let all = owed
        .iter()
        .chain(group.iter().flat_map(|(op, _)| &op.writes));
    if file.write(all).is_ok() {
        owed.clear();
        let shared = group[0].1.clone();
        let mut keys = Vec::new();
        for (op, _) in group {
            match op.then {
                Then::Queue(key) => keys.push(key),
                then => told(file, then, Ok(()), owed, Vec::new()),
            }
        }
        queued(&shared, &keys, &Ok(()));
        return;
    }
    // One that cannot be written fails alone.
    for (op, shared) in group {
        let outcome = file.write(owed.iter().chain(&op.writes));
        if outcome.is_ok() {
            owed.clear();
        }
        match op.then {
            Then::Queue(key) => queued(&shared, &[key], &outcome),
            then => told(file, then, outcome, owed, op.writes),
        }
    }
}

fn told(
    file: &File,
    then: Then,
    outcome: Result<(), String>,
    owed: &mut Vec<Write>,
    writes: Vec<Write>,
) {
    match then {
        Then::Tell(waiting) => drop(waiting.send(outcome)),
        #[cfg(test)]
        Then::Fill(full) => file.fill(full),
        Then::List(waiting) => drop(waiting.send(file.failed())),
        Then::Queue(_) | Then::Nothing => {
            if let Err(error) = outcome {
                log::error!(
                    "the journal could not be written, which is tried again with the next entry: {error}"
                );
                owed.extend(writes);
            }
        }
    }
}

fn queued(shared: &Weak<Shared>, keys: &[u64], outcome: &Result<(), String>) {
    if let (false, Some(shared)) = (keys.is_empty(), Weak::upgrade(shared)) {
        shared.core().kept(keys, outcome);
        shared.wake.notify_one();
        // The last one: what it owns is dropped here, and this thread ends.
        drop::<Arc<Shared>>(shared);
    }
}
