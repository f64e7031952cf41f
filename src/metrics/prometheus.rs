//! The text that Prometheus and its kind read, version 0.0.4 of the format.

use std::fmt::Write;

use super::Metrics;
use super::series::{Read, Series, TABLE};
use crate::latency::LatencyMetrics;

/// The content type of the text.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn text(metrics: &Metrics) -> String {
    let mut text = String::with_capacity(16 * 1024);
    for series in TABLE {
        show(series, metrics, &mut text).expect("writing to a string does not fail");
    }
    text
}

fn show(series: &Series, metrics: &Metrics, text: &mut String) -> std::fmt::Result {
    let (name, kind, meaning) = (series.name, series.kind.name(), series.meaning);
    writeln!(text, "# HELP {name} {meaning}")?;
    writeln!(text, "# TYPE {name} {kind}")?;
    let mut shown = Ok(());
    match series.read {
        Read::Figures(read) => read(metrics, &mut |values, value| {
            let labels = series.labels.iter().copied().zip(values.iter().copied());
            let line = show_value(name, "", labels, value, text);
            shown = shown.and(line);
        }),
        Read::Histograms(read) => read(metrics, &mut |value, histogram| {
            let lines = show_histogram(series, value, histogram, text);
            shown = shown.and(lines);
        }),
    }
    shown
}

/// A line for each bucket, with how many took that long or less, and then the sum and the number of all.
fn show_histogram(
    series: &Series,
    value: &str,
    histogram: &LatencyMetrics,
    text: &mut String,
) -> std::fmt::Result {
    let labels = series.labels.iter().copied().zip([value]);
    for (bound, count) in histogram.buckets() {
        let bound = bound.map(|bound| bound.as_secs_f64().to_string());
        let bound = ("le", bound.as_deref().unwrap_or("+Inf"));
        let labels = labels.clone().chain([bound]);
        show_value(series.name, "_bucket", labels, count as f64, text)?;
    }
    let sum = histogram.sum().as_secs_f64();
    show_value(series.name, "_sum", labels.clone(), sum, text)?;
    show_value(
        series.name,
        "_count",
        labels,
        histogram.count() as f64,
        text,
    )
}

fn show_value<'a>(
    name: &str,
    suffix: &str,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    value: f64,
    text: &mut String,
) -> std::fmt::Result {
    text.push_str(name);
    text.push_str(suffix);
    let mut before = '{';
    for (label, value) in labels {
        write!(text, "{before}{label}=\"{}\"", escaped(value))?;
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    writeln!(text, " {value}")
}

/// A label's value, which may be anything that an application calls its endpoints.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::series::Kind;
    use super::*;

    #[test]
    fn names_of_all_kinds_can_be_labels() {
        let labels = [("endpoint", "a\"b\\c\nd"), ("outcome", "failed")];
        let mut text = String::new();
        show_value("name", "_total", labels.into_iter(), 2.5, &mut text).expect("shown");
        assert_eq!(
            text,
            "name_total{endpoint=\"a\\\"b\\\\c\\nd\",outcome=\"failed\"} 2.5\n"
        );
    }

    #[test]
    fn names_follow_the_conventions() {
        let mut names: Vec<_> = TABLE.iter().map(|it| it.name).collect();
        for series in TABLE {
            let is_counter = series.kind == Kind::Counter;
            assert_eq!(
                series.name.ends_with("_total"),
                is_counter,
                "{}",
                series.name
            );
            assert!(!series.meaning.ends_with('.'), "{}", series.name);
            assert!(!series.meaning.contains(['\\', '\n']), "{}", series.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len(), "each name stands for one figure");
    }

    /// The documentation's table is the code's.
    #[test]
    fn the_documentation_lists_every_figure() {
        let rows = TABLE.iter().map(|it| {
            format!(
                "| `{}` | {} | {} | {} |\n",
                it.name,
                it.kind.name(),
                it.labels.join(", "),
                it.meaning
            )
        });
        let table: String = rows.collect();
        let docs = include_str!("../../docs/metrics.md");
        assert!(
            docs.contains(&table),
            "docs/metrics.md must contain this table:\n{table}"
        );
    }
}
