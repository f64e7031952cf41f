//! What goes on in memory: parsing and printing pipelines, a session's decisions, and the way through a mailbox.
//!
//! ```sh
//! cargo bench --bench decisions
//! ```
//!
//! Each is shown per message; next to parsing, what `serde_json` takes to check the same text without keeping anything.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use matssocket::bench::{Decisions, Hop};
use matssocket::wire::{parse_pipeline, print_pipeline};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Messages in one pipeline.
const MESSAGES: [u64; 2] = [1, 20];
/// Bytes of a payload.
const BYTES: usize = 250;

fn payload() -> String {
    format!("\"{}\"", "x".repeat(BYTES - 2))
}

fn pipeline(messages: u64) -> String {
    let envelope = |cmid| {
        let payload = payload();
        format!(
            r#"{{"t":"REQUEST","cmid":{cmid},"tid":"a-trace-id","eid":"Bench.endpoint","msg":{payload}}}"#
        )
    };
    let envelopes: Vec<_> = (0..messages).map(envelope).collect();
    format!("[{}]", envelopes.join(","))
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for messages in MESSAGES {
        let text = pipeline(messages);
        let envelopes = parse_pipeline(&text).expect("it is a pipeline");
        group.throughput(Throughput::Elements(messages));
        group.bench_with_input(
            BenchmarkId::new("ceiling: check", messages),
            &text,
            |it, text| {
                it.iter(|| serde_json::from_str::<IgnoredAny>(black_box(text)));
            },
        );
        group.bench_with_input(BenchmarkId::new("parse", messages), &text, |it, text| {
            it.iter(|| parse_pipeline(black_box(text)));
        });
        group.bench_with_input(
            BenchmarkId::new("print", messages),
            &envelopes,
            |it, envelopes| {
                it.iter(|| print_pipeline(black_box(envelopes)));
            },
        );
    }
    group.finish();
}

fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let text = payload();
    let raw = RawValue::from_string(text.clone()).expect("a string is JSON");
    for messages in MESSAGES {
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("REQUEST, RESOLVE, ACK2", messages), |it| {
            let mut decisions = Decisions::default();
            it.iter(|| decisions.requests(messages, black_box(&text)));
        });
        group.bench_function(BenchmarkId::new("SEND, ACK, ACK2", messages), |it| {
            let mut decisions = Decisions::default();
            it.iter(|| decisions.pushes(messages as i64, black_box(&raw)));
        });
    }
    group.finish();
}

/// How long so many messages take, some at a time, to an actor that `start` gives.
fn hops(messages: u64, at_a_time: u64, start: impl FnOnce() -> Hop) -> Duration {
    actix::System::new().block_on(async move {
        let hop = start();
        let begun = Instant::now();
        for _ in 0..messages.div_ceil(at_a_time) {
            hop.pass(at_a_time).await;
        }
        begun.elapsed()
    })
}

fn on_another_thread() -> Hop {
    let (sender, hop) = std::sync::mpsc::channel();
    actix::Arbiter::new().spawn_fn(move || {
        let _ = sender.send(Hop::start());
    });
    hop.recv().expect("the thread lives")
}

fn mailbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    for at_a_time in [1, 100] {
        group.bench_function(BenchmarkId::new("same thread", at_a_time), |it| {
            it.iter_custom(|messages| hops(messages, at_a_time, Hop::start));
        });
        group.bench_function(BenchmarkId::new("another thread", at_a_time), |it| {
            it.iter_custom(|messages| hops(messages, at_a_time, on_another_thread));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = wire, session, mailbox
}
criterion_main!(benches);
