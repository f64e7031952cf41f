//! Ids.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Longest id (endpoint, trace id, message id …) in bytes.
pub const MAX_ID_BYTES: usize = 255;

/// Checks an id: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
///
/// # Errors
/// What is wrong, as text for people, naming `what`.
pub fn check_id(what: &str, id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if id.len() > MAX_ID_BYTES {
        return Err(format!(
            "{what} has {} bytes, at most {MAX_ID_BYTES} are allowed",
            id.len()
        ));
    }
    if id.chars().any(char::is_control) {
        return Err(format!(
            "{what} has a control character: \"{}\"",
            super::shown(id)
        ));
    }
    Ok(())
}

/// The beginning of a text: at most `most` bytes, cut at a character boundary.
pub fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// `length` characters of A–Z a–z 0–9 out of the given random source.
pub fn random_id(length: usize, rng: &mut impl rand::Rng) -> String {
    rng.sample_iter(Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert_eq!(check_id("eid", "Test.single"), Ok(()));
        assert_eq!(check_id("eid", &"x".repeat(255)), Ok(()));
        assert_eq!(check_id("eid", ""), Err("eid is empty".into()));
        assert_eq!(
            check_id("tid", &"x".repeat(256)),
            Err("tid has 256 bytes, at most 255 are allowed".into())
        );
        assert_eq!(
            check_id("tid", "a\0b"),
            Err(r#"tid has a control character: "a\u{0}b""#.into())
        );
    }

    #[test]
    fn random_ids_are_long_and_different() {
        let mut rng = rand::rng();
        let (a, b) = (random_id(22, &mut rng), random_id(22, &mut rng));
        assert_eq!(a.len(), 22);
        assert!(a.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(a, b);
    }
}
