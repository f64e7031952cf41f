//! The demo: two nodes in one process on one SQLite file, and a page that shows what the library promises.

mod demo;

use std::process::ExitCode;

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match demo::run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("matssocket: {why}");
            ExitCode::from(2)
        }
    }
}
