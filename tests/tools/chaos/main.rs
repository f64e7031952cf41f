//! Nodes in processes of their own, clients that watch, and faults: checks the library's promises over the whole
//! history of what every client has seen.
//!
//! ```sh
//! cargo run --features postgres,sabotage --example chaos -- run --scenario kill
//! ```
//!
//! [`node`] is what gets killed, with [`pusher`] and its [`journal`]; [`fleet`] starts and kills it. [`client`] is a
//! client that writes its [`history`], [`scenario`] says what is done to the nodes, [`run`] brings all of it together,
//! and [`check`] judges, with what is in the [`database`], which may be [`disturbed`].

mod args;
mod check;
mod client;
mod data;
mod database;
mod disturbed;
mod fleet;
mod history;
mod journal;
mod line;
mod node;
mod pusher;
mod report;
mod run;
mod scenario;
mod steps;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use args::{Command, Run};
use database::Url;
use disturbed::Disturbed;
use matssocket_testing::postgres::Server;
use report::Figures;
use run::Plan;
use scenario::Scenario;

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let done = match args::parse() {
        Command::Node(args) => node::run(args).await.map(|()| true),
        Command::Run(run) => run_all(run).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("chaos: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs the scenarios. True: all promises were kept.
async fn run_all(run: Run) -> Result<bool, String> {
    let mut all: Vec<Figures> = Vec::new();
    let temporary = tempfile::Builder::new().prefix("chaos-").tempdir();
    let temporary = temporary.map_err(|why| why.to_string())?;
    for scenario in &run.scenarios {
        let base = run.directory.clone();
        let directory = base.unwrap_or_else(|| temporary.path().to_owned());
        let directory = directory.join(scenario.name());
        std::fs::create_dir_all(&directory).map_err(|why| why.to_string())?;
        let mut plan = plan(&run, *scenario, directory)?;
        plan.nodes = match (&plan.store, scenario, run.nodes) {
            (Url::Sqlite(_), _, _) | (_, Scenario::Steps, _) => 1,
            (Url::Postgres(_), _, 0) => 3,
            (Url::Postgres(_), _, nodes) => nodes,
        };
        print_plan(&plan, *scenario);
        let figures = match scenario {
            Scenario::Steps => steps::walk(plan).await?,
            _ => run::run(plan, *scenario).await?,
        };
        println!();
        figures.examples.iter().for_each(|what| println!("{what}"));
        all.push(figures);
    }
    print!("\n{}", report::table(&all));
    if let Some(path) = &run.json {
        let text = serde_json::to_string_pretty(&all).map_err(|why| why.to_string())?;
        std::fs::write(path, text).map_err(|why| why.to_string())?;
    }
    let kept = all.iter().all(|figures| figures.broken() == 0);
    if !kept && run.directory.is_none() {
        println!("logs and journals are in {}", temporary.keep().display());
    }
    Ok(kept)
}

/// What a scenario is run with: its database is started, unless there is one.
fn plan(run: &Run, scenario: Scenario, directory: PathBuf) -> Result<Plan, String> {
    let mut plan = Plan {
        run: run.clone(),
        nodes: 0,
        store: Url::Postgres(String::new()),
        store_of_nodes: None,
        directory,
        server: None,
        disturbed: None,
    };
    match (&run.store, scenario.disturbs_the_database()) {
        (Some(_), true) => {
            return Err(format!(
                "the scenario {} needs a database of its own: leave out --store",
                scenario.name()
            ));
        }
        (Some(store), false) => plan.store = store.clone(),
        (None, true) => {
            let disturbed = Arc::new(Disturbed::start());
            plan.store = disturbed.url();
            plan.store_of_nodes = Some(disturbed.url_of_nodes());
            plan.disturbed = Some(disturbed);
        }
        (None, false) => {
            let server = Arc::new(Server::new(true));
            plan.store = Url::Postgres(server.url());
            plan.server = Some(server);
        }
    }
    Ok(plan)
}

fn print_plan(plan: &Plan, scenario: Scenario) {
    let config = node::config(plan.lease);
    println!(
        "{}: {} node(s) on {}, {} clients; lease {:?}, renewed every {:?}; sweep every {:?}; forwarded work looked for \
        every {:?}",
        scenario.name(),
        plan.nodes,
        plan.store.kind(),
        plan.clients,
        config.lease,
        config.lease_interval,
        config.sweep_interval,
        config.takeover_interval,
    );
}
