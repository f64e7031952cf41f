//! Lines over time, with their names beside them.

use std::fmt::Write;

use super::axis::{Time, Values};
use super::{LEFT, PANEL, RIGHT};

/// The distance between the names of lines.
const LINE: f64 = 17.0;

/// A line: one value for each window, if there is one.
pub struct Series {
    pub name: String,
    pub colour: usize,
    pub thin: bool,
    pub values: Vec<Option<f64>>,
}

pub struct Panel {
    title: &'static str,
    series: Vec<Series>,
    axis: Values,
}

impl Panel {
    pub fn linear(title: &'static str, series: Vec<Series>) -> Panel {
        let axis = Values::linear(values(&series));
        Panel {
            title,
            series,
            axis,
        }
    }

    pub fn logarithmic(title: &'static str, series: Vec<Series>) -> Panel {
        let axis = Values::logarithmic(values(&series));
        Panel {
            title,
            series,
            axis,
        }
    }

    pub fn draw(&self, svg: &mut String, time: &Time, top: f64) {
        let title = top - 8.0;
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{title}\">{}</text>",
            self.title
        );
        self.grid(svg, top);
        for (place, series) in self.series.iter().enumerate() {
            self.line(svg, time, series, top);
            let y = top + 12.0 + LINE * place as f64;
            name(svg, series, y);
        }
    }

    fn grid(&self, svg: &mut String, top: f64) {
        for (value, name) in self.axis.ticks() {
            let y = self.y(value, top);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\
                <text class=\"faint end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
    }

    fn y(&self, value: f64, top: f64) -> f64 {
        top + PANEL * (1.0 - self.axis.part(value))
    }

    /// Draws a line, interrupted where there is no value. Each value spans its window.
    fn line(&self, svg: &mut String, time: &Time, series: &Series, top: f64) {
        let end = time.end();
        let width = end / series.values.len().max(1) as f64;
        for (first, values) in runs(&series.values) {
            let points = values.iter().enumerate().map(|(place, value)| {
                let from = width * (first + place) as f64;
                let (left, right, y) = (time.x(from), time.x(from + width), self.y(*value, top));
                format!("{left:.1},{y:.1} {right:.1},{y:.1}")
            });
            let points = points.collect::<Vec<_>>().join(" ");
            let (colour, thin) = (series.colour, if series.thin { " thin" } else { "" });
            let _ = writeln!(
                svg,
                "<polyline class=\"s{colour}{thin}\" points=\"{points}\"/>"
            );
        }
    }
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> + '_ {
    series
        .iter()
        .flat_map(|series| series.values.iter().flatten().copied())
}

/// Runs of values without a gap, and the position of the first in each.
fn runs(values: &[Option<f64>]) -> Vec<(usize, Vec<f64>)> {
    let mut runs: Vec<(usize, Vec<f64>)> = Vec::new();
    for (place, value) in values.iter().enumerate() {
        match (value, runs.last_mut()) {
            (None, _) => {}
            (Some(value), Some((first, run))) if *first + run.len() == place => run.push(*value),
            (Some(value), _) => runs.push((place, vec![*value])),
        }
    }
    runs
}

fn name(svg: &mut String, series: &Series, y: f64) {
    let (from, to) = (RIGHT + 10.0, RIGHT + 28.0);
    let (colour, thin) = (series.colour, if series.thin { " thin" } else { "" });
    let _ = writeln!(
        svg,
        "<polyline class=\"s{colour}{thin}\" points=\"{from},{line} {to},{line}\"/>\
        <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
        to + 6.0,
        series.name,
        line = y - 4.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_there_is_no_value() {
        let values = [Some(1.0), Some(2.0), None, Some(3.0)];
        assert_eq!(runs(&values), [(0, vec![1.0, 2.0]), (3, vec![3.0])]);
    }
}
