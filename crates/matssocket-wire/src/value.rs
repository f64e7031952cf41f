//! Interprets single values of an envelope.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};

use super::{MAX_ID_BYTES, PingId};

/// The value of a JSON string; `None` if it is not one.
pub(super) fn string(json: &str) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    // A raw value is valid JSON, so without an escape its text is the string.
    if inner.contains('\\') {
        serde_json::from_str(json).ok()
    } else {
        Some(inner.to_owned())
    }
}

/// The value of a JSON string, with U+FFFD in place of each half of a surrogate pair.
pub(super) fn repaired(json: &str) -> Option<String> {
    struct Lossy;
    impl Visitor<'_> for Lossy {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    if !json.starts_with('"') {
        return None;
    }
    // Read as bytes, half a pair becomes the three bytes that it would be in UTF-8.
    let mut bytes = serde_json::Deserializer::from_str(json)
        .deserialize_bytes(Lossy)
        .ok()?;
    for at in 0..bytes.len() {
        if bytes[at] == 0xed && matches!(bytes.get(at + 1), Some(0xa0..)) {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).ok()
}

/// An id: a string, or an integral number in any spelling, converted to the text of the integer.
pub(super) fn id(json: &str) -> Option<String> {
    if is_integer(json) {
        Some(json.to_owned())
    } else if json.starts_with('"') {
        string(json)
    } else {
        integral(json)
    }
}

/// The integer value of a JSON number (`1e3`, `20.0`), if it is integral and no longer than an id may be.
fn integral(json: &str) -> Option<String> {
    let (sign, number) = match json.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", json),
    };
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let zeros = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let integer = match usize::try_from(zeros) {
        Ok(zeros) if digits.len().saturating_add(zeros) < MAX_ID_BYTES => {
            digits.to_owned() + &"0".repeat(zeros)
        }
        Ok(_) => return None,
        Err(_) => {
            let cut = usize::try_from(-zeros).ok()?;
            let (integer, rest) = digits.split_at(digits.len().checked_sub(cut)?);
            if integer.is_empty() || rest.bytes().any(|digit| digit != b'0') {
                return None;
            }
            integer.to_owned()
        }
    };
    Some(format!("{sign}{integer}"))
}

/// Whether a JSON value is an integer of any size.
fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A string or a 64-bit integer; anything else that is short enough is kept as received, for the PONG.
pub(super) fn ping_id(json: &str) -> Option<PingId> {
    if is_integer(json)
        && let Ok(number) = json.parse()
    {
        return Some(PingId::Number(number));
    }
    match string(json) {
        Some(text) => Some(PingId::Text(text)),
        None => (json.len() <= MAX_ID_BYTES).then(|| PingId::Other(json.into())),
    }
}

/// Milliseconds, as a number or a string containing one; a fraction is cut off. Anything else counts as absent.
pub(super) fn timeout(json: &str) -> Option<u64> {
    let number = json.trim_matches('"');
    if let Ok(ms) = number.parse() {
        return Some(ms);
    }
    let ms = number.parse::<f64>().ok()?;
    (ms >= 0.0).then_some(ms as u64)
}
