//! How many bytes a query may bring. Lengths are asked for first, which costs no more than the rows' heads: neither
//! database reads a long text to say how long it is. So its answer has as many bytes as are wanted, not as many as there
//! are rows.

use diesel::sql_types::{Binary, Nullable, Text};

/// Bytes that are asked for at a time where nobody says how many: a caller asks again for the rest.
pub const MAX_ANSWER: u64 = 4 * 1024 * 1024;

diesel::define_sql_function! {
    /// Bytes of a text.
    fn octet_length(text: Nullable<Text>) -> Nullable<Integer>;
}

diesel::define_sql_function! {
    /// Bytes of bytes.
    #[sql_name = "octet_length"]
    fn byte_length(bytes: Nullable<Binary>) -> Nullable<Integer>;
}

/// A length out of the database.
pub fn bytes(length: Option<i32>) -> u64 {
    length.map_or(0, |length| length.max(0) as u64)
}

/// What fits of rows that come in this order, each with its length: always the first.
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
