//! One node in a process of its own: what gets killed.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use diesel::connection::SimpleConnection;
use diesel::{PgConnection, SqliteConnection};
use matssocket::fault_injection::{self, Broken, Step};
use matssocket::{
    Config, Forward, HandlerError, Incoming, MatsSocketServer, MessageType, Outcome, Principal,
    ServerBuilder, Verdict, auth_fn,
};

use crate::args;
use crate::data::{Answer, Ask, Mail, Process, endpoint, now, terminator};
use crate::database::Url;
use crate::pusher::Pusher;

/// Where the WebSocket is mounted.
pub const PATH: &str = "/matssocket";

/// What a node is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_parser = args::url)]
    pub store: Url,
    #[arg(long)]
    pub process: Process,
    #[arg(long)]
    pub port: u16,
    /// Where journals and the list of sessions are.
    #[arg(long)]
    pub directory: PathBuf,
    /// Pushes per second.
    #[arg(long, default_value = "0")]
    pub pushes: f64,
    /// How long a lease holds, in milliseconds.
    #[arg(long, default_value = "3000", value_parser = args::millis)]
    pub lease: Duration,
    #[arg(long, value_parser = args::broken)]
    pub sabotage: Option<Broken>,
    /// Migrates the tables as a next version might.
    #[arg(long)]
    pub next_version: bool,
    #[arg(long, value_parser = args::step)]
    pub die_at: Option<DieAt>,
}

/// A step of a message at which the node dies by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DieAt {
    /// The message has come in; no handler has run.
    Received,
    /// The handler has inserted the application's row.
    Inserted,
    /// The message's own rows are written as well, and nothing is committed.
    BeforeCommit,
    /// Committed, and nobody has been told.
    AfterCommit,
    /// The answer is about to be written to the line.
    Answering,
}

impl DieAt {
    pub const ALL: [(&str, DieAt); 5] = [
        ("received", DieAt::Received),
        ("inserted", DieAt::Inserted),
        ("before-commit", DieAt::BeforeCommit),
        ("after-commit", DieAt::AfterCommit),
        ("answering", DieAt::Answering),
    ];
}

/// Short intervals: what takes minutes in earnest shall take seconds here.
pub fn config(lease: Duration) -> Config {
    let ms = Duration::from_millis;
    let mut config = Config::default();
    config.lease = lease;
    config.lease_interval = lease / 4;
    config.sweep_interval = ms(1_000);
    config.takeover_interval = ms(250);
    config.service_backoff = ms(100);
    config.service_attempts = 5;
    // Also how long a node that is stopped in the midst of a handler's transaction can hold up the others.
    config.transaction_limit = ms(1_000);
    config.stop_grace = ms(3_000);
    config.stop_spread = ms(500);
    config.store.busy_timeout = ms(1_000);
    config.store.answer_timeout = ms(2_000);
    // A request waits for its client as long as it takes.
    config.request_timeout = Duration::from_secs(3_600);
    config
}

/// Serves until SIGTERM, or until whoever started it is gone.
pub async fn run(args: Args) -> Result<(), String> {
    if let Some(promise) = args.sabotage {
        fault_injection::break_promise(promise);
    }
    if args.next_version {
        fault_injection::pose_as_next_version();
    }
    let builder = MatsSocketServer::builder("chaos")
        .node_name(format!("node-{}", args.process))
        .config(config(args.lease))
        .authentication(auth_fn(async |value: String| {
            Ok(Verdict::Authenticated(Principal::user(value)))
        }));
    let builder = match &args.store {
        Url::Sqlite(_) => add_endpoints::<SqliteConnection>(builder, &args),
        Url::Postgres(_) => add_endpoints::<PgConnection>(builder, &args),
    };
    let builder = match args.die_at {
        Some(step) => die_by_listening(builder, step),
        None => builder,
    };
    let server = args.store.attach(builder).start().await;
    let server = server.map_err(|why| why.to_string())?;

    let mount = server.mount(PATH);
    let pusher = Pusher::start(server.clone(), &args)?;
    let watched = server.clone();
    let http = HttpServer::new(move || {
        let watched = watched.clone();
        App::new()
            .app_data(web::Data::new(pusher.clone()))
            .configure(mount.clone())
            .route("/quiet", web::get().to(quiet))
            .route(
                "/state",
                web::get().to(move || {
                    let state = format!("{:#?}", watched.metrics());
                    async { state }
                }),
            )
    });
    let http = http
        .on_connect(matssocket::on_connect)
        .workers(1)
        .bind(("127.0.0.1", args.port))
        .map_err(|why| why.to_string())?;
    let serving = server.run(http);
    end_with_parent();
    actix_web::rt::spawn(tell_names(server));
    println!("ready");
    serving.await.map_err(|why| why.to_string())
}

async fn quiet(pusher: web::Data<Pusher>) -> &'static str {
    pusher.stop().await;
    "quiet"
}

