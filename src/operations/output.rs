//! What a command prints: tables for people, JSON for machines.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Prints to stdout. Nobody may be listening: that is no reason to stop.
pub fn print(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints one JSON document.
pub fn print_json(document: &impl Serialize) {
    // Only maps with odd keys cannot be written, of which there are none.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    print(&(text + "\n"));
}

/// Columns with titles. Those given as `>title` are aligned to the right.
pub struct Table<const N: usize> {
    titles: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(titles: [&'static str; N]) -> Table<N> {
        Table {
            titles,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: [String; N]) {
        // What clients say of themselves must not steer the terminal.
        let tame = |cell: String| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.map(tame));
    }

    pub fn print(self) {
        let titles = self
            .titles
            .map(|title| title.trim_start_matches('>').to_owned());
        let right = self.titles.map(|title| title.starts_with('>'));
        let mut widths = [0; N];
        for row in self.rows.iter().chain([&titles]) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(widths).zip(right) {
                line += &match right {
                    true => format!("{cell:>width$}  "),
                    false => format!("{cell:width$}  "),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        print(&text);
    }
}

/// `1 session`, `2 sessions`.
pub fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// A text that may be long, cut so that a line stays readable.
pub fn shortened(text: String) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some(_) => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// Milliseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(i64::MAX))
}

/// How long a time is ago, or ahead: `4 min ago`, `in 12 s`.
pub fn relative(now: i64, then: i64) -> String {
    let seconds = now.saturating_sub(then) / 1_000;
    let length = match seconds.unsigned_abs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    };
    match now < then {
        true => format!("in {length}"),
        false => format!("{length} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::{relative, shortened};

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("ä".repeat(40)), "ä".repeat(40));
        assert_eq!(shortened("ä".repeat(41)), "ä".repeat(39) + "…");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        const HOUR: i64 = 3_600_000;
        for (ago, text) in [
            (0, "0 s ago"),
            (119_999, "119 s ago"),
            (120_000, "2 min ago"),
            (2 * HOUR, "2 h ago"),
            (49 * HOUR, "2 d ago"),
            (-12_000, "in 12 s"),
            (-HOUR, "in 60 min"),
        ] {
            assert_eq!(relative(1_700_000_000_000, 1_700_000_000_000 - ago), text);
        }
    }
}
