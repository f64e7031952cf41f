//! JSON Schemas as TypeScript types.
//!
//! TypeScript cannot say everything that a schema can: a format, a range or a pattern is left out, so the type may allow
//! more than the schema, never less. What a schema says in a way that is not known here becomes `unknown`.

use serde_json::{Map, Value};

use super::names::{Names, comment, field, literal};

/// Longest array that becomes a tuple because its length is fixed.
const LONGEST_TUPLE: u64 = 16;

/// Writes types.
pub struct Writer<'a> {
    pub names: &'a Names,
}

/// A type.
struct Type {
    text: String,
    /// What stands between its parts, if it has several.
    by: Option<&'static str>,
}

impl Type {
    fn one(text: impl Into<String>) -> Type {
        Type {
            text: text.into(),
            by: None,
        }
    }

    /// Several types with `|` or `&` between them, each once.
    fn joined(mut parts: Vec<Type>, by: &'static str) -> Type {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let mut texts: Vec<String> = Vec::new();
        for part in parts {
            let text = match part.by {
                Some(other) if other != by => part.enclosed(),
                _ => part.text,
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Type {
            by: (texts.len() > 1).then_some(by),
            text: texts.join(by),
        }
    }

    /// As part of a larger type.
    fn enclosed(self) -> String {
        match self.by {
            Some(_) => format!("({})", self.text),
            None => self.text,
        }
    }
}

impl Writer<'_> {
    /// The type that a schema stands for. Lines after the first are indented.
    pub fn write(&self, schema: &Value, indent: &str) -> String {
        self.of(schema, indent).text
    }

    fn of(&self, schema: &Value, indent: &str) -> Type {
        let schema = match schema {
            Value::Bool(false) => return Type::one("never"),
            Value::Object(schema) => schema,
            _ => return Type::one("unknown"),
        };
        if let Some(Value::String(target)) = schema.get("$ref") {
            let name = target.strip_prefix("#/components/schemas/");
            return Type::one(name.and_then(|it| self.names.of(it)).unwrap_or("unknown"));
        }
        if let Some(value) = schema.get("const") {
            return constant(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return Type::joined(values.iter().map(constant).collect(), " | ");
        }
        // What is said beside oneOf and the like holds as well.
        let mut all = Vec::new();
        for key in ["oneOf", "anyOf"] {
            if let Some(Value::Array(choices)) = schema.get(key) {
                let choices = choices.iter().map(|it| self.of(it, indent)).collect();
                all.push(Type::joined(choices, " | "));
            }
        }
        if let Some(Value::Array(parts)) = schema.get("allOf") {
            all.extend(parts.iter().map(|it| self.of(it, indent)));
        }
        if all.is_empty() || schema.contains_key("properties") {
            all.insert(0, self.plain(schema, indent));
        }
        Type::joined(all, " & ")
    }

    fn plain(&self, schema: &Map<String, Value>, indent: &str) -> Type {
        let named: Vec<&str> = match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if schema.contains_key("properties") => vec!["object"],
            _ => return Type::one("unknown"),
        };
        let types = named.into_iter().map(|name| match name {
            "integer" | "number" => Type::one("number"),
            "string" | "boolean" | "null" => Type::one(name),
            "array" => self.array(schema, indent),
            "object" => self.object(schema, indent),
            _ => Type::one("unknown"),
        });
        Type::joined(types.collect(), " | ")
    }

    fn array(&self, schema: &Map<String, Value>, indent: &str) -> Type {
        let length = |key| schema.get(key).and_then(Value::as_u64);
        let (least, most) = (length("minItems"), length("maxItems"));
        let tuple = schema.get("prefixItems").or(schema.get("items"));
        if let Some(Value::Array(items)) = tuple {
            let items = items.iter().map(|it| self.write(it, indent));
            return Type::one(format!("[{}]", items.collect::<Vec<_>>().join(", ")));
        }
        let item = schema.get("items").unwrap_or(&Value::Bool(true));
        match (least, most) {
            (Some(least), Some(most)) if least == most && most <= LONGEST_TUPLE => {
                let items = (0..most).map(|_| self.write(item, indent));
                Type::one(format!("[{}]", items.collect::<Vec<_>>().join(", ")))
            }
            _ => Type::one(format!("{}[]", self.of(item, indent).enclosed())),
        }
    }

    fn object(&self, schema: &Map<String, Value>, indent: &str) -> Type {
        let inner = format!("{indent}  ");
        let mut lines = String::new();
        if let Some(Value::Object(properties)) = schema.get("properties") {
            let required = schema.get("required").and_then(Value::as_array);
            let is_required =
                |name: &str| required.is_some_and(|it| it.iter().any(|it| it == name));
            // Sorted, whatever the order in the document, so that the same types are the same text.
            let mut properties: Vec<_> = properties.iter().collect();
            properties.sort_by_key(|(name, _)| *name);
            for (name, property) in properties {
                let text = property.get("description").and_then(Value::as_str);
                let mark = if is_required(name) { "" } else { "?" };
                let of = self.write(property, &inner);
                lines += &comment(text, &inner);
                lines += &format!("{inner}{}{mark}: {of};\n", field(name));
            }
        }
        if let Some(rest) = self.rest(schema, &inner, lines.is_empty()) {
            lines += &format!("{inner}[key: string]: {rest};\n");
        }
        match lines.is_empty() {
            true => Type::one("{ [key: string]: never }"),
            false => Type::one(format!("{{\n{lines}{indent}}}")),
        }
    }

    /// The type of fields without a name of their own; `None` if there are none.
    fn rest(&self, schema: &Map<String, Value>, indent: &str, is_map: bool) -> Option<String> {
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        let mut values: Vec<&Value> = patterns.into_iter().flat_map(Map::values).collect();
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {}
            Some(value @ Value::Object(_)) => values.push(value),
            // Others may be there, but only a map is about them.
            _ if is_map && values.is_empty() => return Some("unknown".to_owned()),
            _ => {}
        }
        if values.is_empty() {
            return None;
        }
        if !is_map {
            // Named fields must be of this type as well, to the compiler.
            return Some("unknown".to_owned());
        }
        let types = values.into_iter().map(|it| self.of(it, indent)).collect();
        Some(Type::joined(types, " | ").text)
    }
}

