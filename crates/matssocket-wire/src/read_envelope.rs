//! Reads one envelope of a pipeline.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::field::Field;
use super::pipeline::MAX_PIPELINE_ITEMS;
use super::value::{id, ping_id, repaired, string, timeout};
use super::{Envelope, MessageType, shown};

/// Reads one envelope.
#[derive(Clone, Copy)]
pub(super) struct EnvelopeSeed<'a> {
    /// The text that contains it.
    pub(super) text: &'a str,
    /// Place in the pipeline, counted from 1.
    pub(super) index: usize,
    /// How many more envelopes and ids may come.
    pub(super) budget: &'a Cell<usize>,
    /// Whether its payload is wanted.
    pub(super) payloads: bool,
}

impl EnvelopeSeed<'_> {
    fn wrong<E: de::Error>(&self, what: impl fmt::Display) -> E {
        E::custom(format_args!("envelope {}: {what}", self.index))
    }

    fn spend<E: de::Error>(&self) -> Result<(), E> {
        let left = self.budget.get().checked_sub(1);
        self.budget.set(
            left.ok_or_else(|| self.wrong::<E>("too many envelopes and ids in one pipeline"))?,
        );
        Ok(())
    }

    /// Reads a field into the envelope. Fails only if the whole pipeline is invalid.
    fn read<E: de::Error>(
        &self,
        envelope: &mut Envelope,
        field: Field,
        raw: &RawValue,
    ) -> Result<(), E> {
        let value = raw.get();
        if field == Field::Msg {
            envelope.msg = self.payloads.then(|| raw.to_owned());
            return Ok(());
        }
        if value == "null" {
            envelope.clear(field);
            return Ok(());
        }
        match field {
            // Read by the caller.
            Field::T | Field::Msg | Field::Unknown => {}
            Field::Cmid => envelope.cmid = Some(self.cmid(value)?),
            Field::Ids => envelope.ids = self.ids(envelope, value)?,
            Field::Smid => {
                envelope.smid = id(value);
                if envelope.smid.is_none() {
                    envelope.blame(field, "is neither a string nor an integral number");
                }
            }
            Field::X => envelope.x = ping_id(value),
            Field::Keep => envelope.keep = value.parse().ok(),
            Field::Rd => envelope.rd = value.parse().ok(),
            Field::To => envelope.to = timeout(value),
            Field::Desc => envelope.desc = string(value),
            Field::Debug => envelope.debug = serde_json::from_str(value).ok(),
            Field::Tid
            | Field::Auth
            | Field::Clv
            | Field::An
            | Field::Av
            | Field::Sid
            | Field::Eid => {
                let text = string(value).or_else(|| {
                    let repaired = repaired(value);
                    envelope.blame(
                        field,
                        match repaired {
                            Some(_) => HALF_A_PAIR,
                            None => "is not a string",
                        },
                    );
                    repaired
                });
                if let Some(place) = envelope.text(field) {
                    *place = text;
                }
            }
        }
        Ok(())
    }

    /// The place of an envelope in the text, found from its first key and its last value: there is only white space
    /// between them and its braces.
    fn extent(&self, first: &RawValue, last: &RawValue) -> Range<usize> {
        let place = |it: &RawValue| it.get().as_ptr().addr() - self.text.as_ptr().addr();
        let end = place(last) + last.get().len();
        let start = self.text[..place(first)].rfind('{').unwrap_or(0);
        start..end + self.text[end..].find('}').map_or(0, |space| space + 1)
    }

    fn cmid<E: de::Error>(&self, json: &str) -> Result<String, E> {
        id(json).ok_or_else(|| self.wrong("`cmid` is neither a string nor an integral number"))
    }

    /// Elements that are not ids are left out. Anything but an array counts as absent.
    fn ids<E: de::Error>(
        &self,
        envelope: &mut Envelope,
        json: &str,
    ) -> Result<Option<Vec<String>>, E> {
        if !json.starts_with('[') {
            return Ok(None);
        }
        let mut json = serde_json::Deserializer::from_str(json);
        // The inner error's position would be one within the array; the outer one is added anyway.
        let read = json.deserialize_seq(IdsVisitor(*self));
        let (ids, all) = read.map_err(|_| {
            self.wrong(format_args!("`ids` has more than {MAX_PIPELINE_ITEMS} ids"))
        })?;
        if !all {
            envelope.blame(Field::Ids, "has something other than ids");
        }
        Ok(Some(ids))
    }
}

