//! What any store can do that is handed its operations by other threads, and answers them: the bare loop's statements,
//! by a thread behind a channel, and nothing else.

use std::thread;

use crossbeam_channel::{Receiver, Sender};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Args, payload};

/// One half of a pair, and whom to answer.
pub enum Half {
    Insert(i64, i64, Box<RawValue>, oneshot::Sender<Box<RawValue>>),
    Delete(i64, i64, oneshot::Sender<()>),
}

/// Runs `commit` on a thread of its own, with as many halves as wait, up to the batch; pairs per second.
pub fn run(batch: usize, args: &Args, mut commit: impl FnMut(&mut Vec<Half>) + Send) -> f64 {
    let (sender, halves) = crossbeam_channel::unbounded();
    thread::scope(|scope| {
        scope.spawn(move || serve(&halves, batch, &mut commit));
        drive(sender, batch, args)
    })
}

fn serve(halves: &Receiver<Half>, batch: usize, commit: &mut impl FnMut(&mut Vec<Half>)) {
    while let Ok(first) = halves.recv() {
        let mut group = vec![first];
        while group.len() < batch {
            let Ok(next) = halves.try_recv() else { break };
            group.push(next);
        }
        commit(&mut group);
        for half in group {
            match half {
                Half::Insert(_, _, msg, answer) => drop(answer.send(msg)),
                Half::Delete(_, _, answer) => drop(answer.send(())),
            }
        }
    }
}

fn drive(sender: Sender<Half>, batch: usize, args: &Args) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime can be made").block_on(async {
        let (mut pairs, mut last) = (0, 0);
        let msg = payload();
        let mut under_way = FuturesUnordered::new();
        let begun = std::time::Instant::now();
        loop {
            while under_way.len() < 4 * batch && begun.elapsed() < args.time {
                last += 1;
                under_way.push(pair(
                    &sender,
                    last % args.sessions as i64,
                    last,
                    msg.clone(),
                ));
            }
            match under_way.next().await {
                Some(()) => pairs += 1,
                None => return f64::from(pairs) / begun.elapsed().as_secs_f64(),
            }
        }
    })
}

async fn pair(sender: &Sender<Half>, session: i64, seq: i64, msg: Box<RawValue>) {
    let (reply, answer) = oneshot::channel();
    let _ = sender.send(Half::Insert(session, seq, msg, reply));
    answer.await.expect("it is stored");
    let (reply, answer) = oneshot::channel();
    let _ = sender.send(Half::Delete(session, seq, reply));
    answer.await.expect("it is deleted");
}
