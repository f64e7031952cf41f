//! Limits how many bytes a query returns. Lengths are queried first, which costs little: neither database reads a long
//! text to determine its length. So the size of a result depends on what the caller wants, not on how many rows there
//! are.

use diesel::sql_types::{Binary, Nullable, Text};

/// Bytes queried at a time where the caller sets no limit; it queries again for the rest.
pub const MAX_ANSWER: u64 = 4 * 1024 * 1024;

diesel::define_sql_function! {
    /// Size of a text in bytes.
    fn octet_length(text: Nullable<Text>) -> Nullable<Integer>;
}

diesel::define_sql_function! {
    /// Size of binary data in bytes.
    #[sql_name = "octet_length"]
    fn byte_length(bytes: Nullable<Binary>) -> Nullable<Integer>;
}

/// Converts a length from the database.
pub fn bytes(length: Option<i32>) -> u64 {
    length.map_or(0, |length| length.max(0) as u64)
}

/// The rows that fit, given in order with their lengths. The first always fits.
pub fn fitting<K>(rows: impl IntoIterator<Item = (K, u64)>, max_bytes: u64) -> Vec<K> {
    let mut sum = 0u64;
    let mut first = true;
    let fits = rows.into_iter().take_while(|(_, bytes)| {
        sum = sum.saturating_add(*bytes);
        std::mem::take(&mut first) || sum <= max_bytes
    });
    fits.map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::fitting;

    #[test]
    fn the_first_always_fits_and_nothing_overtakes() {
        let rows = [(1, 10), (2, 5), (3, 6), (4, 1)];
        assert_eq!(fitting(rows, 15), [1, 2]);
        assert_eq!(
            fitting(rows, 16),
            [1, 2],
            "the fourth would fit, but comes behind"
        );
        assert_eq!(fitting(rows, 0), [1]);
        assert_eq!(fitting(rows, u64::MAX), [1, 2, 3, 4]);
        assert_eq!(fitting([] as [(i32, u64); 0], 5), [0; 0]);
    }
}
