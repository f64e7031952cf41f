//! The schemas of payloads, with those of named types apart.
//!
//! serde may read a type in one way and write it in another: a field with a default may be missing in what is read, and
//! is always there in what is written. Where that makes a difference, the type has two schemas under two names.

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

use super::description::Described;

/// Where references point to, for good.
const SCHEMAS: &str = "#/components/schemas/";
/// Where references in what is written point to, until it is known which schemas differ.
const WRITTEN: &str = "#/written/";

/// Collects schemas.
pub(super) struct Components {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Components {
    pub(super) fn new() -> Components {
        // AsyncAPI's own schemas extend this draft.
        let settings = |path: &str| {
            SchemaSettings::draft07().with(|it| it.definitions_path = path.to_owned().into())
        };
        Components {
            read: settings("/components/schemas")
                .for_deserialize()
                .into_generator(),
            written: settings("/written").for_serialize().into_generator(),
        }
    }

    /// The schema of a payload, which may refer to others.
    pub(super) fn schema(&mut self, described: Described, is_read: bool) -> Value {
        let generator = match is_read {
            true => &mut self.read,
            false => &mut self.written,
        };
        let mut schema = (described.schema)(generator);
        for transform in generator.transforms_mut() {
            transform.transform(&mut schema);
        }
        schema.to_value()
    }

    /// The named schemas. References in the document, which has them not yet, are made to point to them.
    ///
    /// # Errors
    /// Types with names that the document cannot have.
    pub(super) fn finish(
        mut self,
        document: &mut Value,
    ) -> Result<Map<String, Value>, Vec<String>> {
        let mut all = self.read.take_definitions(true);
        let written = self.written.take_definitions(true);
        let bad = all.keys().chain(written.keys()).filter(|it| !is_key(it));
        let bad: BTreeSet<&String> = bad.collect();
        if !bad.is_empty() {
            return Err(bad.into_iter().map(|it| misnamed(it)).collect());
        }
        let names = names_of_written(&all, &written);
        for (name, mut schema) in written {
            point(&mut schema, &names);
            all.insert(names[&name].clone(), schema);
        }
        point(document, &names);
        all.sort_keys();
        Ok(all)
    }
}

/// What each written schema is called in the end: a name of its own where its meaning differs from that of the read one.
fn names_of_written(
    read: &Map<String, Value>,
    written: &Map<String, Value>,
) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, String> = written
        .keys()
        .map(|name| (name.clone(), name.clone()))
        .collect();
    // A schema that refers to one with another name differs as well, so this goes on until nothing changes.
    loop {
        let differing: Vec<&String> = written
            .iter()
            .filter(|(name, schema)| {
                let mut schema = (*schema).clone();
                point(&mut schema, &names);
                names[*name] == **name && read.get(*name).is_some_and(|it| *it != schema)
            })
            .map(|(name, _)| name)
            .collect();
        if differing.is_empty() {
            return names;
        }
        for name in differing {
            let mut own = format!("{name}FromServer");
            while read.contains_key(&own) || written.contains_key(&own) {
                own.push('_');
            }
            names.insert(name.clone(), own);
        }
    }
}

/// Makes references to written schemas point to where they are in the end.
fn point(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get_mut("$ref")
                && let Some(name) = target.strip_prefix(WRITTEN).and_then(|it| names.get(it))
            {
                *target = format!("{SCHEMAS}{name}");
            }
            fields.values_mut().for_each(|it| point(it, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|it| point(it, names)),
        _ => {}
    }
}

/// Whether AsyncAPI allows it as the name of a component.
fn is_key(name: &str) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    !name.is_empty() && name.chars().all(allowed)
}

fn misnamed(name: &str) -> String {
    format!(
        "the schema of a described type is called {name:?}: give the type a name of ASCII letters, digits, \".\", \"_\" \
         and \"-\", by #[schemars(rename = \"…\")]"
    )
}
