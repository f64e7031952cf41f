//! Maps values to positions in the plot.

use std::fmt::Write;

use super::super::window::{Window, short};
use super::{LEFT, RIGHT};

/// Round steps, each about twice as large as the one before.
fn step(at_least: f64) -> f64 {
    let power = 10_f64.powf(at_least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= at_least * 0.999)
        .unwrap_or(10.0 * power)
}

/// The time since the beginning.
pub struct Time {
    end: f64,
}

impl Time {
    pub fn of(windows: &[Window]) -> Time {
        let end = windows.last().map_or(1.0, |window| window.at);
        Time { end }
    }

    pub fn x(&self, at: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * at / self.end
    }

    pub fn end(&self) -> f64 {
        self.end
    }

    pub fn draw(&self, svg: &mut String, y: f64) {
        let (unit, seconds) = match self.end > 300.0 {
            true => ("min", 60.0),
            false => ("s", 1.0),
        };
        let step = step(self.end / seconds / 8.0);
        let mut at = 0.0;
        while at * seconds <= self.end * 1.001 {
            let (x, y) = (self.x(at * seconds), y + 18.0);
            let _ = writeln!(
                svg,
                "<text class=\"faint middle\" x=\"{x:.1}\" y=\"{y:.1}\">{at}</text>"
            );
            at += step;
        }
        let (x, y) = (RIGHT + 24.0, y + 18.0);
        let _ = writeln!(
            svg,
            "<text class=\"faint\" x=\"{x}\" y=\"{y:.1}\">{unit}</text>"
        );
    }
}

/// From the lowest to the highest value of a panel.
pub struct Values {
    low: f64,
    high: f64,
    is_logarithmic: bool,
}

impl Values {
    /// From 0 on.
    pub fn linear(values: impl Iterator<Item = f64>) -> Values {
        let most = values.fold(0.0, f64::max).max(1.0);
        let step = step(most / 4.0);
        Values {
            low: 0.0,
            high: (most / step).ceil() * step,
            is_logarithmic: false,
        }
    }

    /// From one power of ten to another.
    pub fn logarithmic(values: impl Iterator<Item = f64>) -> Values {
        let (mut low, mut high) = (f64::INFINITY, 0.01);
        for value in values.filter(|value| *value > 0.0) {
            (low, high) = (low.min(value), f64::max(high, value));
        }
        let low = low.clamp(0.001, 1e6).log10().floor();
        Values {
            low,
            high: high.log10().ceil().max(low + 1.0),
            is_logarithmic: true,
        }
    }

    /// The vertical position of a value: 0 at the bottom, 1 at the top.
    pub fn part(&self, value: f64) -> f64 {
        let value = match self.is_logarithmic {
            true => value.max(1e-9).log10(),
            false => value,
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The values with a grid line, and their labels.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let step = match self.is_logarithmic {
            true => 1.0,
            false => step((self.high - self.low) / 4.0),
        };
        let ticks = ((self.high - self.low) / step).round() as usize;
        let value = |tick| self.low + step * tick as f64;
        let named = |value: f64| match self.is_logarithmic {
            true => (10_f64.powf(value), format!("{}", 10_f64.powf(value))),
            false => (value, short(value).replace(".00M", "M").replace(".0k", "k")),
        };
        (0..=ticks).map(value).map(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_grid_are_at_round_values() {
        let values = Values::linear([63_000.0, 17_000.0].into_iter());
        let names: Vec<_> = values.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(values.part(40_000.0), 0.5);
        let ticks = Values::linear([4_900_000.0].into_iter()).ticks();
        assert_eq!(ticks.last().map(|(_, name)| name.as_str()), Some("6M"));
    }

    #[test]
    fn times_go_by_powers_of_ten() {
        let values = Values::logarithmic([3.0, 0.4, 120.0].into_iter());
        let names: Vec<_> = values.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0.1", "1", "10", "100", "1000"]);
        assert_eq!(values.part(10.0), 0.5);
        assert_eq!(values.part(0.0), 0.0);
    }
}
