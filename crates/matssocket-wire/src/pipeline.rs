//! Parses pipelines, the JSON arrays of envelopes on the wire.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::Envelope;
use super::read_envelope::EnvelopeSeed;

/// Most envelopes and listed ids in one pipeline, counted together.
///
/// A parsed envelope takes about thirty times the bytes of the shortest text of one; this bound keeps a large message
/// of nothing but `{"t":"PING"}` from multiplying in memory.
pub const MAX_PIPELINE_ITEMS: usize = 100_000;

/// Why a text is not a pipeline. The text says what was wrong, and never quotes an authorization value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(String);

/// Parses a JSON array of envelopes.
///
/// Unknown fields are ignored, a field that is `null` counts as absent (except for `msg`, where it is a payload), and
/// if a field is given twice, the last one counts. Neither time nor stack use grows with how deeply a payload is
/// nested.
///
/// A field that cannot be read affects only its own envelope: it is left out, and [`Envelope::fault`] says why.
/// Optional fields (`keep`, `rd`, `to`, `desc`, `debug`) are left out silently; a PING's `x` is kept as received; half
/// a surrogate pair in a text of a HELLO is replaced by U+FFFD.
///
/// # Errors
/// Not JSON, not an array of objects with a known `t`, a `cmid` that is neither a string nor an integral number, or more
/// than [`MAX_PIPELINE_ITEMS`]; the text names the envelope (counted from 1), field and position.
pub fn parse_pipeline(text: &str) -> Result<Vec<Envelope>, PipelineError> {
    // Envelopes are costly to move: reserve space for as many as a text of ordinary messages is likely to contain.
    let mut envelopes = Vec::with_capacity((text.len() / 256).min(64));
    let read = read_pipeline(text, |envelope, _| {
        envelopes.push(envelope);
        Ok::<_, Infallible>(true)
    });
    match read {
        Ok(()) => Ok(envelopes),
        Err(Unread::Malformed(error)) => Err(error),
    }
}

/// Why a pipeline was not read to its end.
#[derive(Debug)]
pub enum Unread<E> {
    /// The text is not a pipeline.
    Malformed(PipelineError),
    /// The caller does not want any more envelopes.
    Stopped(E),
}

/// Reads a JSON array of envelopes like [`parse_pipeline`], but one by one, so that not all of them need to be in
/// memory.
///
/// Each is passed to `take` with its place in the text; the result says whether the payloads of the following ones are
/// wanted. Only at the end is it known that the whole text is a pipeline.
pub fn read_pipeline<E>(
    text: &str,
    mut take: impl FnMut(Envelope, Range<usize>) -> Result<bool, E>,
) -> Result<(), Unread<E>> {
    let wrong = |error: serde_json::Error| Unread::Malformed(PipelineError(error.to_string()));
    // Checked here, since serde_json's error would quote the text.
    if !text
        .trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with('[')
    {
        let error = PipelineError("a pipeline is a JSON array".into());
        return Err(Unread::Malformed(error));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let mut stopped = None;
    let read = json.deserialize_seq(PipelineVisitor {
        text,
        take: |envelope, extent| take(envelope, extent).map_err(|error| stopped = Some(error)),
    });
    if let Some(error) = stopped {
        return Err(Unread::Stopped(error));
    }
    read.map_err(wrong)?;
    json.end().map_err(wrong)
}

/// Reads the envelope that starts at this place of a text that [`read_pipeline`] has already read. Also returns the
/// place of the next one, if there is one.
pub fn read_envelope(text: &str, start: usize) -> Result<(Envelope, Option<usize>), PipelineError> {
    let seed = EnvelopeSeed {
        text,
        index: 1,
        budget: &Cell::new(MAX_PIPELINE_ITEMS),
        payloads: true,
    };
    let mut json = serde_json::Deserializer::from_str(&text[start..]);
    let (envelope, extent) = seed
        .deserialize(&mut json)
        .map_err(|error| PipelineError(error.to_string()))?;
    // Between two envelopes there is only a comma and white space.
    let next = text[extent.end..].find(['{', ']']);
    let next = next.map(|bytes| extent.end + bytes);
    Ok((envelope, next.filter(|at| text.as_bytes()[*at] == b'{')))
}

struct PipelineVisitor<'t, F> {
    text: &'t str,
    /// Takes an envelope and its place, and returns whether the payloads of the following ones are wanted.
    take: F,
}

impl<'de, F> Visitor<'de> for PipelineVisitor<'de, F>
where
    F: FnMut(Envelope, Range<usize>) -> Result<bool, ()>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of envelopes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<(), A::Error> {
        let budget = Cell::new(MAX_PIPELINE_ITEMS);
        let (mut index, mut payloads) = (1, true);
        while let Some((envelope, extent)) = array.next_element_seed(EnvelopeSeed {
            text: self.text,
            index,
            budget: &budget,
            payloads,
        })? {
            index += 1;
            let taken = (self.take)(envelope, extent);
            payloads = taken.map_err(|()| de::Error::custom("not wanted"))?;
        }
        Ok(())
    }
}