/// The fault of a text with an unpaired surrogate.
const HALF_A_PAIR: &str = "has half a surrogate pair";

impl Envelope {
    /// Records what is wrong with a field, unless something is already recorded.
    fn blame(&mut self, field: Field, what: &str) {
        self.fault
            .get_or_insert_with(|| format!("`{}` {what}", field.name()).into());
    }

    /// If a field is given twice, the last one counts.
    fn clear(&mut self, field: Field) {
        match field {
            Field::T | Field::Msg | Field::Unknown => {}
            Field::X => self.x = None,
            Field::Ids => self.ids = None,
            Field::Keep => self.keep = None,
            Field::Rd => self.rd = None,
            Field::To => self.to = None,
            Field::Debug => self.debug = None,
            _ => {
                if let Some(text) = self.text(field) {
                    *text = None;
                }
            }
        }
    }

    /// Where to store a text field.
    fn text(&mut self, field: Field) -> Option<&mut Option<String>> {
        Some(match field {
            Field::Smid => &mut self.smid,
            Field::Cmid => &mut self.cmid,
            Field::Tid => &mut self.tid,
            Field::Auth => &mut self.auth,
            Field::Clv => &mut self.clv,
            Field::An => &mut self.an,
            Field::Av => &mut self.av,
            Field::Sid => &mut self.sid,
            Field::Eid => &mut self.eid,
            Field::Desc => &mut self.desc,
            Field::T
            | Field::X
            | Field::Ids
            | Field::Keep
            | Field::Rd
            | Field::To
            | Field::Msg
            | Field::Debug
            | Field::Unknown => return None,
        })
    }
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = (Envelope, Range<usize>);

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        // With `deserialize_any`, a string reaches `visit_str`; with a map requested, serde_json's error would quote
        // it.
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    /// The envelope, and its place in the text.
    type Value = (Envelope, Range<usize>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object as envelope {}", self.index)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(self.wrong("a string instead of an object"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        self.spend()?;
        let mut envelope = Envelope::default();
        let mut t = None;
        let (mut first, mut last) = (None, None);
        // Raw, since even a key may have half a surrogate pair.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let field = Field::of(key.get());
            let raw = map.next_value::<&RawValue>()?;
            first = first.or(Some(key));
            last = Some(raw);
            if field == Field::Unknown {
                continue;
            }
            if field == Field::T {
                let name = string(raw.get()).ok_or_else(|| self.wrong("`t` is not a string"))?;
                t = Some(MessageType::from_name(&name).ok_or_else(|| {
                    let name: String = name.chars().take(20).collect();
                    self.wrong(format_args!("unknown `t` \"{}\"", shown(&name)))
                })?);
            } else {
                self.read(&mut envelope, field, raw)?;
            }
        }
        envelope.t = t.ok_or_else(|| self.wrong("`t` is missing"))?;
        // The texts of a HELLO are for humans, so a repaired text is good enough.
        if envelope.t == MessageType::Hello {
            envelope.fault.take_if(|fault| fault.ends_with(HALF_A_PAIR));
        }
        let extent = first.zip(last).map(|(key, value)| self.extent(key, value));
        Ok((envelope, extent.unwrap_or_default()))
    }
}

struct IdsVisitor<'a>(EnvelopeSeed<'a>);

impl<'de> Visitor<'de> for IdsVisitor<'_> {
    /// The ids, and whether all elements were ids.
    type Value = (Vec<String>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let (mut ids, mut all) = (Vec::new(), true);
        while let Some(raw) = array.next_element::<&RawValue>()? {
            self.0.spend()?;
            match id(raw.get()) {
                Some(id) => ids.push(id),
                None => all = false,
            }
        }
        Ok((ids, all))
    }
}
