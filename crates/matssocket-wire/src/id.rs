//! Ids.

use rand::RngExt;
use rand::distr::Alphanumeric;

/// Longest id (endpoint, trace id, message id …) in bytes.
pub const MAX_ID_BYTES: usize = 255;

/// A text that is not a valid id. Its message says what the text was used for, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(String);

impl InvalidId {
    /// The error with this text, for ids that have additional rules.
    pub fn new(text: impl Into<String>) -> InvalidId {
        InvalidId(text.into())
    }
}

/// Checks an id: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
///
/// ```
/// use matssocket_wire::check_id;
/// assert!(check_id("endpoint", "Orders.place").is_ok());
/// assert_eq!(check_id("endpoint", "").unwrap_err().to_string(), "endpoint is empty");
/// ```
///
/// # Errors
/// The id is invalid; `what` names it in the error's text.
pub fn check_id(what: &str, id: &str) -> Result<(), InvalidId> {
    if id.is_empty() {
        return Err(InvalidId(format!("{what} is empty")));
    }
    if id.len() > MAX_ID_BYTES {
        return Err(InvalidId(format!(
            "{what} has {} bytes, at most {MAX_ID_BYTES} are allowed",
            id.len()
        )));
    }
    if id.chars().any(char::is_control) {
        return Err(InvalidId(format!(
            "{what} has a control character: \"{}\"",
            super::shown(id)
        )));
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

/// `length` characters of A–Z a–z 0–9 from the given random source.
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
        assert_eq!(check_id("eid", ""), Err(InvalidId::new("eid is empty")));
        assert_eq!(
            check_id("tid", &"x".repeat(256)),
            Err(InvalidId::new("tid has 256 bytes, at most 255 are allowed"))
        );
        assert_eq!(
            check_id("tid", "a\0b"),
            Err(InvalidId::new(r#"tid has a control character: "a\u{0}b""#))
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
