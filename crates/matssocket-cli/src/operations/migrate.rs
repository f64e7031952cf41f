//! `matssocket migrate`.

use lexopt::{Parser, ValueExt};
use serde_json::json;

use super::help::MIGRATE;
use super::{Failure, output};

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let mut rename = None;
    let own = |word: &str, parser: &mut Parser| match word {
        "--rename-app" => {
            rename = Some(parser.value()?.string()?);
            Ok(true)
        }
        _ => Ok(false),
    };
    let Some(asked) = MIGRATE.read(parser, own)? else {
        return Ok(());
    };
    let settings = &asked.loaded.settings;
    let ran = settings.migrate().await?;
    let renamed = match &rename {
        Some(name) => Some(asked.open().await?.rename_application(name).await?),
        None => None,
    };
    if asked.json {
        let mut done = json!({ "store": settings.store.to_string(), "ran": ran });
        if let (Some(before), Some(name)) = (renamed, rename) {
            done["renamed"] = json!({ "from": before, "to": name });
        }
        output::print_json(&done);
        return Ok(());
    }
    for name in ran.unwrap_or_default() {
        output::print(&format!("ran {name}\n"));
    }
    if let (Some(before), Some(name)) = (renamed, rename) {
        let before = before.unwrap_or_default();
        output::print(&format!(
            "the application {:?} is called {:?} now\n",
            output::tame(&before),
            output::tame(&name)
        ));
    }
    let store = settings.store.to_string();
    output::print(&format!("{} is up to date\n", output::tame(&store)));
    Ok(())
}
