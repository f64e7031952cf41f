//! Pipelines at little cost: printed into one text, parsed without a copy.

use std::fmt::{Display, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The relevant parts of an envelope, borrowed from the text. (All these ids are plain text, without escapes.)
#[derive(Debug, Deserialize)]
pub struct Envelope<'a> {
    #[serde(borrow)]
    pub t: &'a str,
    #[serde(borrow, default)]
    pub cmid: Option<&'a str>,
    #[serde(borrow, default)]
    pub smid: Option<&'a str>,
    #[serde(borrow, default)]
    pub ids: Option<Vec<&'a str>>,
    #[serde(borrow, default)]
    pub tid: Option<&'a str>,
    #[serde(borrow, default)]
    pub sid: Option<&'a str>,
    #[serde(borrow, default)]
    pub desc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub msg: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Its client message ids, whether one or several.
    pub fn cmids(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.cmid
            .into_iter()
            .chain(self.ids.iter().flatten().copied())
    }

    pub fn description(&self) -> &'a str {
        self.desc.map_or("", RawValue::get)
    }
}

/// Parses a pipeline.
pub fn parse(text: &str) -> Result<Vec<Envelope<'_>>, String> {
    serde_json::from_str(text).map_err(|why| format!("{text:?} is not understood: {why}"))
}

/// A pipeline under construction.
#[derive(Default)]
pub struct Pipeline {
    text: String,
    /// Ids to be acknowledged: ready to print.
    acks: String,
    ack2s: String,
}

impl Pipeline {
    pub fn envelope(&mut self, envelope: impl Display) {
        let comma = if self.text.is_empty() { '[' } else { ',' };
        write!(self.text, "{comma}{envelope}").expect("a String takes everything");
    }

    /// Adds an ACK for this message.
    pub fn ack(&mut self, smid: &str) {
        id(&mut self.acks, smid);
    }

    /// Adds an ACK2 for this message.
    pub fn ack2(&mut self, cmid: &str) {
        id(&mut self.ack2s, cmid);
    }

    /// The whole text, if there is anything.
    pub fn take(&mut self) -> Option<String> {
        for (t, ids) in [("ACK", &mut self.acks), ("ACK2", &mut self.ack2s)] {
            if !ids.is_empty() {
                let comma = if self.text.is_empty() { '[' } else { ',' };
                write!(self.text, r#"{comma}{{"t":"{t}","ids":[{ids}]}}"#)
                    .expect("a String takes everything");
                ids.clear();
            }
        }
        if self.text.is_empty() {
            return None;
        }
        self.text.push(']');
        Some(std::mem::take(&mut self.text))
    }
}

fn id(list: &mut String, id: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push('"');
    list.push_str(id);
    list.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_gathered_behind_the_messages() {
        let mut pipeline = Pipeline::default();
        pipeline.ack("a-1");
        pipeline.ack("a-2");
        pipeline.envelope(r#"{"t":"SEND"}"#);
        pipeline.ack2("7");
        let text = r#"[{"t":"SEND"},{"t":"ACK","ids":["a-1","a-2"]},{"t":"ACK2","ids":["7"]}]"#;
        assert_eq!(pipeline.take().as_deref(), Some(text));
        assert_eq!(pipeline.take(), None);
    }

    #[test]
    fn what_comes_is_read_without_copying_it() {
        let text =
            r#"[{"t":"ACK","ids":["1","2"]},{"t":"NACK","cmid":"3","desc":"no \"such\" id"}]"#;
        let envelopes = parse(text).expect("it is a pipeline");
        assert_eq!(envelopes[0].cmids().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(envelopes[1].cmids().collect::<Vec<_>>(), ["3"]);
        assert_eq!(envelopes[1].description(), r#""no \"such\" id""#);
        assert!(parse("{}").is_err());
    }
}
