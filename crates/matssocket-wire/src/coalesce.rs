//! Acknowledgements of several messages in one envelope.

use super::{Envelope, MessageType};

/// Whose message ids an acknowledgement contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IdOf {
    /// Messages of the client: `cmid`.
    Client,
    /// Messages of the server: `smid`.
    Server,
}

/// One plain ACK, NACK or ACK2 of all these ids: a single id goes into `cmid` or `smid`, several into `ids`.
///
/// An acknowledgement must contain at least one id, so `ids` must not be empty.
pub fn acknowledge(t: MessageType, of: IdOf, mut ids: Vec<String>) -> Envelope {
    debug_assert!(!ids.is_empty(), "an acknowledgement names at least one id");
    let mut envelope = Envelope::new(t);
    if ids.len() != 1 {
        envelope.ids = Some(ids);
        return envelope;
    }
    let id = ids.pop();
    match of {
        IdOf::Client => envelope.cmid = id,
        IdOf::Server => envelope.smid = id,
    }
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print_pipeline;

    #[test]
    fn one_id_is_named_several_are_listed() {
        let print = |of, ids: &[&str]| {
            print_pipeline([&acknowledge(
                MessageType::Ack,
                of,
                ids.iter().map(|id| id.to_string()).collect(),
            )])
        };
        assert_eq!(print(IdOf::Client, &["1"]), r#"[{"t":"ACK","cmid":"1"}]"#);
        assert_eq!(print(IdOf::Server, &["1"]), r#"[{"t":"ACK","smid":"1"}]"#);
        assert_eq!(
            print(IdOf::Server, &["1", "2"]),
            r#"[{"t":"ACK","ids":["1","2"]}]"#
        );
    }
}
