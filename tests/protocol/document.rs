//! `docs/protocol.md`: every example in it is what goes over the wire, byte for byte, and its conversations are held
//! with a server.

use std::collections::HashMap;

use matssocket::wire::{CloseCode, MessageType, parse_pipeline, print_pipeline};
use matssocket::{Forward, HandlerError, Incoming, Outcome, ReplyTo, ServerBuilder};

use matssocket_testing::*;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// The lines of the examples: of all, or of those that are conversations.
fn examples(wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line.strip_prefix("```") {
            Some(info) => inside = !inside && wanted(info),
            None if inside => lines.push(line),
            None => {}
        }
    }
    lines
}

#[test]
fn every_example_is_printed_as_it_is_parsed() {
    let mut examples = examples(|info| info.starts_with("text"));
    examples.retain(|line| line.starts_with(['→', '←']));
    assert!(examples.len() > 60, "only {} examples", examples.len());
    for example in examples {
        let text = example.trim_start_matches(['→', '←']).trim();
        let envelopes = parse_pipeline(text).unwrap_or_else(|why| panic!("{why}: {text}"));
        for envelope in &envelopes {
            assert_eq!(envelope.fault, None, "{text}");
        }
        assert_eq!(print_pipeline(&envelopes), text);
    }
}

#[test]
fn every_message_type_and_close_code_has_its_row() {
    for t in MessageType::ALL {
        let row = |line: &str| line.starts_with('|') && line.contains(t.name());
        assert!(DOCUMENT.lines().any(row), "no row for {t}");
    }
    let (_, closing) = DOCUMENT.split_once("## 13. Closing").expect("a section");
    for code in CloseCode::ALL {
        let start = format!("| {} | ", code.code());
        let row = closing.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row for {}", code.code()));
        let session = row.split('|').nth(3).expect("a third column");
        let closed = session.contains("closed");
        assert_eq!(closed, code.server_closes_session(), "{row}");
    }
}

/// The endpoints that the conversations use.
fn shop(builder: ServerBuilder, control: &Control, _: usize) -> ServerBuilder {
    let control = control.clone();
    builder
        .endpoint("Orders.place", place)
        .endpoint("Orders.ship", async |order: Incoming<Value>| {
            let forward = Forward::to("Shipping", &order.payload);
            Ok(Outcome::<Value>::forward(forward))
        })
        .service("Shipping", move |_: Incoming<Value>| {
            let control = control.clone();
            async move {
                control.pass("shipping").await;
                Ok(Outcome::resolve(json!({"parcel": "P-4"})))
            }
        })
        .terminator("Orders.check", async |order: Incoming<Value>| {
            let reply_to = ReplyTo::terminator("test.take");
            let (session, trace) = (order.context.session_id(), order.context.trace_id());
            order
                .context
                .request(session, trace, "Shop.confirm", &order.payload, reply_to)?;
            Ok(Outcome::done())
        })
        .terminator(
            "Visits.note",
            async |_: Incoming<Value>| Ok(Outcome::done()),
        )
        .terminator("Visits.subscribe", async |visit: Incoming<Value>| {
            let (session, trace) = (visit.context.session_id(), visit.context.trace_id());
            visit
                .context
                .send(session, trace, "Shop.news", "apples are back")?;
            Ok(Outcome::done())
        })
        .terminator("Prices.set", async |price: Incoming<f64>| {
            price
                .context
                .publish("prices/apples", price.context.trace_id(), &price.payload)?;
            Ok(Outcome::done())
        })
}

/// The number of an order is that of its trace id.
async fn place(order: Incoming<Value>) -> Result<Outcome<Value>, HandlerError> {
    if order.payload["pieces"] == 0 {
        return Ok(Outcome::reject(json!({"why": "no pieces"})));
    }
    let number = order.context.trace_id().rsplit('-').next();
    let number: u64 = number.and_then(|it| it.parse().ok()).expect("a number");
    Ok(Outcome::resolve(json!({"number": number})))
}

