//! `matssocket migrate`.

use serde_json::json;

use super::options::StoreOptions;
use crate::failure::Failure;
use crate::output;

/// Create the store's tables, or bring them up to date
///
/// Servers do this themselves when they start. An SQLite file is open to one process at a time: stop its server first.
#[derive(clap::Args)]
pub struct Migrate {
    /// The application that has this store is called NAME from now on; another one is refused at start
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    rename_app: Option<String>,
    #[command(flatten)]
    options: StoreOptions,
}

impl Migrate {
    /// # Errors
    /// Why the tables are not up to date.
    pub async fn run(self) -> Result<(), Failure> {
        migrate(self.rename_app, self.options).await
    }
}

async fn migrate(rename: Option<String>, options: StoreOptions) -> Result<(), Failure> {
    let asked = options.load()?;
    if asked.server.url.is_some() {
        let why = "migrate works on the store itself, and not by a server: leave out --server (a server migrates when it starts)";
        return Err(Failure::Usage(why.into()));
    }
    let settings = &asked.loaded.settings;
    let ran = settings.migrate().await?;
    let renamed = match &rename {
        Some(name) => Some(asked.open_store().await?.rename_application(name).await?),
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
