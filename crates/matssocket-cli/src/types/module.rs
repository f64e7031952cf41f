//! A TypeScript module: the types of all payloads, and the `Api` that the browser client takes.

use serde_json::Value;

use super::document::{Channel, Document, Kind};
use super::names::{Names, comment, field, literal, template};
use super::schema::Writer;

/// The fields of `Api`, each with what goes there.
const FIELDS: &[(&str, Kind)] = &[
    ("endpoints", Kind::Endpoint),
    ("terminators", Kind::Terminator),
    ("topics", Kind::Topic),
    ("clientEndpoints", Kind::ClientEndpoint),
    ("clientTerminators", Kind::ClientTerminator),
];

/// The same document always makes the same text.
pub fn typescript(document: &Document) -> String {
    let names = Names::new(document.components.schemas.keys());
    let writer = Writer { names: &names };
    let about = format!(
        "What the server {} {} takes and says. Written by `matssocket types`: change the server's types instead.",
        literal(&document.info.title),
        literal(&document.info.version)
    );
    let mut text = comment(Some(&about), "");
    for (schema, value) in &document.components.schemas {
        let description = value.get("description").and_then(Value::as_str);
        let name = names.of(schema).unwrap_or_default();
        text += "\n";
        text += &comment(description, "");
        text += &format!("export type {name} = {};\n", writer.write(value, ""));
    }
    text += "\n/** For `connect<Api>(…)`. */\nexport interface Api {\n";
    for (name, kind) in FIELDS {
        text += &group(name, *kind, document, &writer);
    }
    text + "}\n"
}

fn group(name: &str, kind: Kind, document: &Document, writer: &Writer<'_>) -> String {
    let mut channels: Vec<&Channel> = (document.channels.values())
        .filter(|it| it.kind == kind)
        .collect();
    channels.sort_by_key(|it| &it.address);
    if channels.is_empty() {
        return format!("  {name}: {{}};\n");
    }
    let lines: String = channels.into_iter().map(|it| line(it, writer)).collect();
    format!("  {name}: {{\n{lines}  }};\n")
}

fn line(channel: &Channel, writer: &Writer<'_>) -> String {
    let indent = "    ";
    let key = match channel.parameters.is_empty() {
        true => field(&channel.address),
        false => format!(
            "[topic: {}]",
            template(&channel.address, channel.parameters.keys())
        ),
    };
    let of = |message| writer.write(channel.payload(message), "      ");
    let written = match channel.kind {
        Kind::Endpoint | Kind::ClientEndpoint => format!(
            "{{\n{indent}  request: {};\n{indent}  reply: {};\n{indent}  reject: {};\n{indent}}}",
            of("REQUEST"),
            of("RESOLVE"),
            of("REJECT")
        ),
        Kind::Terminator | Kind::ClientTerminator => writer.write(channel.payload("SEND"), indent),
        Kind::Topic => writer.write(channel.payload("PUB"), indent),
    };
    let about = comment(channel.description.as_deref(), indent);
    format!("{about}{indent}{key}: {written};\n")
}
