//! Command output: tables for humans, JSON for machines.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::SystemTime;

use matssocket::wire::{shown, steers};
use serde::Serialize;
use serde_json::Value;

/// Prints to stdout. A closed pipe is no reason to stop.
pub fn print(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints one JSON document.
pub fn print_json(document: &impl Serialize) {
    // Only maps with non-string keys cannot be written, and there are none.
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    print(&(tame_json(&text) + "\n"));
}

/// Makes a JSON document safe for a terminal: characters that could control it are escaped, which does not change the
/// values. The characters of JSON's own layout never occur inside a text.
pub fn tame_json(document: &str) -> String {
    let mut tame = String::with_capacity(document.len());
    for char in document.chars() {
        if !steers(char) || matches!(char, '\n' | '\r' | '\t') {
            tame.push(char);
            continue;
        }
        // Beyond U+FFFF, JSON requires a pair of surrogates.
        for unit in char.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(tame, "\\u{unit:04x}");
        }
    }
    tame
}

/// A text as a TOML string that is safe for a terminal.
pub fn toml_text(text: String) -> String {
    let mut tame = String::with_capacity(text.len());
    // TOML escapes like JSON, except that it has no surrogates.
    for char in Value::from(text).to_string().chars() {
        let _ = match steers(char) {
            true => write!(tame, "\\U{:08X}", u32::from(char)),
            false => write!(tame, "{char}"),
        };
    }
    tame
}

/// Makes a line of text with foreign parts, such as an error, safe for a terminal. Like [`shown`], except that nothing
/// is cut off: the remedy comes last.
pub fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for char in text.chars() {
        match steers(char) {
            true => tame.extend(char.escape_default()),
            false => tame.push(char),
        }
    }
    tame
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
        // Values sent by clients must not control the terminal.
        self.rows.push(cells.map(|cell| shown(&cell).into_owned()));
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

/// Cuts a text that may be long, so that a line stays readable.
pub fn shortened(text: String) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some(_) => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// A time relative to now: `4 min ago`, `in 12 s`.
pub fn relative(now: SystemTime, then: SystemTime) -> String {
    let (apart, is_ahead) = match now.duration_since(then) {
        Ok(ago) => (ago, false),
        Err(ahead) => (ahead.duration(), true),
    };
    let length = match apart.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    };
    match is_ahead {
        true => format!("in {length}"),
        false => format!("{length} ago"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::{Value, json};

    use super::{relative, shortened, tame, tame_json, toml_text};

    /// Everything that may hide in values sent by a client.
    const EVIL: &str = "a\u{1b}[2J\n\u{7f}\u{9b}1m\u{202e}\u{200b}\u{e0041}🙂é\"";

    #[test]
    fn json_is_tame_and_means_the_same() {
        let document = json!({ EVIL: [EVIL] });
        for text in [
            document.to_string(),
            serde_json::to_string_pretty(&document).expect("JSON"),
        ] {
            let tame = tame_json(&text);
            let read: Value = serde_json::from_str(&tame).expect("JSON");
            assert_eq!(read, document);
            assert!(
                tame.contains("\\udb40\\udc41") && tame.contains("🙂é"),
                "{tame}"
            );
            let left = tame.replace('\n', "");
            assert!(!left.contains(matssocket::wire::steers), "{tame:?}");
        }
    }

    #[test]
    fn toml_is_tame_and_means_the_same() {
        let text = format!("key = {}", toml_text(EVIL.to_owned()));
        assert!(!text.contains(matssocket::wire::steers), "{text:?}");
        let table = toml::de::DeTable::parse(&text).expect("TOML");
        assert_eq!(table.get_ref()["key"].get_ref().as_str(), Some(EVIL));
    }

    #[test]
    fn an_error_is_one_tame_line_and_whole() {
        let long = format!("{EVIL}{}, do this", "x".repeat(1_000));
        let tame = tame(&long);
        assert!(tame.starts_with(r"a\u{1b}[2J\n\u{7f}"), "{tame}");
        assert!(tame.ends_with("x, do this"), "{tame}");
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("ä".repeat(40)), "ä".repeat(40));
        assert_eq!(shortened("ä".repeat(41)), "ä".repeat(39) + "…");
    }

    #[test]
    fn times_are_told_in_one_unit() {
        const HOUR: u64 = 3_600_000;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (ago, text) in [
            (0, "0 s ago"),
            (119_999, "119 s ago"),
            (120_000, "2 min ago"),
            (2 * HOUR, "2 h ago"),
            (49 * HOUR, "2 d ago"),
        ] {
            assert_eq!(relative(now, now - Duration::from_millis(ago)), text);
        }
        for (ahead, text) in [(12_000, "in 12 s"), (HOUR, "in 60 min")] {
            assert_eq!(relative(now, now + Duration::from_millis(ahead)), text);
        }
    }
}
