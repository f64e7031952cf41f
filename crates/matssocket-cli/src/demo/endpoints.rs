//! The demo's endpoints. Every answer names the node that created it.

use std::sync::Arc;
use std::time::Duration;

use matssocket::{
    Authentication, DebugOptions, Forward, HandlerError, Incoming, Outcome, Principal,
    ServerBuilder, Verdict, auth_fn,
};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

const LONGEST_WAIT: Duration = Duration::from_secs(60);
const MOST_PUSHED: u32 = 1_000;

/// `Demo:<user>`: accepts any name.
pub fn authentication() -> impl Authentication {
    auth_fn(async |value: String| {
        Ok(match value.strip_prefix("Demo:").map(str::trim) {
            Some(user) if !user.is_empty() => {
                Verdict::Authenticated(Principal::user(user).with_debug_options(DebugOptions::ALL))
            }
            _ => Verdict::Invalid("expected Demo:<user>".into()),
        })
    })
}

/// Adds endpoints, terminators and services; `node` is the name in the answers.
pub fn add(builder: ServerBuilder, node: &str) -> ServerBuilder {
    let node: Arc<str> = node.into();
    let (echoing, slow, pushing, saying) = (node.clone(), node.clone(), node.clone(), node);
    builder
        .endpoint("Demo.echo", move |incoming| echo(echoing.clone(), incoming))
        .endpoint("Demo.slow", async |incoming: Incoming<Slow>| {
            Ok(Outcome::<Reply>::forward(Forward::to(
                "Demo.slow",
                &incoming.payload,
            )))
        })
        .service("Demo.slow", move |incoming| {
            answer_slowly(slow.clone(), incoming)
        })
        .terminator("Demo.pushLater", async |incoming: Incoming<PushLater>| {
            Ok(Outcome::forward(Forward::to(
                "Demo.pushLater",
                &incoming.payload,
            )))
        })
        .service("Demo.pushLater", move |incoming| {
            push(pushing.clone(), incoming)
        })
        .terminator("Demo.say", move |incoming| say(saying.clone(), incoming))
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

#[derive(Deserialize, Serialize)]
struct Slow {
    text: String,
    millis: u64,
}

#[derive(Deserialize, Serialize)]
struct PushLater {
    text: String,
    millis: u64,
    count: u32,
}

#[derive(Serialize)]
struct Reply {
    text: String,
    node: String,
}

#[derive(Serialize)]
struct Pushed<'a> {
    text: &'a str,
    number: u32,
    node: &'a str,
}

#[derive(Serialize)]
struct Said<'a> {
    user: &'a str,
    text: &'a str,
    node: &'a str,
}

async fn echo(node: Arc<str>, incoming: Incoming<Text>) -> Result<Outcome<Reply>, HandlerError> {
    Ok(Outcome::resolve(Reply {
        text: incoming.into_parts().0.text,
        node: node.to_string(),
    }))
}

async fn answer_slowly(
    node: Arc<str>,
    incoming: Incoming<Slow>,
) -> Result<Outcome<Reply>, HandlerError> {
    wait(incoming.payload.millis).await;
    Ok(Outcome::resolve(Reply {
        text: incoming.into_parts().0.text,
        node: node.to_string(),
    }))
}

/// All messages, and the completion of this work, are stored in one transaction: if this node fails while waiting,
/// another one starts again, and the client still gets each message once.
async fn push(node: Arc<str>, incoming: Incoming<PushLater>) -> Result<Outcome<()>, HandlerError> {
    let PushLater {
        text,
        millis,
        count,
    } = &incoming.payload;
    wait(*millis).await;
    for number in 1..=*count.min(&MOST_PUSHED) {
        let trace_id = format!("{}#{number}", incoming.context.trace_id());
        incoming.context.send(
            incoming.context.session_id(),
            &trace_id,
            "Demo.pushed",
            &Pushed {
                text,
                number,
                node: &node,
            },
        )?;
    }
    Ok(Outcome::done())
}

async fn say(node: Arc<str>, incoming: Incoming<Text>) -> Result<Outcome<()>, HandlerError> {
    let said = Said {
        user: incoming.context.user_id(),
        text: &incoming.payload.text,
        node: &node,
    };
    incoming
        .context
        .publish("Demo.chat", incoming.context.trace_id(), &said)?;
    Ok(Outcome::done())
}

async fn wait(millis: u64) {
    sleep(Duration::from_millis(millis).min(LONGEST_WAIT)).await;
}
