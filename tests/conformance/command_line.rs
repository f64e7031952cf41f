//! How the conformance server starts and stops.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use matssocket_testing::program::{Program, Server, assert_refused, conformance, run};

fn with(arguments: &[&str]) -> Command {
    let mut command = conformance();
    command.args(arguments);
    command
}

#[test]
fn bad_arguments_are_refused_in_one_line() {
    for (arguments, contains) in [
        (&["--ports", "80x"][..], &["80x"][..]),
        (&["--ports", "8080,8080"], &["8080", "twice"]),
        (&["--unknown"], &["--unknown"]),
        (&["--ports"], &["--ports"]),
        (&["--node", "a"], &["--port"]),
        #[cfg(not(feature = "postgres"))]
        (
            &["--database", "postgres://localhost/x"],
            &["--features postgres"],
        ),
        (&["--database", "mysql://localhost/x"], &["mysql"]),
        (
            &["--ports", "0", "--database", "/does/not/exist/x.db"],
            &["/does/not/exist"],
        ),
    ] {
        assert_refused(&run(&mut with(arguments)), contains);
    }
}

#[test]
fn a_taken_port_is_refused_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    assert_refused(
        &run(&mut with(&["--ports", &format!("0,{port}")])),
        &[&port, "in use"],
    );
}

#[test]
fn a_named_node_on_a_kept_database_that_is_emptied_on_demand() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = format!("sqlite://{}/kept.db", directory.path().display());
    let arguments = ["--node", "blue", "--port", "0", "--database", &database];
    let mut program = Program::start(&mut with(&arguments));
    let line = program.line();
    assert!(line.contains("node=blue"), "{line}");
    let fresh = [&arguments[..], &["--fresh"]].concat();
    assert_refused(&run(&mut with(&fresh)), &["kept.db"]);
    assert_eq!(program.end("TERM").code(), Some(0));
    assert!(directory.path().join("kept.db").exists());
    let mut again = Program::start(&mut with(&fresh));
    again.line();
    assert_eq!(again.end("TERM").code(), Some(0));
}

#[test]
fn a_database_in_use_is_refused_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("shared.db").display().to_string();
    let arguments = ["--ports", "0", "--database", &database];
    let mut program = Program::start(&mut with(&arguments));
    program.line();
    assert_refused(&run(&mut with(&arguments)), &["shared.db", "in use"]);
}

#[test]
fn it_listens_on_both_loopback_addresses() {
    let server = Server::start();
    let port = server.ports[0];
    TcpStream::connect(("127.0.0.1", port)).expect("IPv4");
    // A machine may have no IPv6.
    if TcpListener::bind("[::1]:0").is_ok() {
        TcpStream::connect(("::1", port)).expect("IPv6");
    }
}

#[test]
fn sigterm_and_sigint_stop_it_cleanly() {
    for signal in ["TERM", "INT"] {
        assert_eq!(Server::start().program.end(signal).code(), Some(0));
    }
}
