//! Ids.

/// Longest id (endpoint, trace id, message id …) in bytes.
pub const MAX_ID_BYTES: usize = 255;

/// Checks an id: 1 to [`MAX_ID_BYTES`] bytes, no control characters.
///
/// # Errors
/// What is wrong, as text for people, naming `what`.
pub fn check_id(what: &str, id: &str) -> Result<(), String> {
    let _ = (what, id);
    todo!()
}

/// `length` characters of A–Z a–z 0–9 out of the given random source.
pub fn random_id(length: usize, rng: &mut impl rand::Rng) -> String {
    let _ = (length, rng);
    todo!()
}
