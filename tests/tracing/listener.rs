//! Listens to everything in this process, through `tracing` and through `log`.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::PAYLOAD;

pub type Fields = BTreeMap<&'static str, String>;

#[derive(Clone, Debug)]
pub struct Span {
    /// In the order in which they were opened.
    pub number: usize,
    pub parent: Option<usize>,
    pub name: &'static str,
    pub target: &'static str,
    pub level: Level,
    pub fields: Fields,
    pub closed: bool,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub level: Level,
    pub target: String,
    pub message: String,
    pub fields: Fields,
    /// The innermost span.
    span: Option<usize>,
}

impl Event {
    /// The spans that it is in, the innermost first.
    pub fn scope<'a>(&self, seen: &'a Seen) -> impl Iterator<Item = &'a Span> {
        let innermost = self.span.map(|number| &seen.spans[&number]);
        std::iter::successors(innermost, |span| Some(&seen.spans[&span.parent?]))
    }

    /// Whether it is in a span of this trace id.
    pub fn inside(&self, seen: &Seen, tid: &str) -> bool {
        self.scope(seen)
            .any(|span| span.fields.get("trace_id").is_some_and(|it| it == tid))
    }
}

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub spans: BTreeMap<usize, Span>,
    pub events: Vec<Event>,
}

impl Seen {
    pub fn event(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let found = self.events.iter().find(|it| wanted(it));
        found
            .cloned()
            .unwrap_or_else(|| panic!("no such event: {self:#?}"))
    }
}

pub struct Listener {
    seen: Mutex<Seen>,
    changed: watch::Sender<()>,
}

impl Listener {
    /// The same for all tests: threads of servers outlive them.
    pub fn listen() -> &'static Listener {
        static LISTENER: OnceLock<Listener> = OnceLock::new();
        let mut is_new = false;
        let listener = LISTENER.get_or_init(|| {
            is_new = true;
            Listener {
                seen: Mutex::default(),
                changed: watch::Sender::new(()),
            }
        });
        if is_new {
            let subscriber = tracing_subscriber::registry().with(Keeps(listener));
            tracing::subscriber::set_global_default(subscriber).expect("the first");
            log::set_logger(&Logged).expect("the first");
            log::set_max_level(log::LevelFilter::Trace);
        }
        while !tracing::dispatcher::has_been_set() {
            std::thread::yield_now();
        }
        listener
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.lock());
        self.changed.send_replace(());
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Waits until something is seen.
    pub async fn until<T>(&self, look: impl Fn(&Seen) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            let found = look(&self.lock());
            if let Some(found) = found {
                return found;
            }
            changed.changed().await.expect("it lives for ever");
        }
    }

    /// Neither payloads nor authorization values are anywhere.
    pub fn shows_nothing_secret(&self) {
        let ours = format!("{:?}", self.seen());
        // Both are in what the tests send, in every message and every HELLO.
        for secret in [PAYLOAD, ":valid"] {
            assert!(!ours.contains(secret), "{secret:?} is shown");
        }
    }
}

struct Keeps(&'static Listener);

/// The number of a span, kept with it.
struct Number(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeps {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let Some(span) = context.span(id) else { return };
        let parent = span
            .parent()
            .and_then(|it| it.extensions().get::<Number>().map(|it| it.0));
        span.extensions_mut().insert(Number(number));
        let mut fields = Read::default();
        attributes.record(&mut fields);
        let metadata = attributes.metadata();
        let span = Span {
            number,
            parent,
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields: fields.0,
            closed: false,
        };
        self.0.change(|seen| drop(seen.spans.insert(number, span)));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Read::default();
        values.record(&mut fields);
        self.of(id, &context, |span| span.fields.extend(fields.0));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.of(&id, &context, |span| span.closed = true);
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut fields = Read::default();
        event.record(&mut fields);
        let span = context.event_span(event);
        let span = span.and_then(|it| it.extensions().get::<Number>().map(|it| it.0));
        let event = Event {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: fields.0.remove("message").unwrap_or_default(),
            fields: fields.0,
            span,
        };
        self.0.change(|seen| seen.events.push(event));
    }
}

impl Keeps {
    fn of<S: Subscriber + for<'a> LookupSpan<'a>>(
        &self,
        id: &Id,
        context: &Context<'_, S>,
        change: impl FnOnce(&mut Span),
    ) {
        let number = context
            .span(id)
            .and_then(|it| it.extensions().get::<Number>().map(|it| it.0));
        self.0.change(|seen| {
            if let Some(span) = number.and_then(|number| seen.spans.get_mut(&number)) {
                change(span);
            }
        });
    }
}

#[derive(Default)]
struct Read(Fields);

impl Visit for Read {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// What matssocket has written to `log`.
static LOGGED: AtomicUsize = AtomicUsize::new(0);

pub fn logged() -> usize {
    LOGGED.load(Ordering::Relaxed)
}

struct Logged;

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let target = record.target();
        // The client is a library of its own.
        if target.starts_with("matssocket") && !target.starts_with("matssocket_client") {
            LOGGED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}
