//! A chat over a topic, for several people at several terminals.
//!
//! ```sh
//! cargo run --example chat -- serve        # in one terminal
//! cargo run --example chat -- join anna    # in another
//! cargo run --example chat -- join bert    # and in a third
//! ```
//!
//! Whatever anna types appears at both terminals:
//!
//! ```text
//! (connected)
//! anna: hello, bert
//! ```
//!
//! Now stop the server with Ctrl-C, type a few lines, and start the server again. Both clients reconnect by themselves. Each
//! line appears once, in the same order at both terminals: lines that were typed meanwhile waited in the client, and
//! publications that a client missed are repeated when it returns.

use std::error::Error;
use std::io::BufRead;

use actix_web::{App, HttpServer, rt};
use matssocket::{Incoming, MatsSocketServer, Outcome, Principal, Store, Verdict, auth_fn};
use matssocket_client::{Client, ConnectionEvent, Message, TopicEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

const PATH: &str = "/matssocket";
const TOPIC: &str = "chat";

/// What is published for each line.
#[derive(Deserialize, Serialize)]
struct Line {
    user: String,
    text: String,
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve"] => serve(8080).await,
        ["serve", port] => serve(port.parse()?).await,
        ["join", user] => join(user, 8080).await,
        ["join", user, port] => join(user, port.parse()?).await,
        _ => Err("usage: chat serve [PORT] | chat join USER [PORT]".into()),
    }
}

async fn serve(port: u16) -> Result<(), Box<dyn Error>> {
    // In a file, so that sessions and lines survive a restart.
    let file = std::env::temp_dir().join("matssocket-chat.db");
    let server = MatsSocketServer::builder("chat")
        .store(Store::sqlite(file))
        // This example accepts any name. A real application would verify a token here.
        .authentication(auth_fn(async |user: String| {
            Ok(Verdict::Authenticated(Principal::user(user)))
        }))
        .terminator("Chat.say", async |said: Incoming<String>| {
            let line = Line {
                user: said.context.user_id().to_owned(),
                text: said.payload.clone(),
            };
            // The publication is stored in the same transaction as the id of this message, so a line that a client
            // sends again is not published again.
            said.context
                .publish(TOPIC, said.context.trace_id(), &line)?;
            Ok(Outcome::done())
        })
        .start()
        .await?;
    let mounted = server.clone();
    let http = HttpServer::new(move || App::new().configure(mounted.mount(PATH)))
        .on_connect(matssocket::on_connect)
        .bind(("127.0.0.1", port))?;
    println!("serving on port {}", http.addrs()[0].port());
    Ok(server.run(http).await?)
}

async fn join(user: &str, port: u16) -> Result<(), Box<dyn Error>> {
    let client = Client::builder("chat", "1.0")
        .url(format!("ws://127.0.0.1:{port}{PATH}"))
        .authorization_value(user)
        // If the server has forgotten this session (its file was deleted, say), start a new one.
        .reopen_session(true)
        .build()?;
    report_connection(&client);
    client.subscribe(TOPIC, async |line: Message<Line>| {
        println!("{}: {}", line.payload.user, line.payload.text);
    })?;
    let mut typed = lines_of_stdin();
    let mut number = 0;
    while let Some(text) = typed.recv().await {
        number += 1;
        // Queued at once, whether or not there is a connection. The answer is awaited in the background, so that one
        // can go on typing.
        let sending = client.send(format!("{user}-{number}"), "Chat.say", &text);
        rt::spawn(async move {
            if let Err(why) = sending.await {
                eprintln!("\"{text}\" was not sent: {why}");
            }
        });
    }
    client.flush().await?;
    client.close("bye").await;
    Ok(())
}

fn report_connection(client: &Client) {
    let mut answers = client.topic_events();
    rt::spawn(async move {
        while let Ok(answer) = answers.recv().await {
            match answer {
                // From here on, everything that is said is heard.
                TopicEvent::Subscribed { .. } => println!("(connected)"),
                TopicEvent::Lost { .. } => println!("(connected; some lines were missed)"),
                _ => {}
            }
        }
    });
    let mut events = client.connection_events();
    rt::spawn(async move {
        while let Ok(event) = events.recv().await {
            match event {
                ConnectionEvent::Lost { reason } => println!("(connection lost: {reason})"),
                ConnectionEvent::SessionClosed(why) => println!("({why})"),
                _ => {}
            }
        }
    });
}

/// Reading from a terminal blocks, so it has a thread of its own.
fn lines_of_stdin() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
