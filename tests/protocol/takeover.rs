//! Two connections for one session: exactly one survives, and nothing is lost.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::mpsc;

use matssocket_testing::control::holder_of;
use matssocket_testing::*;

#[actix_web::test]
async fn the_newer_connection_wins_and_the_older_is_told() {
    let nodes = Nodes::two().await;
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut old = nodes.open_on(from, "anna").await;
        nodes
            .server()
            .send(old.session(), "t", "client.x", &"unacknowledged")
            .await
            .unwrap();
        let mail = old.expect("SEND").await;
        let mut new = nodes.back(to, old.client.clone()).await;
        // The old one's Close went out before WELCOME, so it is there already.
        let told = tokio::time::timeout(Duration::from_millis(500), old.expect_close(4003)).await;
        let reason = told.expect("the old connection is closed before WELCOME");
        assert!(reason.contains("same MatsSocketSessionId"), "{reason}");
        assert_eq!(new.expect("SEND").await["smid"], mail["smid"]);
        new.ack(&mail).await;
        assert_eq!(
            holder_of(nodes.server(), new.session()).await,
            Some(nodes[to].server.node_name())
        );
        nodes.control.event("reconnect", new.session()).await;
        let session = new.session().to_owned();
        assert_eq!(
            nodes
                .control
                .all(|s| s.session == session && s.what == "session:deregister")
                .len(),
            0,
            "{from}→{to}"
        );
    }
}

/// The old connection's Close came late, after the new one had registered, and took the session from it: messages
/// waited until the next reconnect.
#[actix_web::test]
async fn a_late_close_of_the_old_connection_does_not_deregister_the_new_one() {
    let nodes = Setup::new()
        .config(|config| config.close_timeout = Duration::from_millis(200))
        .start(2)
        .await;
    for (from, to) in [(0, 0), (0, 1)] {
        let old = nodes.open_on(from, "anna").await;
        // The old one does not read: it never answers the Close, and at last its line breaks.
        let mut new = nodes.back(to, old.client.clone()).await;
        tokio::time::sleep(Duration::from_millis(300)).await; // the fault lasts longer than the close time-out
        drop(old.reset());
        for number in 0..20 {
            nodes[number % 2]
                .server
                .send(new.session(), "t", "client.x", &number)
                .await
                .unwrap();
            let mail = new.expect("SEND").await;
            assert_eq!(mail["msg"], number);
            new.ack(&mail).await;
        }
        assert_eq!(
            holder_of(nodes.server(), new.session()).await,
            Some(nodes[to].server.node_name())
        );
    }
}

/// Reads a line to its end; tells of each message, and at last of the Close.
fn watch(number: usize, mut line: Line, tell: mpsc::UnboundedSender<(usize, Result<Value, u16>)>) {
    actix_web::rt::spawn(async move {
        while line.read().await.is_ok() {
            for envelope in line
                .received
                .drain(..)
                .filter(|envelope| envelope["t"] == "SEND")
            {
                let _ = tell.send((number, Ok(envelope["msg"].clone())));
            }
        }
        let _ = tell.send((number, Err(line.close().await.0)));
    });
}

#[actix_web::test]
async fn of_many_connections_at_once_exactly_one_survives() {
    let nodes = Nodes::two().await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let first = nodes.open("anna").await;
    let client = first.client.clone();
    watch(0, first, tell.clone());
    let mut number = 0;
    let mut open: HashSet<usize> = HashSet::from([0]);
    for round in 0..5 {
        let mut lines = Vec::new();
        for node in 0..8 {
            lines.push(client.clone().connect(&nodes[node % 2].url).await);
        }
        for mut line in lines {
            let hello = line.client.hello();
            line.send(json!([hello])).await;
            number += 1;
            open.insert(number);
            watch(number, line, tell.clone());
        }
        while open.len() > 1 {
            let (line, said) = within("all but one to be closed", told.recv())
                .await
                .unwrap();
            if let Err(code) = said {
                assert_eq!(code, 4003);
                assert!(open.remove(&line));
            }
        }
        nodes[round % 2]
            .server
            .send(&client.session, "t", "client.x", &round)
            .await
            .unwrap();
        loop {
            let (line, said) = within("the message", told.recv()).await.unwrap();
            assert!(open.contains(&line), "{line} said {said:?} after all");
            if said.expect("the last one stays open") == round {
                break;
            }
        }
        assert!(holder_of(nodes.server(), &client.session).await.is_some());
    }
}
