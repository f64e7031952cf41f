//! Pipelines: the JSON arrays that go over the line.

use std::cell::Cell;
use std::fmt::{self, Write};

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Envelope, MAX_ID_BYTES, MessageType, PingId, shown};

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
/// A field that cannot be read harms only its own envelope: it is left out, and [`Envelope::fault`] says why. What a
/// client can do without (`rd`, `to`, `desc`, `debug`) is left out silently; a PING's `x` is kept as it came; half a
/// surrogate pair in a text of a HELLO is replaced by U+FFFD.
///
/// # Errors
/// Not JSON, not an array of objects with a known `t`, a `cmid` that is neither a string nor an integral number, or more
/// than [`MAX_PIPELINE_ITEMS`]; the text names the envelope (counted from 1), field and position.
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

    /// Reads a field into the envelope. Fails only where the pipeline as a whole is at fault.
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

    fn cmid<E: de::Error>(&self, json: &str) -> Result<String, E> {
        id(json).ok_or_else(|| self.wrong("`cmid` is neither a string nor an integral number"))
    }

    /// Elements that are no ids are left out. Anything but an array is as good as absent.
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

/// What is wrong with a text that is fit for nothing but to be shown.
const HALF_A_PAIR: &str = "has half a surrogate pair";

impl Envelope {
    /// Notes what is wrong with a field, unless something is noted already.
    fn blame(&mut self, field: Field, what: &str) {
        self.fault
            .get_or_insert_with(|| format!("`{}` {what}", field.name()).into());
    }

    /// Of a field given twice, the last counts.
    fn clear(&mut self, field: Field) {
        match field {
            Field::T | Field::Msg | Field::Unknown => {}
            Field::X => self.x = None,
            Field::Ids => self.ids = None,
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

    /// The place of a field that is a text.
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
            | Field::Rd
            | Field::To
            | Field::Msg
            | Field::Debug
            | Field::Unknown => return None,
        })
    }
}

/// A string or a 64-bit integer; anything else that is short enough is kept as it came, for the PONG.
fn ping_id(json: &str) -> Option<PingId> {
    if is_integer(json)
        && let Ok(number) = json.parse()
    {
        return Some(PingId::Number(number));
    }
    match string(json) {
        Some(text) => Some(PingId::Text(text)),
        None => (json.len() <= MAX_ID_BYTES).then(|| PingId::Other(json.into())),
    }
}

/// Milliseconds, as a number or as a string of one; a fraction is cut off. Anything else counts as absent.
fn timeout(json: &str) -> Option<u64> {
    let number = json.trim_matches('"');
    if let Ok(ms) = number.parse() {
        return Some(ms);
    }
    let ms = number.parse::<f64>().ok()?;
    (ms >= 0.0).then_some(ms as u64)
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
        // Raw, since even a key may have half a surrogate pair.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let field = Field::of(key.get());
            if field == Field::Unknown {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&RawValue>()?;
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
        // What a HELLO says is for people: repaired, it does.
        if envelope.t == MessageType::HELLO {
            envelope.fault.take_if(|fault| fault.ends_with(HALF_A_PAIR));
        }
        Ok(envelope)
    }
}

struct IdsVisitor<'a>(EnvelopeSeed<'a>);

impl<'de> Visitor<'de> for IdsVisitor<'_> {
    /// The ids, and whether all that was there is one.
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

/// The string that this JSON value is, with U+FFFD in place of each half of a surrogate pair.
fn repaired(json: &str) -> Option<String> {
    struct Lossy;
    impl Visitor<'_> for Lossy {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    if !json.starts_with('"') {
        return None;
    }
    // As bytes, half a pair is read as the three bytes that it would be in UTF-8.
    let mut bytes = serde_json::Deserializer::from_str(json)
        .deserialize_bytes(Lossy)
        .ok()?;
    for at in 0..bytes.len() {
        if bytes[at] == 0xed && matches!(bytes.get(at + 1), Some(0xa0..)) {
            bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).ok()
}

/// An id: a string, or an integral number however it is spelled, taken as the text of the integer.
fn id(json: &str) -> Option<String> {
    if is_integer(json) {
        Some(json.to_owned())
    } else if json.starts_with('"') {
        string(json)
    } else {
        integral(json)
    }
}

/// The integer that a JSON number is (`1e3`, `20.0`), if it is one, and no longer than an id may be.
fn integral(json: &str) -> Option<String> {
    let (sign, number) = match json.strip_prefix('-') {
        Some(number) => ("-", number),
        None => ("", json),
    };
    if !number.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let zeros = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    let integer = match usize::try_from(zeros) {
        Ok(zeros) if digits.len().saturating_add(zeros) < MAX_ID_BYTES => {
            digits.to_owned() + &"0".repeat(zeros)
        }
        Ok(_) => return None,
        Err(_) => {
            let cut = usize::try_from(-zeros).ok()?;
            let (integer, rest) = digits.split_at(digits.len().checked_sub(cut)?);
            if integer.is_empty() || rest.bytes().any(|digit| digit != b'0') {
                return None;
            }
            integer.to_owned()
        }
    };
    Some(format!("{sign}{integer}"))
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

    /// The field of a key, given as JSON.
    fn of(key: &str) -> Field {
        let known = |name: &str| {
            let mut names = Field::NAMES.iter();
            names
                .find(|(_, known)| *known == name)
                .map_or(Field::Unknown, |(field, _)| *field)
        };
        match key.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            Some(name) if !name.contains('\\') => known(name),
            Some(_) | None => string(key).map_or(Field::Unknown, |name| known(&name)),
        }
    }

    fn name(self) -> &'static str {
        Field::NAMES
            .iter()
            .find(|(field, _)| *field == self)
            .map_or("?", |(_, name)| name)
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
        Some(PingId::Other(x)) => print_key(out, "x", |out| out.push_str(x)),
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
