//! The examples for users do what their headers say, run as their users run them.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Long enough for a busy machine; nobody waits so long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// An example that runs, killed at the end of its test.
struct Example {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Example {
    fn start(name: &str, arguments: &[&str], directory: &TempDir) -> Example {
        let mut child = Command::new(path(name))
            .args(arguments)
            .env("TMPDIR", directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example was built");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                println!("| {line}");
                let _ = sender.send(line);
            }
        });
        Example {
            input: child.stdin.take(),
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Types a line.
    fn type_in(&mut self, line: &str) {
        let input = self.input.as_mut().expect("stdin is open");
        writeln!(input, "{line}").expect("the example reads");
    }

    /// Waits for a line that contains this.
    fn line(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => {
                    self.seen.push(line.clone());
                    return line;
                }
                Ok(line) => self.seen.push(line),
                Err(why) => panic!("{why} for {part:?}; so far: {:#?}", self.seen),
            }
        }
    }

    /// Waits for its end, which must be a good one; all that it printed.
    fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut seen = std::mem::take(&mut self.seen);
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            seen.push(line);
        }
        let status = self.child.wait().expect("a child of ours");
        assert!(status.success(), "{status}: {seen:#?}");
        seen
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example, which `cargo test` builds beside the tests.
fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("known");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("examples");
    path.push(name);
    let shown = path.display();
    assert!(
        path.exists(),
        "{shown} is missing: run `cargo build --examples`"
    );
    path
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

#[cfg(feature = "postgres")]
fn database() -> String {
    std::env::var("MATSSOCKET_TEST_POSTGRES").expect(
        "MATSSOCKET_TEST_POSTGRES must be the URL of a PostgreSQL for tests: run ./test, which starts one, or set it",
    )
}

/// The number right before a word.
#[cfg(feature = "postgres")]
fn number_before(line: &str, word: &str) -> usize {
    let (before, _) = line
        .split_once(word)
        .unwrap_or_else(|| panic!("no {word:?} in {line:?}"));
    let number = before
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse().ok());
    number.unwrap_or_else(|| panic!("no number before {word:?} in {line:?}"))
}

#[test]
fn chat() {
    let directory = directory();
    let serve = |port: &str| {
        let mut server = Example::start("chat", &["serve", port], &directory);
        let line = server.line("serving on port ");
        let port = line.rsplit(' ').next().expect("a port").to_owned();
        (server, port)
    };
    let (server, port) = serve("0");
    let mut people = ["anna", "bert"].map(|name| {
        let mut person = Example::start("chat", &["join", name, &port], &directory);
        person.line("(connected)");
        person
    });
    people[0].type_in("hello, bert");
    for person in &mut people {
        person.line("anna: hello, bert");
    }
    // The server crashes; what is typed meanwhile waits.
    drop(server);
    for person in &mut people {
        person.line("(connection lost");
    }
    people[1].type_in("are you there?");
    let (_server, _) = serve(&port);
    for person in &mut people {
        person.line("bert: are you there?");
    }
    people[0].type_in("yes");
    for person in &mut people {
        person.line("anna: yes");
    }
    for person in people {
        let seen = person.end();
        let said: Vec<_> = seen.iter().filter(|line| !line.starts_with('(')).collect();
        assert_eq!(
            said,
            ["anna: hello, bert", "bert: are you there?", "anna: yes"]
        );
    }
}

#[cfg(feature = "postgres")]
#[test]
fn orders() {
    let seen = Example::start("orders", &[&database()], &directory()).end();
    assert!(
        seen.iter().any(|line| line == "node 1 is stopped"),
        "{seen:#?}"
    );
    let end = seen.last().expect("a line");
    assert_eq!(
        end,
        "16 orders were confirmed, 16 are in the table, 16 were announced, 2 of 50 apples are left"
    );
    for name in ["anna", "bert", "carl"] {
        let refused = format!("{name}: there are only 2 apples left");
        assert!(seen.contains(&refused), "{seen:#?}");
    }
}

#[test]
fn carrier() {
    let seen = Example::start("carrier", &[], &directory()).end();
    for line in [
        "letter: the carrier does not answer (attempt 1)",
        "letter: the carrier does not answer (attempt 2)",
        "letter: booked as C-letter",
        "piano: the carrier will call back",
        "piano: booked as C-piano",
        "anvil: the carrier does not answer (attempt 3)",
        "anvil: given up after 3 attempts, please call us",
        "pick-up: acknowledged; now the server stops, with the work undone",
        "pick-up: a new server has done it",
    ] {
        let times = seen.iter().filter(|seen| *seen == line).count();
        assert_eq!(times, 1, "{line:?} in {seen:#?}");
    }
}

#[test]
fn stock_service() {
    let seen = Example::start("stock_service", &[], &directory()).end();
    let place = |line: &str| seen.iter().position(|seen| seen.starts_with(line));
    let reports = [10, 12, 14, 16, 18, 20]
        .map(|apples| place(&format!("shop: the warehouse reports {apples} apples")));
    assert!(reports.iter().all(Option::is_some), "{seen:#?}");
    assert!(reports.is_sorted(), "{seen:#?}");
    for line in [
        "warehouse: a token is needed (First)",
        "warehouse: a token is needed (Expired)",
        // How much depends on how fast this machine is.
        "warehouse: apples cost ",
    ] {
        assert!(place(line).is_some(), "{line:?} in {seen:#?}");
    }
    let counted = seen
        .iter()
        .any(|line| line.ends_with(" apples, says the warehouse"));
    assert!(counted, "{seen:#?}");
    let end = seen.last().expect("a line");
    assert_eq!(end, "warehouse: everything is reported, goodbye");
}

#[cfg(all(feature = "postgres", feature = "browser-client"))]
#[test]
fn shop() {
    let seen = Example::start("shop", &["demonstrate", &database()], &directory()).end();
    for node in [1, 2] {
        let restarted = format!("restarting node {node}");
        assert!(seen.contains(&restarted), "{seen:#?}");
    }
    for name in ["anna", "bert", "carl"] {
        let line = seen
            .iter()
            .find(|line| line.starts_with(name))
            .expect("a line");
        assert!(
            number_before(line, " orders, each paid once on both devices") > 10,
            "{line}"
        );
        assert!(line.ends_with("apples cost 201 now"), "{line}");
    }
}

#[cfg(feature = "postgres")]
#[test]
fn behind_nginx() {
    let seen = Example::start("behind_nginx", &[&database()], &directory()).end();
    for node in ["node-1", "node-2"] {
        assert!(seen.contains(&format!("restarting {node}")), "{seen:#?}");
    }
    let end = seen.last().expect("a line");
    let (requests, answers) = (
        number_before(end, " requests"),
        number_before(end, " answers"),
    );
    assert_eq!(requests, answers, "{end}");
    assert!(requests > 100, "{end}");
    assert!(
        number_before(end, " by node-1") > 0 && number_before(end, " by node-2") > 0,
        "{end}"
    );
}
