//! The `matssocket` program: the demo, and the commands of an operator.

mod demo;
mod operations;

use std::process::ExitCode;

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    match operations::run(std::env::args_os().skip(1).collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("matssocket: {failure}");
            failure.exit_code()
        }
    }
}
