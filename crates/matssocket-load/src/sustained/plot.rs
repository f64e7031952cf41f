//! The windows as a plot. A few lines and bands need no plotting crate, and such crates draw for light pages only: this
//! plot follows the viewer's colour scheme, by its style sheet.

mod axis;
mod panel;

use std::fmt::Write;

use super::inside::Inside;
use super::window::Window;
use crate::mix::Mix;
use panel::{Panel, Series};

const WIDTH: f64 = 960.0;
/// Where the lines are drawn, from left to right.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 800.0;
/// The height of the title and of what was run.
const HEAD: f64 = 62.0;
/// The height of a panel, with the space to the next.
const PANEL: f64 = 130.0;
const GAP: f64 = 44.0;
/// The height of a strip that shows when something was running.
const STRIP: f64 = 18.0;

const STYLE: &str = "\
:root { --back: #ffffff; --text: #1f2328; --faint: #59636e; --grid: #d8dee4; --band: #fbf0d5;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --back: #0d1117; --text: #e6edf3; --faint: #9198a1; --grid: #30363d; --band: #33290f;
    --c0: #58a6ff; --c1: #f0883e; --c2: #3fb950; --c3: #bc8cff; } }
svg { background: var(--back); }
text { font: 12px system-ui, sans-serif; fill: var(--text); }
.title { font-size: 16px; font-weight: 600; }
.faint { fill: var(--faint); }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: var(--grid); }
.band { fill: var(--band); }
polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.thin { stroke-width: 1.2; stroke-dasharray: 3 3; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
";

/// An SVG of all windows.
pub fn draw(what: &str, mix: &Mix, windows: &[Window]) -> String {
    let panels = panels(mix, windows);
    let strips = strips(windows);
    let bottom = HEAD + panels.len() as f64 * (PANEL + GAP) + strips.len() as f64 * STRIP;
    let height = bottom + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<style>\n{STYLE}</style>\n\
        <title>matssocket-load sustained</title>\n\
        <rect width=\"{WIDTH}\" height=\"{height}\" style=\"fill: var(--back)\"/>\n\
        <text class=\"title\" x=\"{LEFT}\" y=\"24\">matssocket-load sustained</text>\n\
        <text class=\"faint\" x=\"{LEFT}\" y=\"42\">{what}</text>\n",
        what = escaped(what)
    );
    let time = axis::Time::of(windows);
    for (from, to) in spans(windows, |inside| inside.held.is_some()) {
        band(&mut svg, &time, from, to, bottom);
    }
    let mut top = HEAD;
    for panel in &panels {
        panel.draw(&mut svg, &time, top + 20.0);
        top += PANEL + GAP;
    }
    for (name, spans) in &strips {
        strip(&mut svg, &time, name, spans, top);
        top += STRIP;
    }
    time.draw(&mut svg, bottom);
    svg + "</svg>\n"
}

fn panels(mix: &Mix, windows: &[Window]) -> Vec<Panel> {
    let of_kinds = |name: &str, thin, of: fn(&super::window::Done) -> f64| {
        let series = mix.kinds().map(move |kind| Series {
            name: format!("{}{name}", kind.name()),
            colour: kind as usize,
            thin,
            values: windows
                .iter()
                .map(|window| window.of(kind).map(of))
                .collect(),
        });
        series.collect::<Vec<_>>()
    };
    let mut times = of_kinds(", p99", false, |done| done.p99);
    times.extend(of_kinds(", p50", true, |done| done.p50));
    let mut panels = vec![
        Panel::linear(
            "messages per second",
            of_kinds("", false, |done| done.per_second),
        ),
        Panel::logarithmic("ms until one is done", times),
    ];
    let Some(first) = windows.iter().find_map(|window| window.inside.as_ref()) else {
        return panels;
    };
    let inside = |name: &str, colour, of: &dyn Fn(&Inside) -> f64| Series {
        name: name.to_owned(),
        colour,
        thin: false,
        values: windows.iter().map(|window| told(window).map(of)).collect(),
    };
    let dead = first.tables.iter().enumerate().map(|(place, table)| {
        let of = |inside: &Inside| inside.tables.get(place).map_or(0.0, |it| it.dead as f64);
        inside(&table.name, place, &of)
    });
    panels.push(Panel::linear("dead rows", dead.collect()));
    let disk = |inside: &Inside| inside.disk as f64 / 1e6;
    let disk = vec![inside("all tables", 0, &disk)];
    panels.push(Panel::linear("MB on disk, with indexes", disk));
    let wal = vec![inside("WAL", 1, &Inside::wal_bytes_each)];
    panels.push(Panel::linear("bytes of WAL per message", wal));
    panels
}

