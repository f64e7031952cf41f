//! Durations and sizes, as written by humans.

use std::time::Duration;

/// From small to big, in milliseconds.
const TIMES: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// From small to big, in bytes.
const SIZES: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Reads `500ms`, `5s`, `10min`, `3h` or `2d`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    parse(text, &TIMES)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            "is not a length of time: write a whole number with its unit, such as 500ms, 5s, 10min, 3h or 2d"
                .into()
        })
}

/// Writes a duration in the largest unit that keeps it whole.
pub fn print_time(time: Duration) -> String {
    print(
        time.as_millis().try_into().unwrap_or(u64::MAX),
        &TIMES[1..],
        &TIMES[0],
    )
}

/// Reads `4096B`, `20KiB`, `50MiB` or `1GiB`.
pub fn parse_size(text: &str) -> Result<usize, String> {
    parse(text, &SIZES)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            "is not a size: write a whole number with its unit, such as 4096B, 20KiB, 50MiB or 1GiB"
                .into()
        })
}

/// Writes a size in the largest unit that keeps it whole.
pub fn print_size(bytes: usize) -> String {
    print(bytes as u64, &SIZES[1..], &SIZES[0])
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn print(value: u64, bigger: &[(&str, u64)], smallest: &(&str, u64)) -> String {
    let whole = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor);
    let (unit, factor) = match value {
        // 0s rather than 0ms or 0d.
        0 => bigger.first(),
        _ => bigger.iter().rev().find(whole),
    }
    .unwrap_or(smallest);
    format!("{}{unit}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_written_as_they_are_read() {
        for text in ["1ms", "1500ms", "5s", "90s", "10min", "36h", "2d"] {
            assert_eq!(parse_time(text).map(print_time), Ok(text.into()));
        }
        for text in ["1000B", "20KiB", "50MiB", "1GiB"] {
            assert_eq!(parse_size(text).map(print_size), Ok(text.into()));
        }
        assert_eq!(parse_time("3 h").map(print_time), Ok("3h".into()));
        assert_eq!(parse_time("60min").map(print_time), Ok("1h".into()));
        assert_eq!(print_time(Duration::ZERO), "0s");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5x",
            "-5s",
            "1.5s",
            "5 5s",
            "99999999999999999999s",
            "999999999999999999d",
        ] {
            assert!(parse_time(text).is_err(), "{text:?}");
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }
}
