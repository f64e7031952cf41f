//! `matssocket migrate`.

use lexopt::Parser;
use serde_json::json;

use super::help::MIGRATE;
use super::{Failure, output};

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let Some(asked) = MIGRATE.read(parser, |_, _| Ok(false))? else {
        return Ok(());
    };
    let settings = &asked.loaded.settings;
    let ran = settings.migrate().await?;
    if asked.json {
        output::print_json(&json!({ "store": settings.store.to_string(), "ran": ran }));
        return Ok(());
    }
    for name in ran.unwrap_or_default() {
        output::print(&format!("ran {name}\n"));
    }
    let store = settings.store.to_string();
    output::print(&format!("{} is up to date\n", output::tame(&store)));
    Ok(())
}
