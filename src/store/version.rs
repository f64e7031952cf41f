//! App versions: dotted numbers compared as numbers.

use std::cmp::Ordering;

/// Whether `version` is `floor` or higher. Parts are compared one by one; a missing part counts as 0. Within a part the
/// leading number decides, then the text that follows it.
pub fn at_or_above(version: &str, floor: &str) -> bool {
    compare(version, floor) != Ordering::Less
}

fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (left, right) = (a.next(), b.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        match part(left.unwrap_or_default()).cmp(&part(right.unwrap_or_default())) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
}

fn part(text: &str) -> (u64, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    // Parsing fails only if there are too many digits.
    let number = if number.is_empty() {
        0
    } else {
        number.parse().unwrap_or(u64::MAX)
    };
    (number, rest)
}

#[cfg(test)]
mod tests {
    use super::at_or_above;

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(at_or_above("2.10", "2.9"));
        assert!(!at_or_above("2.9", "2.10"));
        assert!(at_or_above("2", "2.0.0"));
        assert!(at_or_above("2.0.0", "2"));
        assert!(!at_or_above("1.99999999999999999999999", "2"));
        assert!(at_or_above("1.2b", "1.2a"));
        assert!(!at_or_above("", "1"));
    }
}
