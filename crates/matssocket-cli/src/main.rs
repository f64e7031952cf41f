//! The `matssocket` program: the demo, the commands for operators, and types for pages. It uses only the library's public API.

mod command_line;
mod demo;
mod failure;
mod mistake;
mod operations;
mod output;
mod types;

use std::process::ExitCode;

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match command_line::run(std::env::args_os()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("matssocket: {failure}");
            failure.exit_code()
        }
    }
}
