//! The outcome table: from a handler's decision to the client's answer.

use crate::endpoint::{Forward, Handled, RawOutcome};
use crate::wire::{MessageType, Payload};

/// The answer to the client's message.
#[derive(Debug)]
pub(super) enum Answer {
    Ack,
    Nack(String),
    Resolve(Payload),
    Reject(Payload),
}

/// What is done with a handler's outcome.
#[derive(Debug)]
pub(super) enum Decision {
    /// It is committed: the answer, what is forwarded with it, and whether the messages that the handler sent are
    /// included.
    Keep {
        answer: Answer,
        forward: Option<Forward>,
        effects: bool,
    },
    /// Nothing is kept; the client retries.
    Retry(Option<String>),
}

/// Decides. `reveal`: the client sees the text of every failure.
pub(super) fn decide(kind: MessageType, handled: Handled, reveal: bool) -> Decision {
    let keep = |answer| Decision::Keep {
        answer,
        forward: None,
        effects: true,
    };
    let refuse = |why: &str| Decision::Keep {
        answer: Answer::Nack(why.to_owned()),
        forward: None,
        effects: false,
    };
    let request = kind == MessageType::Request;
    match handled {
        Err(error) => refuse(&error.for_client(reveal)),
        Ok(RawOutcome::Done) if request => refuse("the handler did not settle the request"),
        Ok(RawOutcome::Done) => keep(Answer::Ack),
        Ok(RawOutcome::Deny(why)) => keep(Answer::Nack(why.unwrap_or_else(|| "denied".to_owned()))),
        Ok(RawOutcome::Resolve(payload)) if request => keep(Answer::Resolve(payload)),
        Ok(RawOutcome::Reject(payload)) if request => keep(Answer::Reject(payload)),
        Ok(RawOutcome::Resolve(_) | RawOutcome::Reject(_)) => refuse(&format!(
            "the handler resolved or rejected a {kind}, which takes no reply"
        )),
        Ok(RawOutcome::Forward(forward)) => Decision::Keep {
            answer: Answer::Ack,
            forward: Some(forward),
            effects: true,
        },
        Ok(RawOutcome::Retry(why)) => Decision::Retry(why),
        Ok(RawOutcome::Later(_)) => {
            refuse("the handler returned \"later\", which only a service may do")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::HandlerError;
    use serde_json::value::to_raw_value;

    fn told(kind: MessageType, handled: Handled) -> &'static str {
        match decide(kind, handled, false) {
            Decision::Keep {
                answer: Answer::Ack,
                ..
            } => "ACK",
            Decision::Keep {
                answer: Answer::Nack(_),
                ..
            } => "NACK",
            Decision::Keep {
                answer: Answer::Resolve(_),
                ..
            } => "RESOLVE",
            Decision::Keep {
                answer: Answer::Reject(_),
                ..
            } => "REJECT",
            Decision::Retry(_) => "RETRY",
        }
    }

    #[test]
    fn every_row_of_the_table() {
        type Row = (&'static str, fn() -> Handled, [&'static str; 3]);
        let rows: [Row; 7] = [
            (
                "nothing done",
                || Ok(RawOutcome::Done),
                ["ACK", "NACK", "ACK"],
            ),
            (
                "deny",
                || Ok(RawOutcome::Deny(None)),
                ["NACK", "NACK", "NACK"],
            ),
            (
                "resolve",
                || Ok(RawOutcome::Resolve(to_raw_value(&1).unwrap())),
                ["NACK", "RESOLVE", "NACK"],
            ),
            (
                "reject",
                || Ok(RawOutcome::Reject(to_raw_value(&1).unwrap())),
                ["NACK", "REJECT", "NACK"],
            ),
            (
                "forward",
                || Ok(RawOutcome::Forward(Forward::to("service", &1))),
                ["ACK", "ACK", "ACK"],
            ),
            (
                "fails",
                || Err(HandlerError::internal("secret")),
                ["NACK", "NACK", "NACK"],
            ),
            (
                "retry",
                || Ok(RawOutcome::Retry(None)),
                ["RETRY", "RETRY", "RETRY"],
            ),
        ];
        for (name, outcome, [send, request, reply]) in rows {
            assert_eq!(told(MessageType::Send, outcome()), send, "SEND, {name}");
            assert_eq!(
                told(MessageType::Request, outcome()),
                request,
                "REQUEST, {name}"
            );
            assert_eq!(
                told(MessageType::Resolve, outcome()),
                reply,
                "RESOLVE, {name}"
            );
            assert_eq!(
                told(MessageType::Reject, outcome()),
                reply,
                "REJECT, {name}"
            );
        }
    }

    #[test]
    fn failures_do_not_leak_unless_asked_to_and_drop_what_was_sent() {
        let fails = || Err(HandlerError::internal("password of the database"));
        let Decision::Keep {
            answer: Answer::Nack(hidden),
            effects,
            ..
        } = decide(MessageType::Send, fails(), false)
        else {
            panic!("a failure is a NACK");
        };
        assert!(!hidden.contains("password") && !effects, "{hidden}");
        let Decision::Keep {
            answer: Answer::Nack(shown),
            ..
        } = decide(MessageType::Send, fails(), true)
        else {
            panic!("a failure is a NACK");
        };
        assert!(shown.contains("password"), "{shown}");
    }
}
