//! Makes foreign text safe to show to humans.

use std::borrow::Cow;

/// Most characters of a foreign text that are shown.
pub const MAX_SHOWN_CHARS: usize = 300;

/// A foreign text in a form that is safe in a log line, a description, a close reason or a terminal.
///
/// Characters that could control a terminal, forge a log line, or make a text look like another one are escaped:
/// control characters (C0, C1), bidirectional marks, zero-width characters, and line separators. A text longer than
/// [`MAX_SHOWN_CHARS`] is cut, and ends with an ellipsis.
///
/// ```
/// use matssocket_wire::shown;
/// assert_eq!(shown("order 17"), "order 17");
/// assert_eq!(shown("\u{1b}[2J"), r"\u{1b}[2J");
/// assert_eq!(shown(&"x".repeat(301)), "x".repeat(300) + "…");
/// ```
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_SHOWN_CHARS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(4 * MAX_SHOWN_CHARS));
    let mut room = MAX_SHOWN_CHARS;
    for char in text.chars() {
        let bytes = out.len();
        let chars = if steers(char) {
            out.extend(char.escape_default());
            // An escape is ASCII.
            out.len() - bytes
        } else {
            out.push(char);
            1
        };
        if chars > room {
            out.truncate(bytes);
            out.push('…');
            break;
        }
        room -= chars;
    }
    Cow::Owned(out)
}

/// The same in quotation marks, for names from outside.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// Whether a character does something other than display itself.
pub fn steers(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Soft hyphen, Arabic letter mark, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            // Zero-width characters and direction marks; line and paragraph separators, embeddings and overrides;
            // invisible operators, isolates and deprecated format characters.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_escaped() {
        for (text, expected) in [
            ("plain", "plain"),
            ("grüße 日本 🙂", "grüße 日本 🙂"),
            ("a\nb\tc\0", r"a\nb\tc\u{0}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\u{202e}b", r"a\u{202e}b"),
            (
                "a\u{200b}b\u{2028}c\u{feff}",
                r"a\u{200b}b\u{2028}c\u{feff}",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_long_is_cut_on_a_whole_character_or_escape() {
        assert_eq!(shown(&"ä".repeat(300)), "ä".repeat(300));
        assert_eq!(shown(&"ä".repeat(301)), "ä".repeat(300) + "…");
        let escapes = shown(&"\u{1b}".repeat(1_000)).into_owned();
        assert_eq!(escapes, r"\u{1b}".repeat(50) + "…");
        let mixed = shown(&("x".repeat(298) + "\n\n")).into_owned();
        assert_eq!(mixed, "x".repeat(298) + r"\n…");
    }
}