/// What was observed in the database, if it answered.
fn told(window: &Window) -> Option<&Inside> {
    let inside = window.inside.as_ref();
    inside.filter(|inside| inside.silence.is_none())
}

/// From when to when.
type Spans = Vec<(f64, f64)>;

/// When vacuums and checkpoints were running.
fn strips(windows: &[Window]) -> Vec<(String, Spans)> {
    let vacuums = |inside: &Inside| {
        let tables = inside.vacuums.iter().map(|vacuum| vacuum.table.clone());
        tables.collect::<Vec<_>>()
    };
    let mut tables: Vec<String> = windows.iter().filter_map(told).flat_map(vacuums).collect();
    tables.sort();
    tables.dedup();
    let mut strips: Vec<_> = tables
        .into_iter()
        .map(|table| {
            let spans = spans(windows, |inside| vacuums(inside).contains(&table));
            (format!("vacuum of {table}"), spans)
        })
        .collect();
    let checkpoints = spans(windows, Inside::has_checkpoint);
    if !checkpoints.is_empty() {
        strips.push(("checkpoint".to_owned(), checkpoints));
    }
    strips
}

/// The windows for which this holds, with adjacent ones merged.
fn spans(windows: &[Window], is_so: impl Fn(&Inside) -> bool) -> Spans {
    let mut spans: Spans = Vec::new();
    let mut from = 0.0;
    for window in windows {
        if told(window).is_some_and(&is_so) {
            match spans.last_mut() {
                Some(last) if last.1 == from => last.1 = window.at,
                _ => spans.push((from, window.at)),
            }
        }
        from = window.at;
    }
    spans
}

/// Behind all panels: the time in which a transaction was held open.
fn band(svg: &mut String, time: &axis::Time, from: f64, to: f64, bottom: f64) {
    let (left, right) = (time.x(from), time.x(to));
    let _ = writeln!(
        svg,
        "<rect class=\"band\" x=\"{left:.1}\" y=\"{HEAD}\" width=\"{:.1}\" height=\"{:.1}\"/>\n\
        <text class=\"middle\" x=\"{:.1}\" y=\"{:.1}\">xmin held</text>",
        right - left,
        bottom - HEAD,
        (left + right) / 2.0,
        HEAD - 4.0
    );
}

fn strip(svg: &mut String, time: &axis::Time, name: &str, spans: &Spans, top: f64) {
    for (from, to) in spans {
        let (left, right) = (time.x(*from), time.x(*to));
        let _ = writeln!(
            svg,
            "<rect class=\"f3\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"6\"/>",
            top + 4.0,
            right - left
        );
    }
    let (x, y) = (RIGHT + 10.0, top + 11.0);
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\">{}</text>", escaped(name));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::inside::tests::busy;
    use super::super::window::tests::window;
    use super::*;

    #[test]
    fn a_picture_has_the_rates_and_what_went_on_in_the_database() {
        let windows: Vec<_> = [10.0, 20.0, 30.0]
            .map(|at| {
                let mut window = window(at, 1000.0 + at, 5.0);
                window.inside = (at > 10.0).then(busy);
                window
            })
            .into();
        let svg = draw(
            "<2 sessions>",
            &Mix::parse("requests").expect("a mix"),
            &windows,
        );
        for told in [
            "&lt;2 sessions>",
            "messages per second",
            "requests, p99",
            "dead rows",
            ">inbox<",
            "MB on disk",
            "xmin held",
            "vacuum of inbox",
            ">checkpoint<",
        ] {
            assert!(svg.contains(told), "{told:?} is not in:\n{svg}");
        }
        assert!(!svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn windows_side_by_side_are_one_span() {
        let windows: Vec<_> = [(10.0, true), (20.0, true), (30.0, false), (40.0, true)]
            .map(|(at, is_busy)| {
                let mut window = window(at, 1.0, 1.0);
                window.inside = is_busy.then(busy);
                window
            })
            .into();
        let held = spans(&windows, |inside| inside.held.is_some());
        assert_eq!(held, [(0.0, 20.0), (30.0, 40.0)]);
    }

    #[test]
    fn a_picture_of_nothing_is_one() {
        let svg = draw("nothing", &Mix::default(), &[]);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }
}