/// Says its name, and each new one: the node has lost its lease and come back then.
async fn tell_names(server: MatsSocketServer) {
    let mut told = String::new();
    loop {
        let name = server.node_name();
        if name != told {
            println!("name {name}");
            told = name;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whoever started this holds the other end of stdin.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
}

fn add_endpoints<C: SimpleConnection + 'static>(
    builder: ServerBuilder,
    args: &Args,
) -> ServerBuilder {
    let (process, die_at) = (args.process, args.die_at);
    let mail = move |to: usize, from: usize, number: u64| Mail {
        to,
        from: from.to_string(),
        number,
        by: process.to_string(),
        at: now(),
    };
    builder
        .transactional(endpoint::EFFECT, move |row: &mut C, ask: Incoming<Ask>| {
            let Ask { client, number, .. } = ask.payload;
            insert(row, "effect", client, "", number, process)?;
            let work = Forward::to(endpoint::WORK_SERVICE, &ask.payload);
            ask.context.start(work.after(at_once_or_soon()))?;
            for _ in 0..2 {
                let booked = Forward::to(endpoint::BOOKS_SERVICE, &ask.payload);
                let booked = booked.key(format!("{client}-{number}"));
                ask.context.start(booked.after(at_once_or_soon()))?;
            }
            match die_at {
                Some(DieAt::Inserted) => std::process::abort(),
                Some(DieAt::BeforeCommit) => fault_injection::die_at(Step::BeforeCommit),
                Some(DieAt::AfterCommit) => fault_injection::die_at(Step::AfterCommit),
                Some(DieAt::Received | DieAt::Answering) | None => {}
            }
            Ok(Outcome::resolve(mail(client, client, number)))
        })
        .transactional_terminator(endpoint::NOTE, move |row: &mut C, ask: Incoming<Ask>| {
            let Ask { client, number, .. } = ask.payload;
            insert(row, "note", client, "", number, process)?;
            Ok(Outcome::done())
        })
        .transactional_terminator(
            endpoint::ANSWER,
            move |row: &mut C, answer: Incoming<Answer>| {
                let Answer {
                    client,
                    asked_by,
                    number,
                } = &answer.payload;
                insert(row, "answer", *client, asked_by, *number, process)?;
                Ok(Outcome::done())
            },
        )
        .endpoint(endpoint::RELAY, move |ask: Incoming<Ask>| async move {
            take_a_while().await;
            let Ask { client, number, to } = &ask.payload;
            let (to, session) = to.as_ref().ok_or_else(nobody)?;
            let relayed = mail(*to, *client, *number);
            ask.context.send(
                session,
                ask.context.trace_id(),
                terminator::RELAYED,
                &relayed,
            )?;
            Ok(Outcome::resolve(mail(*client, *client, *number)))
        })
        .endpoint(endpoint::WORK, async |ask: Incoming<Ask>| {
            let forward = Forward::to(endpoint::WORK_SERVICE, &ask.payload);
            Ok(Outcome::<Mail>::forward(forward))
        })
        .transactional_service(
            endpoint::BOOKS_SERVICE,
            move |row: &mut C, ask: Incoming<Ask>| {
                let Ask { client, number, .. } = ask.payload;
                insert(row, "booked", client, "", number, process)?;
                Ok(Outcome::<()>::done())
            },
        )
        .service(
            endpoint::WORK_SERVICE,
            move |ask: Incoming<Ask>| async move {
                take_a_while().await;
                let done = mail(ask.payload.client, ask.payload.client, ask.payload.number);
                ask.context.send(
                    ask.context.session_id(),
                    ask.context.trace_id(),
                    terminator::NEWS,
                    &done,
                )?;
                Ok(Outcome::resolve(done))
            },
        )
}

fn nobody() -> HandlerError {
    HandlerError::public("a relay without a receiver")
}

/// So that a node that dies, or stops, does so in the midst of something.
async fn take_a_while() {
    let most = if rand::random_ratio(1, 10) { 200 } else { 20 };
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..most))).await;
}

/// When work begins that is started: half of it later, so that it is nobody's when a node dies.
fn at_once_or_soon() -> Duration {
    let delay = Duration::from_millis(rand::random_range(0..500));
    if rand::random_ratio(1, 2) {
        delay
    } else {
        Duration::ZERO
    }
}

/// Everything in the statement is ours: numbers, and names without quotes. So it is the same for both databases.
fn insert(
    connection: &mut impl SimpleConnection,
    kind: &str,
    client: usize,
    origin: &str,
    number: u64,
    worker: Process,
) -> Result<(), HandlerError> {
    connection.batch_execute(&format!(
        "INSERT INTO chaos_effect (kind, client, origin, number, worker)
         VALUES ('{kind}', {client}, '{origin}', {number}, '{worker}')"
    ))?;
    Ok(())
}

/// Dies at what a listener sees.
fn die_by_listening(builder: ServerBuilder, step: DieAt) -> ServerBuilder {
    builder.on_message(move |event| {
        let at = match (event.incoming, event.message_type) {
            (true, MessageType::Request) => DieAt::Received,
            (false, MessageType::Resolve) => DieAt::Answering,
            _ => return,
        };
        if at == step {
            std::process::abort();
        }
    })
}
