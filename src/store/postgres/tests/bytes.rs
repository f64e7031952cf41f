//! How many bytes the database sends.

use serde_json::value::RawValue;

use super::proxy::Proxy;
use super::{Node, Schema, call, server, to};
use crate::store::operation::*;

/// A message for a session, with an incompressible payload of this size.
fn large(sid: &str, tid: &str, bytes: usize) -> Effect {
    let mut effect = to(sid, tid);
    if let Effect::Message { message, .. } = &mut effect {
        let mut text = String::from("\"");
        while text.len() < bytes {
            text.push_str(&crate::store::postgres::rows::secret());
        }
        text.truncate(bytes - 1);
        text.push('"');
        message.msg = Some(RawValue::from_string(text).expect("JSON"));
    }
    effect
}

/// Each fetch made the database send as many messages as the window allows, and used only the first: 40 messages of 4
/// MB moved 3,128 MB.
#[actix::test]
async fn a_backlog_is_moved_once() {
    const MESSAGES: u64 = 20;
    const BYTES: u64 = 200_000;
    let (schema, proxy) = (Schema::new(), Proxy::before(&server()));
    let node = Node::attach("a", schema.settings_through(&proxy)).expect("it opens");
    let session = node.open("s1").await.session;
    for seq in 1..=MESSAGES {
        let tid = format!("m{seq}");
        node.run(call(vec![large("s1", &tid, BYTES as usize)]))
            .await;
    }
    let before = proxy.answered();
    let (mut after, mut messages, mut fetches) = (0, 0, 0);
    loop {
        let fetch = FetchOutbox {
            session,
            after,
            limit: 200,
            max_bytes: 2 * BYTES,
            max_first: u64::MAX,
        };
        let fetched = node.run(fetch).await;
        after = fetched.messages.last().map_or(after, |last| last.seq);
        messages += fetched.messages.len() as u64;
        fetches += 1;
        if !fetched.more {
            break;
        }
    }
    assert_eq!((messages, fetches), (MESSAGES, MESSAGES / 2));
    let moved = proxy.answered() - before;
    let stored = MESSAGES * BYTES;
    println!("{MESSAGES} × {BYTES} bytes: {moved} moved");
    assert!(
        moved < stored + stored / 10,
        "{moved} bytes were moved for {stored}"
    );
}
