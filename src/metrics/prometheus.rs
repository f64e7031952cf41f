//! The text that Prometheus and its kind read, version 0.0.4 of the format.

use std::fmt::Write;

use super::Metrics;
use super::series::{Series, TABLE};

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
    (series.read)(metrics, &mut |values, value| {
        let line = show_value(series, values, value, text);
        shown = shown.and(line);
    });
    shown
}

fn show_value(series: &Series, values: &[&str], value: f64, text: &mut String) -> std::fmt::Result {
    text.push_str(series.name);
    let labels = series.labels.iter().zip(values);
    for (number, (label, value)) in labels.enumerate() {
        let before = if number == 0 { '{' } else { ',' };
        write!(text, "{before}{label}=\"{}\"", escaped(value))?;
    }
    if !values.is_empty() {
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
        let series = TABLE
            .iter()
            .find(|it| it.labels == ["endpoint", "outcome"])
            .expect("there is one");
        let mut text = String::new();
        show_value(series, &["a\"b\\c\nd", "failed"], 2.5, &mut text).expect("shown");
        assert_eq!(
            text,
            "matssocket_endpoint_calls_total{endpoint=\"a\\\"b\\\\c\\nd\",outcome=\"failed\"} 2.5\n"
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