/// A conversation with a server, which gives other session and message ids than the document.
struct Conversation {
    nodes: Nodes,
    line: Line,
    /// By their names in the document.
    ids: HashMap<String, String>,
    /// What has come and was not expected yet.
    came: Vec<Value>,
    sent: String,
}

impl Conversation {
    async fn begin() -> Conversation {
        let nodes = Setup::new().extend(shop).start(1).await;
        let line = Client::new("anna").connect(&nodes[0].url).await;
        Conversation {
            nodes,
            line,
            ids: HashMap::new(),
            came: Vec::new(),
            sent: String::new(),
        }
    }

    async fn follow(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("→ ") {
            self.sent = text.to_owned();
            let mut text = text.to_owned();
            for (name, id) in &self.ids {
                text = text.replace(&format!("\"{name}\""), &format!("\"{id}\""));
            }
            return self.line.text(&text).await;
        }
        if let Some(text) = line.strip_prefix("← ") {
            let envelopes: Vec<Value> = serde_json::from_str(text).expect("JSON");
            for envelope in envelopes {
                self.expect(&envelope).await;
            }
            if self.sent.contains("Orders.ship") && text.contains("\"ACK\"") {
                self.nodes.control.open("shipping", 1);
            }
            return;
        }
        match line {
            "… the connection breaks" => self.nothing_else().await,
            "… the connection breaks, and the answer is lost with it" => {
                self.read().await;
                assert_eq!(self.came.drain(..).count(), 1, "the answer");
            }
            "… the authorization expires" => {
                return self.nodes.control.set("invalid:anna:token-1");
            }
            other => panic!("the test does not know what this means: {other}"),
        }
        let url = &self.nodes[0].url;
        self.line = self.line.client.clone().connect(url).await;
    }

    /// Waits for an envelope of the document's, whatever comes before it.
    async fn expect(&mut self, wanted: &Value) {
        loop {
            for place in 0..self.came.len() {
                let mut ids = self.ids.clone();
                if fits(wanted, &self.came[place], &mut ids) {
                    self.ids = ids;
                    self.came.remove(place);
                    return;
                }
            }
            let what = format!("{wanted}; so far came {:?}", self.came);
            within(&what, self.read()).await;
        }
    }

    async fn read(&mut self) {
        let read = self.line.read().await;
        read.unwrap_or_else(|end| panic!("{end} after {}", self.sent));
        self.came.extend(self.line.pipelines.drain(..).flatten());
    }

    /// The server has sent what the document says, and nothing else.
    async fn nothing_else(&mut self) {
        self.line.barrier().await;
        self.came.extend(self.line.pipelines.drain(..).flatten());
        self.came.retain(|envelope| envelope["t"] != "PONG");
        assert_eq!(self.came, Vec::<Value>::new(), "after {}", self.sent);
    }
}

/// Whether what came is what the document says. Ids that it names for the first time may be any.
fn fits(wanted: &Value, came: &Value, ids: &mut HashMap<String, String>) -> bool {
    let (Some(wanted), Some(came)) = (wanted.as_object(), came.as_object()) else {
        return false;
    };
    let same_keys = wanted.len() == came.len() && wanted.keys().all(|key| came.contains_key(key));
    same_keys
        && wanted.iter().all(|(key, value)| {
            let (Some(name), Some(id)) = (value.as_str(), came[key].as_str()) else {
                return came[key] == *value;
            };
            match key.as_str() {
                "sid" | "smid" => ids.entry(name.to_owned()).or_insert(id.to_owned()) == id,
                _ => name == id,
            }
        })
}

#[actix_web::test]
async fn the_conversations_are_held_as_they_are_written() {
    let mut conversation = Conversation::begin().await;
    let lines = examples(|info| info == "text conversation");
    assert!(lines.len() > 50, "only {} lines", lines.len());
    for line in lines {
        conversation.follow(line).await;
    }
    conversation.nothing_else().await;
}
