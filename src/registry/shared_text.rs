//! A text that is sent to many clients.

use std::sync::OnceLock;

use bytes::Bytes;

/// A pipeline that is sent to many clients, with its frame: the first to send it builds the frame for all.
#[derive(Debug)]
pub(crate) struct SharedText {
    text: String,
    frame: OnceLock<Bytes>,
}

impl SharedText {
    pub(crate) fn new(text: String) -> SharedText {
        SharedText {
            text,
            frame: OnceLock::new(),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text in a frame, built by `make` if it does not exist yet.
    pub(crate) fn frame(&self, make: impl FnOnce(&str) -> Bytes) -> Bytes {
        self.frame.get_or_init(|| make(&self.text)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_made_once_for_all() {
        let shared = SharedText::new("text".to_owned());
        let first = shared.frame(|text| Bytes::copy_from_slice(text.as_bytes()));
        let second = shared.frame(|_| panic!("it was made before"));
        assert_eq!(first.as_ptr(), second.as_ptr());
    }
}
