//! `matssocket migrate`.

use lexopt::Parser;
use serde_json::json;

use super::help::MIGRATE;
use super::{Failure, output};

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let Some(asked) = MIGRATE.read(parser, |_, _| Ok(false))? else {
        return Ok(());
    };
    let store = asked.loaded.settings.store.to_string();
    asked.create().await?;
    match asked.json {
        true => output::print_json(&json!({ "store": store, "migrated": true })),
        false => output::print(&format!("{store} is up to date\n")),
    }
    Ok(())
}
