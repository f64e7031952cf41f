//! Closes a session that has no connection: one last connection notifies the server, which would otherwise keep the
//! session, and count it towards the user's limit, until it times out.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use super::authorizing::authorize;
use super::connection::{close_frame, hello};
use super::shared::Shared;
use super::socket::open;
use matssocket_wire::{CloseCode, Envelope, MessageType, parse_pipeline, print_pipeline};

/// Resumes the session and closes it at once.
pub(super) async fn farewell(
    shared: &Shared,
    url: &str,
    session_id: String,
    reason: &str,
) -> Result<(), String> {
    authorize(shared).await.map_err(|error| error.text())?;
    let mut ws = open(&shared.config, url).await?;
    let auth = shared.core().auth.for_hello();
    let auth = auth.map_err(|error| error.to_string())?;
    let hello = Envelope {
        sid: Some(session_id),
        auth,
        ..hello(&shared.config)
    };
    let mut next = Message::text(print_pipeline([&hello]));
    loop {
        ws.send(next).await.map_err(|error| error.to_string())?;
        next = loop {
            match ws.next().await {
                Some(Ok(Message::Text(text))) if is_welcome(text.as_str()) => {
                    break close_frame(CloseCode::CloseSession, reason);
                }
                Some(Ok(Message::Close(_))) => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the line was closed".into()),
            }
        };
    }
}

fn is_welcome(text: &str) -> bool {
    parse_pipeline(text).is_ok_and(|envelopes| {
        envelopes
            .iter()
            .any(|envelope| envelope.t == MessageType::Welcome)
    })
}
