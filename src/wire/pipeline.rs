//! Pipelines: the JSON arrays that go over the line.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::{Debug, Envelope, MessageType, PingId};

/// Most envelopes and listed ids in one pipeline, counted together.
///
/// Parsed, an envelope takes some thirty times the bytes of the shortest text that makes one; this
/// bound keeps a large message of nothing but `{"t":"PING"}` from multiplying in memory.
pub const MAX_PIPELINE_ITEMS: usize = 100_000;

/// Why a text is not a pipeline. The text says what was wrong, and never quotes an authorization value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PipelineError(pub String);

/// Parses a JSON array of envelopes.
///
/// Unknown fields are ignored, a field that is `null` counts as absent (save for `msg`, where it is
/// a payload), and of a field given twice the last counts. Neither time nor stack grow with how
/// deeply a payload is nested.
///
/// # Errors
/// Not JSON, not an array of objects with a known `t`, a field of the wrong type, or more than
/// [`MAX_PIPELINE_ITEMS`]; the text names the envelope (counted from 1), field and position.
pub fn parse_pipeline(text: &str) -> Result<Vec<Envelope>, PipelineError> {
    // serde_json would quote what it found instead.
    if !text
        .trim_start_matches([' ', '\t', '\r', '\n'])
        .starts_with('[')
    {
        return Err(PipelineError("a pipeline is a JSON array".into()));
    }
    let wrong = |error: serde_json::Error| PipelineError(error.to_string());
    let mut json = serde_json::Deserializer::from_str(text);
    // An envelope is large to move: space for as many as there are likely to be, in a text of ordinary messages.
    let expected = (text.len() / 256).min(64);
    let envelopes = json
        .deserialize_seq(PipelineVisitor { expected })
        .map_err(wrong)?;
    json.end().map_err(wrong)?;
    Ok(envelopes)
}

struct PipelineVisitor {
    expected: usize,
}

impl<'de> Visitor<'de> for PipelineVisitor {
    type Value = Vec<Envelope>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of envelopes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let budget = Cell::new(MAX_PIPELINE_ITEMS);
        let mut envelopes = Vec::with_capacity(self.expected);
        while let Some(envelope) = array.next_element_seed(EnvelopeSeed {
            index: envelopes.len() + 1,
            budget: &budget,
        })? {
            envelopes.push(envelope);
        }
        Ok(envelopes)
    }
}

