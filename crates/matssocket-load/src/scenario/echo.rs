//! Plain texts that are echoed: the limit of the sockets themselves.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::time::timeout_at;

use crate::line::Line;
use crate::stage::Stage;
use crate::tally::Fault;

pub async fn play(stage: &Stage, number: usize, in_flight: usize, size: usize) {
    let opening = Line::open(stage.url(number), None);
    let Some(mut line) = stage.open(opening).await else {
        return;
    };
    let begun = stage.ready().await;
    let mut sent = VecDeque::new();
    let echoes = echo(stage, &mut line, &mut sent, begun, in_flight, size);
    match timeout_at(stage.give_up(begun).into(), echoes).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(why)) => stage.fault(Fault::Broken, || why),
    }
    let lost = sent.len() as u64;
    stage.faults(Fault::Lost, lost, || {
        format!("{lost} texts did not come back")
    });
}

async fn echo(
    stage: &Stage,
    line: &mut Line,
    sent: &mut VecDeque<Instant>,
    begun: Instant,
    in_flight: usize,
    size: usize,
) -> Result<(), String> {
    let until = begun + stage.args().time;
    loop {
        while sent.len() < in_flight && Instant::now() < until {
            sent.push_back(Instant::now());
            line.send("x".repeat(size)).await?;
        }
        if sent.is_empty() {
            return Ok(());
        }
        line.next().await?;
        if let Some(since) = sent.pop_front() {
            stage.done(since, Instant::now());
        }
    }
}
