//! `examples/deploy`, the files that operators copy: what they set exists in the program, their times fit together, and
//! those who read them accept them.

mod kubernetes;
#[cfg(feature = "postgres")]
mod nginx;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use matssocket::Config;
use serde_json::Value;

use super::{matssocket, said};
use matssocket_testing::program::run;

/// Where the files expect the program.
const PROGRAM: &str = "/usr/local/bin/matssocket";

fn file(name: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/deploy");
    fs::read_to_string(directory.join(name)).expect("a file of the repository")
}

/// The settings with which a file starts the program, as the program understands them.
struct Settings(Value);

impl Settings {
    /// Fails if a variable is not one of the program's, as a misspelt one would be.
    fn of(command: &[&str], environment: &BTreeMap<String, String>) -> Settings {
        let (program, arguments) = command.split_first().expect("a program");
        assert_eq!(*program, PROGRAM);
        let directory = tempfile::tempdir().expect("a directory");
        let arguments = [arguments, &["--print-config", "--json"]].concat();
        let printed = said(&run(
            matssocket(directory.path(), &arguments).envs(environment)
        ));
        let settings: Value = serde_json::from_str(&printed).expect("JSON");
        for variable in environment.keys() {
            let from = format!("the environment, {variable}");
            let mut all = settings.as_object().expect("settings").values();
            assert!(
                all.any(|it| it["from"] == *from),
                "{variable} sets nothing: {printed}"
            );
        }
        Settings(settings)
    }

    fn text(&self, key: &str) -> &str {
        self.0[key]["value"].as_str().expect("it has a value")
    }

    fn time(&self, key: &str) -> Duration {
        time(self.text(key))
    }

    /// How long a stop may take if the database does not answer: what the settings give it, once more `stop_grace` for
    /// closing the store, and the steps whose time is limited in the server.
    fn longest_stop(&self) -> Duration {
        const LEAVING_THE_CLUSTER: Duration = Duration::from_secs(5 + 1);
        self.time("stop_delay")
            + self.time("stop_spread")
            + 2 * self.time("stop_grace")
            + Config::default().close_timeout
            + LEAVING_THE_CLUSTER
    }
}

/// A time such as `10s`.
fn time(text: &str) -> Duration {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number = number.parse().expect("a number");
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "min" => Duration::from_secs(60 * number),
        _ => panic!("{text:?} is no time"),
    }
}
