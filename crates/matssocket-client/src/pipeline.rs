//! Builds pipelines from envelopes, serialised or not.

use matssocket_wire::{Envelope, print_envelope};

/// A pipeline under construction.
pub(super) struct Pipeline {
    text: String,
}

impl Pipeline {
    pub(super) fn new() -> Pipeline {
        Pipeline {
            text: String::with_capacity(512),
        }
    }

    fn separate(&mut self) {
        self.text.push(if self.text.is_empty() { '[' } else { ',' });
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn envelope(&mut self, envelope: &Envelope) {
        self.separate();
        print_envelope(&mut self.text, envelope);
    }

    pub(super) fn text(&mut self, envelope: &str) {
        self.separate();
        self.text.push_str(envelope);
    }

    /// The pipeline; `None` if it is empty.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(self.text)
    }
}