/// Reads one envelope.
#[derive(Clone, Copy)]
struct EnvelopeSeed<'a> {
    /// Place in the pipeline, counted from 1.
    index: usize,
    /// How many more envelopes and ids may come.
    budget: &'a Cell<usize>,
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

    fn read<E: de::Error>(
        &self,
        envelope: &mut Envelope,
        field: Field,
        raw: &RawValue,
    ) -> Result<(), E> {
        let value = raw.get();
        if field == Field::Msg {
            envelope.msg = Some(raw.to_owned());
            return Ok(());
        }
        let text = || self.text(field, value);
        match field {
            // Read by the caller.
            Field::T | Field::Msg | Field::Unknown => {}
            Field::Smid => envelope.smid = self.id(field, value)?,
            Field::Cmid => envelope.cmid = self.id(field, value)?,
            Field::X => envelope.x = self.ping_id(value)?,
            Field::Ids => envelope.ids = self.ids(value)?,
            Field::Tid => envelope.tid = text()?,
            Field::Auth => envelope.auth = text()?,
            Field::Clv => envelope.clv = text()?,
            Field::An => envelope.an = text()?,
            Field::Av => envelope.av = text()?,
            Field::Sid => envelope.sid = text()?,
            Field::Rd => envelope.rd = self.options(value)?,
            Field::Eid => envelope.eid = text()?,
            Field::To => envelope.to = self.timeout(value)?,
            Field::Desc => envelope.desc = text()?,
            Field::Debug => envelope.debug = self.debug(value)?,
        }
        Ok(())
    }

    fn text<E: de::Error>(&self, field: Field, json: &str) -> Result<Option<String>, E> {
        if json == "null" {
            return Ok(None);
        }
        string(json)
            .map(Some)
            .ok_or_else(|| self.wrong(format_args!("`{}` is not a string", field.name())))
    }

    /// An id: a string, or an integer taken as its text.
    fn id<E: de::Error>(&self, field: Field, json: &str) -> Result<Option<String>, E> {
        if json == "null" {
            return Ok(None);
        }
        id(json).map(Some).ok_or_else(|| {
            self.wrong(format_args!(
                "`{}` is not a string or integer",
                field.name()
            ))
        })
    }

    fn ids<E: de::Error>(&self, json: &str) -> Result<Option<Vec<String>>, E> {
        if json == "null" {
            return Ok(None);
        }
        if !json.starts_with('[') {
            return Err(self.wrong("`ids` is not an array"));
        }
        let mut json = serde_json::Deserializer::from_str(json);
        // The inner error's position would be one within the array; the outer one is added anyway.
        json.deserialize_seq(IdsVisitor(*self)).map(Some).map_err(|_| {
            self.wrong(format_args!("`ids` has something other than strings and integers, or more than {MAX_PIPELINE_ITEMS}"))
        })
    }

    fn ping_id<E: de::Error>(&self, json: &str) -> Result<Option<PingId>, E> {
        if json == "null" {
            return Ok(None);
        }
        let id = if is_integer(json) {
            json.parse().ok().map(PingId::Number)
        } else {
            string(json).map(PingId::Text)
        };
        id.map(Some)
            .ok_or_else(|| self.wrong("`x` is not a string or 64-bit integer"))
    }

    fn options<E: de::Error>(&self, json: &str) -> Result<Option<u32>, E> {
        if json == "null" {
            return Ok(None);
        }
        json.parse()
            .map(Some)
            .map_err(|_| self.wrong("`rd` is not an unsigned 32-bit integer"))
    }

    /// Milliseconds; a fraction is cut off, a negative number counts as absent.
    fn timeout<E: de::Error>(&self, json: &str) -> Result<Option<u64>, E> {
        if json == "null" {
            return Ok(None);
        }
        if let Ok(ms) = json.parse() {
            return Ok(Some(ms));
        }
        match json.parse::<f64>() {
            Ok(ms) if ms >= 0.0 => Ok(Some(ms as u64)),
            Ok(_) => Ok(None),
            Err(_) => Err(self.wrong("`to` is not a number")),
        }
    }

    fn debug<E: de::Error>(&self, json: &str) -> Result<Option<Debug>, E> {
        serde_json::from_str(json).map_err(|_| self.wrong("`debug` is not a debug object"))
    }
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Envelope, D::Error> {
        // "Any" leads a string into `visit_str`; asked for a map, serde_json would quote it.
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object as envelope {}", self.index)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Envelope, E> {
        Err(self.wrong("a string instead of an object"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        self.spend()?;
        let mut envelope = Envelope::default();
        let mut t = None;
        while let Some(field) = map.next_key::<Field>()? {
            if field == Field::Unknown {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&RawValue>()?;
            if field == Field::T {
                let name = string(raw.get()).ok_or_else(|| self.wrong("`t` is not a string"))?;
                t = Some(MessageType::from_name(&name).ok_or_else(|| {
                    let name: String = name.chars().take(20).collect();
                    self.wrong(format_args!("unknown `t` {name:?}"))
                })?);
            } else {
                self.read(&mut envelope, field, raw)?;
            }
        }
        envelope.t = t.ok_or_else(|| self.wrong("`t` is missing"))?;
        Ok(envelope)
    }
}

struct IdsVisitor<'a>(EnvelopeSeed<'a>);

impl<'de> Visitor<'de> for IdsVisitor<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of ids")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut ids = Vec::new();
        while let Some(raw) = array.next_element::<&RawValue>()? {
            self.0.spend()?;
            ids.push(id(raw.get()).ok_or_else(|| self.0.wrong("not an id"))?);
        }
        Ok(ids)
    }
}

/// The string that this JSON value is, if it is one.
fn string(json: &str) -> Option<String> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    // A raw value is valid JSON, so without an escape its text is the string.
    if inner.contains('\\') {
        serde_json::from_str(json).ok()
    } else {
        Some(inner.to_owned())
    }
}

fn id(json: &str) -> Option<String> {
    if is_integer(json) {
        Some(json.to_owned())
    } else {
        string(json)
    }
}

/// Whether a JSON value is an integer, of whatever size.
fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The keys of an envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    T,
    Smid,
    Cmid,
    X,
    Ids,
    Tid,
    Auth,
    Clv,
    An,
    Av,
    Sid,
    Rd,
    Eid,
    To,
    Desc,
    Msg,
    Debug,
    Unknown,
}