fn constant(value: &Value) -> Type {
    match value {
        Value::String(text) => Type::one(literal(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Type::one(value.to_string()),
        _ => Type::one("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn type_of(schema: Value) -> String {
        let names = Names::new(["Item".to_owned()].iter());
        Writer { names: &names }.write(&schema, "")
    }

    #[test]
    fn each_schema_has_its_type() {
        let item = json!({ "$ref": "#/components/schemas/Item" });
        let text = json!({ "type": "string" });
        for (schema, expected) in [
            (json!({}), "unknown"),
            (json!(true), "unknown"),
            (json!(false), "never"),
            (json!({ "type": "what" }), "unknown"),
            (json!({ "$ref": "#/elsewhere" }), "unknown"),
            (item.clone(), "Item"),
            (
                json!({ "type": "integer", "format": "uint8", "minimum": 0 }),
                "number",
            ),
            (
                json!({ "type": ["string", "null"], "format": "date-time" }),
                "string | null",
            ),
            (json!({ "const": null }), "null"),
            (json!({ "enum": ["a", 1, "a\"b"] }), r#""a" | 1 | "a\"b""#),
            (
                json!({ "anyOf": [item.clone(), { "type": "null" }] }),
                "Item | null",
            ),
            (json!({ "type": "array" }), "unknown[]"),
            (json!({ "type": "array", "items": item }), "Item[]"),
            (
                json!({ "type": "array", "items": { "anyOf": [item, { "type": "null" }] } }),
                "(Item | null)[]",
            ),
            (
                json!({ "type": "array", "items": { "type": ["string", "null"] } }),
                "(string | null)[]",
            ),
            (
                json!({ "type": "array", "items": [text, item] }),
                "[string, Item]",
            ),
            (
                json!({ "type": "array", "items": text, "minItems": 2, "maxItems": 2 }),
                "[string, string]",
            ),
            (
                json!({ "type": "array", "items": text, "minItems": 99, "maxItems": 99 }),
                "string[]",
            ),
            (
                json!({ "oneOf": [{ "enum": ["a", "b"] }, { "const": "c" }] }),
                r#""a" | "b" | "c""#,
            ),
            (
                json!({ "allOf": [{ "oneOf": [item, text] }, item] }),
                "(Item | string) & Item",
            ),
            (
                json!({ "type": "object" }),
                "{\n  [key: string]: unknown;\n}",
            ),
            (
                json!({ "type": "object", "additionalProperties": false }),
                "{ [key: string]: never }",
            ),
            (
                json!({ "type": "object", "additionalProperties": text }),
                "{\n  [key: string]: string;\n}",
            ),
            (
                json!({ "type": "object", "patternProperties": { "^\\d+$": text }, "additionalProperties": false }),
                "{\n  [key: string]: string;\n}",
            ),
            (
                json!({ "properties": { "b": text, "a": item }, "required": ["b"], "additionalProperties": false }),
                "{\n  a?: Item;\n  b: string;\n}",
            ),
            (
                json!({ "type": "object", "properties": { "a": item }, "additionalProperties": text }),
                "{\n  a?: Item;\n  [key: string]: unknown;\n}",
            ),
        ] {
            assert_eq!(type_of(schema.clone()), expected, "{schema}");
        }
    }
}
