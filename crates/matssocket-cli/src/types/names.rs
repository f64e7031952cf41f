//! Names and texts in TypeScript.

use std::collections::{BTreeMap, BTreeSet};

/// What the types of a module are called, by the names of their schemas.
pub struct Names(BTreeMap<String, String>);

/// What a type alias cannot be called.
const RESERVED: &[&str] = &[
    "any",
    "bigint",
    "boolean",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "never",
    "new",
    "null",
    "number",
    "object",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "string",
    "super",
    "switch",
    "symbol",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "unknown",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

impl Names {
    pub fn new<'a>(schemas: impl Iterator<Item = &'a String>) -> Names {
        let mut taken = BTreeSet::from(["Api".to_owned()]);
        let mut names = BTreeMap::new();
        for schema in schemas {
            let mut name = identifier(schema);
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            names.insert(schema.clone(), name);
        }
        Names(names)
    }

    pub fn of(&self, schema: &str) -> Option<&str> {
        self.0.get(schema).map(String::as_str)
    }
}

/// The nearest name that TypeScript allows.
fn identifier(name: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let mut plain: String = name
        .chars()
        .map(|it| if plain(it) { it } else { '_' })
        .collect();
    if plain.is_empty() || plain.starts_with(|it: char| it.is_ascii_digit()) {
        plain.insert(0, '_');
    }
    if RESERVED.contains(&plain.as_str()) {
        plain.push('_');
    }
    plain
}

/// A text as a literal.
pub fn literal(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // In JSON these stand for themselves; editors and older compilers take them for ends of lines.
    json.replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A field's name: quoted where it has to be.
pub fn field(name: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '$';
    let starts_well = !name.starts_with(|it: char| it.is_ascii_digit());
    match !name.is_empty() && starts_well && name.chars().all(plain) {
        true => name.to_owned(),
        false => literal(name),
    }
}

/// A topic's id of which parts vary, as a template.
pub fn template<'a>(topic: &str, parameters: impl Iterator<Item = &'a String>) -> String {
    let mut text = topic
        .replace('\\', "\\\\")
        .replace('`', "\\`")
        .replace("${", "\\${");
    for name in parameters {
        text = text.replacen(&format!("{{{name}}}"), "${string}", 1);
    }
    let tame = text.replace('\n', "\\n").replace('\r', "\\r");
    format!("`{tame}`")
}

/// A description as a comment before what it is about, with a line end; empty if there is none.
pub fn comment(text: Option<&str>, indent: &str) -> String {
    let text = text.unwrap_or_default().replace("*/", "*\\/");
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    match lines.as_slice() {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let text: String = lines
                .iter()
                .map(|line| {
                    format!("{} \n", format!("{indent} * {line}").trim_end()).replace(" \n", "\n")
                })
                .collect();
            format!("{indent}/**\n{text}{indent} */\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_typescript_and_differ() {
        let schemas = ["Api", "a-b", "a.b", "string", "2x"].map(str::to_owned);
        let names = Names::new(schemas.iter());
        let found: Vec<_> = schemas.iter().filter_map(|it| names.of(it)).collect();
        assert_eq!(found, ["Api_", "a_b", "a_b_", "string_", "_2x"]);
    }

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(field("a b"), "\"a b\"");
        assert_eq!(field("type"), "type");
        assert_eq!(field("\u{2028}"), "\"\\u2028\"");
        assert_eq!(comment(Some("ends */ here"), ""), "/** ends *\\/ here */\n");
        assert_eq!(
            comment(Some("a\n\nb"), "  "),
            "  /**\n   * a\n   *\n   * b\n   */\n"
        );
        let varying = ["item".to_owned()];
        assert_eq!(
            template("a`${b}/{item}", varying.iter()),
            "`a\\`\\${b}/${string}`"
        );
    }
}