impl Field {
    /// The keys in the order in which they are printed.
    const NAMES: [(Field, &'static str); 17] = [
        (Field::T, "t"),
        (Field::Smid, "smid"),
        (Field::Cmid, "cmid"),
        (Field::X, "x"),
        (Field::Ids, "ids"),
        (Field::Tid, "tid"),
        (Field::Auth, "auth"),
        (Field::Clv, "clv"),
        (Field::An, "an"),
        (Field::Av, "av"),
        (Field::Sid, "sid"),
        (Field::Rd, "rd"),
        (Field::Eid, "eid"),
        (Field::To, "to"),
        (Field::Desc, "desc"),
        (Field::Msg, "msg"),
        (Field::Debug, "debug"),
    ];

    fn of(name: &str) -> Field {
        Field::NAMES
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(Field::Unknown, |(field, _)| *field)
    }

    fn name(self) -> &'static str {
        Field::NAMES
            .iter()
            .find(|(field, _)| *field == self)
            .map_or("?", |(_, name)| name)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Field, D::Error> {
        struct FieldVisitor;
        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Field, E> {
                Ok(Field::of(name))
            }
        }
        json.deserialize_identifier(FieldVisitor)
    }
}

/// Prints envelopes as a JSON array. Keys in the protocol's order; absent fields are left out.
pub fn print_pipeline<'a>(
    envelopes: impl IntoIterator<Item = &'a Envelope, IntoIter: Clone>,
) -> String {
    let envelopes = envelopes.into_iter();
    // A text that has to grow is copied, and a large one makes malloc tidy up, each time.
    let mut out = String::with_capacity(2 + envelopes.clone().map(likely_bytes).sum::<usize>());
    out.push('[');
    for (place, envelope) in envelopes.enumerate() {
        if place > 0 {
            out.push(',');
        }
        print_envelope(&mut out, envelope);
    }
    out.push(']');
    out
}

/// As many bytes as an envelope is printed in, or somewhat more; too few if there is much to escape.
fn likely_bytes(envelope: &Envelope) -> usize {
    /// The type, the keys, and the short fields.
    const FRAME: usize = 128;
    const DEBUG: usize = 256;
    let texts = [
        &envelope.smid,
        &envelope.cmid,
        &envelope.tid,
        &envelope.eid,
        &envelope.desc,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let ids = envelope.ids.iter().flatten().map(|id| id.len() + 3);
    let msg = envelope.msg.as_ref().map_or(0, |msg| msg.get().len());
    let debug = envelope.debug.as_ref().map_or(0, |_| DEBUG);
    FRAME + texts + ids.sum::<usize>() + msg + debug
}

/// Prints one envelope at the end of `out`.
pub(crate) fn print_envelope(out: &mut String, envelope: &Envelope) {
    out.push_str("{\"t\":\"");
    out.push_str(envelope.t.name());
    out.push('"');
    print_text(out, "smid", &envelope.smid);
    print_text(out, "cmid", &envelope.cmid);
    match &envelope.x {
        Some(PingId::Text(x)) => print_key(out, "x", |out| print_string(out, x)),
        Some(PingId::Number(x)) => print_number(out, "x", Some(x)),
        None => {}
    }
    if let Some(ids) = &envelope.ids {
        print_key(out, "ids", |out| print_strings(out, ids));
    }
    print_text(out, "tid", &envelope.tid);
    print_text(out, "auth", &envelope.auth);
    print_text(out, "clv", &envelope.clv);
    print_text(out, "an", &envelope.an);
    print_text(out, "av", &envelope.av);
    print_text(out, "sid", &envelope.sid);
    print_number(out, "rd", envelope.rd);
    print_text(out, "eid", &envelope.eid);
    print_number(out, "to", envelope.to);
    print_text(out, "desc", &envelope.desc);
    if let Some(msg) = &envelope.msg {
        print_key(out, "msg", |out| out.push_str(msg.get()));
    }
    if let Some(debug) = &envelope.debug {
        let debug = serde_json::to_string(debug).expect("a struct of numbers and strings prints");
        print_key(out, "debug", |out| out.push_str(&debug));
    }
    out.push('}');
}

fn print_key(out: &mut String, key: &str, value: impl FnOnce(&mut String)) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    value(out);
}

fn print_text(out: &mut String, key: &str, value: &Option<String>) {
    if let Some(value) = value {
        print_key(out, key, |out| print_string(out, value));
    }
}

fn print_number(out: &mut String, key: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        print_key(out, key, |out| {
            write!(out, "{value}").expect("writing to a string works")
        });
    }
}

fn print_strings(out: &mut String, values: &[String]) {
    out.push('[');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        print_string(out, value);
    }
    out.push(']');
}

fn print_string(out: &mut String, value: &str) {
    if value
        .bytes()
        .any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        out.push_str(&serde_json::to_string(value).expect("a string prints"));
    } else {
        out.push('"');
        out.push_str(value);
        out.push('"');
    }
}
