//! The endpoints and services of every test node. The payload says what they do.

use std::time::Duration;

use matssocket::{Forward, HandlerError, Incoming, Outcome, ServerBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Control;

/// A payload type to which not everything deserialises.
#[derive(Deserialize)]
pub struct Strict {
    pub number: i64,
}

/// The text of this failure must never reach a client.
pub const SECRET: &str = "password=hunter2";

pub fn add(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let builder = endpoints(builder, control, node);
    let builder = terminators(builder, control, node);
    services(builder, control, node)
}

/// Decides as the payload's `do` says.
fn decide<R: serde::Serialize>(payload: &Value, reply: R) -> Result<Outcome<R>, HandlerError> {
    match payload["do"].as_str().unwrap_or("resolve") {
        "done" => Ok(Outcome::done()),
        "deny" => Ok(Outcome::deny()),
        "deny_with" => Ok(Outcome::deny_with("for a reason")),
        "resolve" => Ok(Outcome::resolve(reply)),
        "reject" => Ok(Outcome::reject(json!({"rejected": payload}))),
        "forward" => Ok(Outcome::forward(
            Forward::to("work", payload).correlation(&json!({"beside": 1})),
        )),
        "error" => Err(HandlerError::internal(SECRET)),
        "public" => Err(HandlerError::public("out of stock")),
        "panic" => panic!("{SECRET}"),
        "retry" => Ok(Outcome::retry_with("not now")),
        other => Err(HandlerError::public(format!("the test knows no {other:?}"))),
    }
}

fn endpoints(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let (echo, gate, effect, start, adapted, adapter) = (
        control.clone(),
        control.clone(),
        control.clone(),
        control.clone(),
        control.clone(),
        control.clone(),
    );
    builder
        // Does what the payload says; resolves with the payload.
        .endpoint("test.do", move |incoming: Incoming<Value>| {
            echo.ran(node, "test.do", &incoming.context, &incoming.payload);
            async move { decide(&incoming.payload, incoming.payload.clone()) }
        })
        .endpoint("test.strict", |incoming: Incoming<Strict>| async move { Ok(Outcome::resolve(incoming.payload.number)) })
        // Waits for the gate named by the payload.
        .endpoint("test.gate", move |incoming: Incoming<Value>| {
            let control = gate.clone();
            async move {
                control.ran(node, "test.gate", &incoming.context, &incoming.payload);
                control.pass(incoming.payload["gate"].as_str().unwrap_or("gate")).await;
                Ok(Outcome::resolve(incoming.payload.clone()))
            }
        })
        // Sends to its own session through its context; then passes the gate, if one is named; then decides.
        .endpoint("test.effect", move |incoming: Incoming<Value>| {
            let control = effect.clone();
            async move {
                control.ran(node, "test.effect", &incoming.context, &incoming.payload);
                incoming.context.send(incoming.context.session_id(), incoming.context.trace_id(), "client.effect", &incoming.payload)?;
                if let Some(gate) = incoming.payload["gate"].as_str() {
                    control.pass(gate).await;
                }
                decide(&incoming.payload, incoming.payload.clone())
            }
        })
        // Starts work with each payload of its `start`, delayed by `after` milliseconds; then decides.
        .endpoint("test.start", move |incoming: Incoming<Value>| {
            start.ran(node, "test.start", &incoming.context, &incoming.payload);
            async move {
                start_all(&incoming)?;
                decide(&incoming.payload, incoming.payload.clone())
            }
        })
        // Forwards the payload; the adapter does what the payload's `adapter` says.
        .endpoint_with_adapter(
            "test.adapted",
            move |incoming: Incoming<Value>| {
                adapted.ran(node, "test.adapted", &incoming.context, &incoming.payload);
                let forward = Forward::to("work", &incoming.payload).correlation(&incoming.payload["adapter"]);
                async move { Ok(Outcome::forward(forward)) }
            },
            move |incoming: Incoming<Value>| {
                adapter.ran(node, "adapter:test.adapted", &incoming.context, &incoming.payload);
                async move {
                    let decision: Option<String> = incoming.context.correlation()?;
                    let reply = json!({"adapted": incoming.payload, "type": incoming.context.message_type().name()});
                    decide(&json!({"do": decision.unwrap_or_else(|| "done".to_owned())}), reply)
                }
            },
        )
}

/// Starts the work that a payload lists.
pub fn start_all(incoming: &Incoming<Value>) -> Result<(), HandlerError> {
    let payload = &incoming.payload;
    let after = Duration::from_millis(payload["after"].as_u64().unwrap_or(0));
    for work in payload["start"].as_array().into_iter().flatten() {
        incoming
            .context
            .start(Forward::to("work", work).after(after))?;
    }
    Ok(())
}

fn terminators(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let (take, reply, publish, ask) = (
        control.clone(),
        control.clone(),
        control.clone(),
        control.clone(),
    );
    builder
        .terminator("test.take", move |incoming: Incoming<Value>| {
            take.ran(node, "test.take", &incoming.context, &incoming.payload);
            async { Ok(Outcome::done()) }
        })
        // Handles the replies to server requests, and does what else the payload says.
        .terminator("test.reply", move |incoming: Incoming<Value>| {
            let control = reply.clone();
            async move {
                control.ran(node, "test.reply", &incoming.context, &incoming.payload);
                incoming.context.send(
                    incoming.context.session_id(),
                    incoming.context.trace_id(),
                    "client.effect",
                    &incoming.payload,
                )?;
                if let Some(gate) = incoming.payload["gate"].as_str() {
                    control.pass(gate).await;
                }
                match incoming.payload["do"].as_str() {
                    None => Ok(Outcome::done()),
                    Some(_) => decide(&incoming.payload, ()),
                }
            }
        })
        // Publishes to the topic that the payload names.
        .terminator("test.publish", move |incoming: Incoming<String>| {
            publish.ran(
                node,
                "test.publish",
                &incoming.context,
                &json!(incoming.payload),
            );
            async move {
                incoming.context.publish(
                    &incoming.payload,
                    incoming.context.trace_id(),
                    "published by a handler",
                )?;
                Ok(Outcome::done())
            }
        })
        // Sends a request to its own client, through the context.
        .terminator("test.ask", move |incoming: Incoming<Value>| {
            ask.ran(node, "test.ask", &incoming.context, &incoming.payload);
            async move {
                let reply_to = matssocket::ReplyTo::terminator("test.reply")
                    .correlation_string("string ✓")
                    .correlation_bytes([0_u8, 1, 255]);
                incoming.context.request(
                    incoming.context.session_id(),
                    "asked",
                    "client.endpoint",
                    &incoming.payload,
                    reply_to,
                )?;
                Ok(Outcome::done())
            }
        })
}

fn services(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let (work, other) = (control.clone(), control.clone());
    builder
        // Does what the payload's `work` says.
        .service("work", move |incoming: Incoming<Value>| {
            let control = work.clone();
            async move {
                control.ran(node, "work", &incoming.context, &incoming.payload);
                if let Some(gate) = incoming.payload["work gate"].as_str() {
                    control.pass(gate).await;
                }
                let attempts = control.runs_of("work", incoming.context.trace_id());
                match incoming.payload["work"].as_str().unwrap_or("resolve") {
                    "resolve" => Ok(Outcome::resolve(json!({"worked": incoming.payload}))),
                    "send" => {
                        incoming.context.send(
                            incoming.context.session_id(),
                            "from service",
                            "client.effect",
                            &incoming.payload,
                        )?;
                        Ok(Outcome::resolve(json!({"worked": incoming.payload})))
                    }
                    "start" => {
                        start_all(&incoming)?;
                        match incoming.payload["fails once"] == true && attempts == 1 {
                            true => Err(HandlerError::internal(SECRET)),
                            false => Ok(Outcome::resolve(json!({"attempts": attempts}))),
                        }
                    }
                    "reject" => Ok(Outcome::reject(json!({"refused": incoming.payload}))),
                    "done" => Ok(Outcome::done()),
                    "deny" => Ok(Outcome::deny_with("the service denies")),
                    "later" => Ok(Outcome::later(Duration::from_secs(60))),
                    "later briefly" if attempts == 1 => {
                        Ok(Outcome::later(Duration::from_millis(100)))
                    }
                    "later briefly" => Ok(Outcome::resolve(json!({"attempts": attempts}))),
                    "onwards" => Ok(Outcome::forward(Forward::to("other", &incoming.payload))),
                    "fail twice" if attempts > 2 => {
                        Ok(Outcome::resolve(json!({"attempts": attempts})))
                    }
                    "retry once" if attempts > 1 => {
                        Ok(Outcome::resolve(json!({"attempts": attempts})))
                    }
                    "retry once" => Ok(Outcome::retry()),
                    "panic" => panic!("{SECRET}"),
                    _ => Err(HandlerError::internal(SECRET)),
                }
            }
        })
        .service("other", move |incoming: Incoming<Value>| {
            other.ran(node, "other", &incoming.context, &incoming.payload);
            async move { Ok(Outcome::resolve(json!({"other worked": incoming.payload}))) }
        })
}
