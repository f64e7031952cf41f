//! Sessions that only keep their connections open.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::session::Session;
use crate::stage::Stage;
use crate::tally::Fault;

pub async fn play(
    stage: &Stage,
    number: usize,
    settle: Duration,
    ping: Option<Duration>,
) -> Option<Session> {
    let mut session = stage.open_session(number).await?;
    let begun = stage.ready().await;
    let until = begun + settle + stage.args().time;
    // Spread over the interval, as if they had not all connected at once.
    let mut next = ping.map(|every| {
        let part = number as f64 / stage.args().sessions as f64;
        begun + every.mul_f64(part)
    });
    let mut pings = 0_u64;
    loop {
        let wake = next.map_or(until, |next| next.min(until));
        tokio::select! {
            text = session.next() => if let Err(why) = text {
                stage.fault(Fault::Broken, || why);
                return None;
            },
            () = sleep_until(wake.into()) => {}
        }
        let now = Instant::now();
        if now >= until {
            return Some(session);
        }
        if let (Some(due), Some(every)) = (next.filter(|due| *due <= now), ping) {
            next = Some(due + every);
            pings += 1;
            session
                .out
                .envelope(format_args!(r#"{{"t":"PING","x":{pings}}}"#));
            if let Err(why) = session.flush().await {
                stage.fault(Fault::Broken, || why);
                return None;
            }
        }
    }
}
