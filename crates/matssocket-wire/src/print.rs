//! Serialises pipelines.

use std::fmt::{self, Write};

use super::{Envelope, PingId};

/// Prints envelopes as a JSON array, with keys in the protocol's order and without absent fields.
pub fn print_pipeline<'a>(
    envelopes: impl IntoIterator<Item = &'a Envelope, IntoIter: Clone>,
) -> String {
    let envelopes = envelopes.into_iter();
    // Reserved up front: growing copies the text, and for a large one also makes malloc tidy up each time.
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

/// The bytes of a printed envelope, or somewhat more; too few if there is much to escape.
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

/// Appends one envelope to `out`, as a JSON object.
pub fn print_envelope(out: &mut String, envelope: &Envelope) {
    out.push_str("{\"t\":\"");
    out.push_str(envelope.t.name());
    out.push('"');
    print_text(out, "smid", &envelope.smid);
    print_text(out, "cmid", &envelope.cmid);
    match &envelope.x {
        Some(PingId::Text(x)) => print_key(out, "x", |out| print_string(out, x)),
        Some(PingId::Number(x)) => print_plain(out, "x", Some(x)),
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
    print_plain(out, "keep", envelope.keep);
    print_plain(out, "rd", envelope.rd);
    print_text(out, "eid", &envelope.eid);
    print_plain(out, "to", envelope.to);
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

fn print_plain(out: &mut String, key: &str, value: Option<impl fmt::Display>) {
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
