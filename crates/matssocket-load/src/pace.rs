//! Notifies the sessions of due messages, in an open loop: from a separate thread, since a timer on the sessions'
//! threads would be late by up to a millisecond.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::stage::Shared;

/// When the message of this number is due.
pub fn due(begun: Instant, number: u64, rate: f64) -> Instant {
    begun + Duration::from_secs_f64(number as f64 / rate)
}

/// How many are due in all.
pub fn total(time: Duration, rate: f64) -> u64 {
    (time.as_secs_f64() * rate) as u64
}

/// Notifies one after the other until the time is over; the end of a session's channel marks the end.
pub fn run(shared: &Arc<Shared>, begun: Instant, rate: f64) {
    let listeners: Vec<UnboundedSender<u64>> = {
        let mut all = shared.due.lock().unwrap_or_else(PoisonError::into_inner);
        all.drain(..).flatten().collect()
    };
    for number in 0..total(shared.args.time, rate) {
        let at = due(begun, number, rate);
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        let Some(listener) = listeners.get(number as usize % listeners.len().max(1)) else {
            return;
        };
        // Only fails for a session that broke, which counts as a fault there.
        let _ = listener.send(number);
    }
}
