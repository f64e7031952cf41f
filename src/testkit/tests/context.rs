use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::auth::{ClientInfo, Principal};
use crate::endpoint::{Context, Forward, Incoming, Outcome};
use crate::error::{HandlerError, SendError};
use crate::message::{Destination, ReplyTo, Topic, UserRecipient};
use crate::testkit::{Decision, Sent, SentTo, TestContext, WorkBegins};
use crate::wire::MessageType;

async fn bill(order: Incoming<u32>) -> Result<Outcome<()>, HandlerError> {
    let context = &order.context;
    let rate: &u32 = context.data().ok_or("no rate")?;
    context.send(context.session_id(), "t", "Client.news", &order.payload)?;
    let reply_to = ReplyTo::terminator("Paid").correlation_string("17");
    context.request(
        "other",
        "t",
        "Client.pay",
        &(rate * order.payload),
        reply_to,
    )?;
    context.publish(
        Topic::new("bills").last_value_of("ACME"),
        context.trace_id(),
        &order.payload,
    )?;
    let bill = Forward::to("billing", &order.payload).correlation(&context.user_id());
    let bill = bill.after(Duration::from_secs(60));
    Ok(Outcome::forward(bill))
}

#[tokio::test]
async fn a_handler_is_called_as_the_function_that_it_is() {
    let test = TestContext::new().data(3_u32).user("anna").session_id("s1");
    let outcome = bill(test.incoming(17)).await.unwrap();
    let forwarded = Decision::Forwarded {
        service: "billing".into(),
        payload: json!(17),
        correlation: Some(json!("anna")),
        begins: WorkBegins::After(Duration::from_secs(60)),
    };
    assert_eq!(Decision::of(outcome), Ok(forwarded));
    let message = |message_type, session: &str, endpoint: &str, payload, reply_to| Sent::Message {
        message_type,
        to: SentTo::Session(session.into()),
        trace_id: "t".into(),
        endpoint: endpoint.into(),
        payload,
        reply_to,
        time_to_live: None,
        kept_for: None,
    };
    let expected = [
        message(MessageType::Send, "s1", "Client.news", json!(17), None),
        message(
            MessageType::Request,
            "other",
            "Client.pay",
            json!(51),
            Some("Paid".into()),
        ),
        Sent::Publication {
            last_value_of: Some("ACME".into()),
            topic: "bills".into(),
            trace_id: "test trace".into(),
            payload: json!(17),
        },
    ];
    assert_eq!(test.sent(), expected);
}

/// Started work and messages to users were shown as text that no test could compare.
#[test]
fn everything_sent_through_a_context_can_be_compared() {
    let test = TestContext::new();
    let context = test.context();
    let minute = Duration::from_secs(60);
    let read = Destination::new("Mail.read").time_to_live(minute);
    let anna = UserRecipient::new("anna").keep_for(minute);
    context.send_to_user(anna, "t", read, &1).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    let work = Forward::to("Reminders", &2).correlation(&3);
    context.start(work.key("order 17").at(time)).unwrap();
    context.start(Forward::to("Reminders", &4)).unwrap();
    context.cancel("Reminders", "order 16").unwrap();
    let work = |payload, correlation, key: Option<&str>, begins| Sent::Work {
        service: "Reminders".into(),
        payload,
        correlation,
        key: key.map(Into::into),
        begins,
    };
    let expected = [
        Sent::Message {
            to: SentTo::User("anna".into()),
            message_type: MessageType::Send,
            trace_id: "t".into(),
            endpoint: "Mail.read".into(),
            payload: json!(1),
            reply_to: None,
            time_to_live: Some(minute),
            kept_for: Some(minute),
        },
        work(
            json!(2),
            Some(json!(3)),
            Some("order 17"),
            WorkBegins::At(time),
        ),
        work(json!(4), None, None, WorkBegins::AtOnce),
        Sent::Cancellation {
            service: "Reminders".into(),
            key: "order 16".into(),
        },
    ];
    assert_eq!(test.sent(), expected);
}

#[test]
fn a_context_says_what_the_test_says() {
    let test = TestContext::new()
        .principal(Principal::user("anna").with_data(7_u8))
        .authorization("token")
        .client(ClientInfo::new("Shop", "2"))
        .called("Orders.paid", MessageType::Reject)
        .message_id("m1")
        .attempt(4)
        .correlation_string("17")
        .correlation(&"kept")
        .end_reason("timeout");
    let context = test.context();
    let client = context.client().map(|it| (&*it.app_name, &*it.app_version));
    assert_eq!((context.user_id(), client), ("anna", Some(("Shop", "2"))));
    assert_eq!(context.principal_data(), Some(&7_u8));
    assert_eq!(context.authorization(), Some("token"));
    assert_eq!(
        (context.endpoint(), context.message_type()),
        ("Orders.paid", MessageType::Reject)
    );
    assert_eq!((context.message_id(), context.attempt()), (Some("m1"), 4));
    assert_eq!(context.correlation_string(), Some("17"));
    assert_eq!(
        context.correlation::<String>().unwrap().as_deref(),
        Some("kept")
    );
    assert_eq!(context.end_reason(), Some("timeout"));
}

/// An invalid id was stored, or refused by the database only.
#[test]
fn what_cannot_be_sent_is_refused_where_it_is_sent() {
    let context: Context = TestContext::new().context();
    let refused = |sent: Result<(), SendError>| match sent {
        Err(SendError::InvalidId(why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    let long = "x".repeat(256);
    let texts = [
        refused(context.publish("a\nb", "t", &1)),
        refused(context.publish(long.repeat(100), "t", &1)),
        refused(context.publish("topic", "t\0", &1)),
        refused(context.publish("topic", &long, &1)),
        refused(context.send("s", "t", &long, &1)),
        refused(context.send("s", "t", "", &1)),
    ];
    let expected = [
        r"a\nb",
        "max_topic_length",
        r"t\u{0}",
        "256 bytes",
        "256 bytes",
        "is empty",
    ];
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
