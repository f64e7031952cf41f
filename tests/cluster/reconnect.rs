//! Lines cut at every step of a message, and sessions that move while their handlers run.

use std::time::Duration;

use matssocket_testing::*;

/// How far a request has come when its line is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// The bytes were written; nobody knows what became of them.
    Sent,
    /// The handler runs, and ends while the line is down.
    Handling,
    /// The handler runs, and ends after the session is back.
    HandlingStill,
    /// The answer was received, its ACK2 not sent.
    Answered,
    /// ACK2 was sent.
    Acknowledged,
}

const CUTS: [Cut; 5] = [
    Cut::Sent,
    Cut::Handling,
    Cut::HandlingStill,
    Cut::Answered,
    Cut::Acknowledged,
];

async fn wait_for_deregister(nodes: &Nodes, session: &str, before: usize) {
    nodes
        .control
        .events("deregister", session, before + 1)
        .await;
}

fn deregisters(nodes: &Nodes, session: &str) -> usize {
    nodes
        .control
        .all(|seen| seen.what == "session:deregister" && seen.session == session)
        .len()
}

/// One request with an effect (a message that its handler sends), cut once, continued on `back`.
async fn request_through(nodes: &Nodes, back: usize, cut: Cut, decision: &str, reset: bool) {
    let what = format!("{cut:?}, back on {back}, {decision}");
    let mut line = nodes.open_on(0, "anna").await;
    let cmid = line.next_cmid();
    let tid = line.tid(&cmid);
    let waits = matches!(cut, Cut::Handling | Cut::HandlingStill);
    let gate = format!("gate {tid}");
    let msg = if waits {
        json!({"do": decision, "gate": gate})
    } else {
        json!({"do": decision})
    };
    let envelope = line.envelope("REQUEST", &cmid, "test.effect", msg);
    line.send(json!([envelope])).await;
    match cut {
        Cut::Sent => {}
        Cut::Handling | Cut::HandlingStill => drop(nodes.control.called(&tid).await),
        Cut::Answered | Cut::Acknowledged => {
            let answer = line.expect_id("RESOLVE", &cmid).await;
            if cut == Cut::Acknowledged {
                let smid = answer
                    .get("smid")
                    .map(|smid| json!({"t": "ACK", "smid": smid}));
                line.send(Value::Array(
                    std::iter::once(json!({"t": "ACK2", "cmid": cmid}))
                        .chain(smid)
                        .collect(),
                ))
                .await;
                line.barrier().await;
            }
        }
    }
    let session = line.session().to_owned();
    let before = deregisters(nodes, &session);
    let client = if reset { line.reset() } else { line.cut() };
    wait_for_deregister(nodes, &session, before).await;
    if cut == Cut::Handling {
        nodes.control.open(&gate, 1);
    }
    let mut line = nodes.back(back, client).await;
    if cut != Cut::Acknowledged {
        // Not acknowledged, so the client sends it again.
        line.send(json!([envelope])).await;
        if cut == Cut::HandlingStill {
            nodes
                .control
                .wait("a second call", 1, |seen| seen.tid == tid)
                .await;
        }
        nodes.control.open(&gate, 10);
        let answer = line.expect_id("RESOLVE", &cmid).await;
        assert!(answer.to_string().contains(decision), "{what}: {answer}");
    }
    let effect = line
        .expect_where(&format!("the effect ({what})"), |e| {
            e["t"] == "SEND" && e["tid"] == tid
        })
        .await;
    line.ack(&effect).await;
    // Everything that an unwanted second run would have sent stands before this marker.
    nodes
        .server()
        .send(&session, "marker", "client.marker", &1)
        .await
        .unwrap();
    let next = line.expect("SEND").await;
    assert_eq!(next["tid"], "marker", "the effect came twice: {what}");
    line.leave(4000).await;
}

#[actix_web::test]
async fn a_request_survives_a_cut_at_every_step_with_its_effects_once() {
    let nodes = Nodes::two().await;
    for cut in CUTS {
        for back in [0, 1] {
            request_through(&nodes, back, cut, "resolve", back == 0).await;
        }
    }
}

#[actix_web::test]
async fn a_forwarded_request_survives_a_cut_at_every_step_with_its_effects_once() {
    let nodes = Nodes::two().await;
    for cut in CUTS {
        for back in [0, 1] {
            request_through(&nodes, back, cut, "forward", back == 1).await;
        }
    }
}

/// A line cut right behind what was written leaves the server anywhere between reading and answering.
#[actix_web::test]
async fn requests_on_a_line_that_breaks_again_and_again_are_handled_once() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let session = line.session().to_owned();
    let mut open: Vec<Value> = Vec::new();
    for round in 0..30 {
        for _ in 0..5 {
            let cmid = line.next_cmid();
            open.push(line.envelope("REQUEST", &cmid, "test.effect", json!({})));
        }
        line.send(Value::Array(open.clone())).await;
        // Read as many answers as the round says, then cut.
        for _ in 0..round % 4 {
            let answer = line.expect("RESOLVE").await;
            open.retain(|envelope| envelope["cmid"] != answer["cmid"]);
            line.send(json!([{"t": "ACK2", "cmid": answer["cmid"]}]))
                .await;
        }
        line = nodes.back((round + 1) % 2, line.cut()).await;
    }
    line.send(Value::Array(open.clone())).await;
    for envelope in &open {
        line.expect_id("RESOLVE", envelope["cmid"].as_str().unwrap())
            .await;
    }
    nodes
        .server()
        .send(&session, "marker", "client.marker", &1)
        .await
        .unwrap();
    let mut effects = std::collections::HashSet::new();
    loop {
        let mail = line.expect("SEND").await;
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        if mail["tid"] == "marker" {
            break;
        }
        assert!(
            effects.insert(mail["tid"].as_str().unwrap().to_owned()),
            "twice: {mail}"
        );
    }
    assert_eq!(effects.len(), 150, "each request had its effect");
}

/// A handler's answer was committed and sent although its session had moved: the client saw two answers, and the
/// effects of both runs.
#[actix_web::test]
async fn a_handler_that_ends_after_its_session_has_moved_changes_nothing() {
    let nodes = Nodes::two().await;
    for back in [0, 1] {
        let mut old = nodes.open_on(0, "anna").await;
        let cmid = old.next_cmid();
        let tid = old.tid(&cmid);
        let envelope = old.envelope("REQUEST", &cmid, "test.effect", json!({"gate": tid}));
        old.send(json!([envelope])).await;
        nodes.control.called(&tid).await;
        // Moved without a cut: the old node learns of it by the take-over.
        let mut new = nodes.back(back, old.client.clone()).await;
        old.expect_close(4003).await;
        assert_eq!(old.waiting("RESOLVE"), 0);
        nodes.control.open(&tid, 1); // The old run ends first …
        new.send(json!([envelope])).await;
        nodes.control.open(&tid, 10); // … then the new one.
        new.expect_id("RESOLVE", &cmid).await;
        let effect = new.expect("SEND").await;
        assert_eq!(effect["tid"], tid);
        new.ack(&effect).await;
        nodes
            .server()
            .send(new.session(), "marker", "client.marker", &1)
            .await
            .unwrap();
        assert_eq!(new.expect("SEND").await["tid"], "marker", "back on {back}");
    }
}

#[actix_web::test]
async fn a_reply_survives_a_cut_and_is_processed_once() {
    let nodes = Nodes::two().await;
    for (back, cut) in [
        (0, Cut::Sent),
        (1, Cut::Sent),
        (0, Cut::Handling),
        (1, Cut::Handling),
        (1, Cut::Answered),
    ] {
        let mut line = nodes.open_on(0, "anna").await;
        let session = line.session().to_owned();
        let tid = format!("{cut:?} {back}");
        let reply_to = matssocket::ReplyTo::terminator("test.reply").correlation_string("c");
        nodes[1]
            .server
            .request(&session, &tid, "client.endpoint", &1, reply_to)
            .await
            .unwrap();
        let request = line.expect("REQUEST").await;
        line.ack(&request).await;
        let msg = if cut == Cut::Handling {
            json!({"gate": tid})
        } else {
            json!({})
        };
        let cmid = line.next_cmid();
        let reply =
            json!({"t": "RESOLVE", "cmid": cmid, "smid": request["smid"], "tid": tid, "msg": msg});
        line.send(json!([reply])).await;
        match cut {
            Cut::Handling => drop(nodes.control.called(&tid).await),
            Cut::Answered => drop(line.expect_id("ACK", &cmid).await),
            _ => {}
        }
        let client = line.cut();
        wait_for_deregister(&nodes, &session, 0).await;
        let mut line = nodes.back(back, client).await;
        line.send(json!([reply])).await;
        nodes.control.open(&tid, 10);
        line.expect_id("ACK", &cmid).await;
        // The terminator's effect came once.
        let effect = line.expect("SEND").await;
        assert_eq!(effect["tid"], tid);
        line.ack(&effect).await;
        nodes
            .server()
            .send(&session, "marker", "client.marker", &1)
            .await
            .unwrap();
        assert_eq!(line.expect("SEND").await["tid"], "marker");
        line.leave(4000).await;
    }
}

#[actix_web::test]
async fn a_push_survives_a_cut_at_every_step() {
    let nodes = Nodes::two().await;
    for back in [0, 1] {
        let mut line = nodes.open_on(0, "anna").await;
        let session = line.session().to_owned();
        let mut cuts = 0;
        // Sent while the line is down.
        let client = line.cut();
        wait_for_deregister(&nodes, &session, cuts).await;
        cuts += 1;
        nodes[1]
            .server
            .send(&session, "down", "client.x", &1)
            .await
            .unwrap();
        line = nodes.back(back, client).await;
        let mail = line.expect("SEND").await;
        assert_eq!(mail["tid"], "down");
        // Received, not acknowledged.
        let client = line.cut();
        wait_for_deregister(&nodes, &session, cuts).await;
        cuts += 1;
        line = nodes.back(back, client).await;
        assert_eq!(line.expect("SEND").await["smid"], mail["smid"]);
        line.ack(&mail).await;
        // Sent, the line broken before it was read; acknowledged, the line broken before ACK2.
        nodes[0]
            .server
            .send(&session, "unread", "client.x", &2)
            .await
            .unwrap();
        let client = line.cut();
        wait_for_deregister(&nodes, &session, cuts).await;
        cuts += 1;
        line = nodes.back(back, client).await;
        let mail = line.expect("SEND").await;
        assert_eq!(
            mail["tid"], "unread",
            "what was acknowledged does not come again"
        );
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        let client = line.cut();
        wait_for_deregister(&nodes, &session, cuts).await;
        line = nodes.back(back, client).await;
        nodes[1]
            .server
            .send(&session, "marker", "client.x", &3)
            .await
            .unwrap();
        let mut next = line.expect("SEND").await;
        if next["smid"] == mail["smid"] {
            line.ack(&next).await;
            next = line.expect("SEND").await;
        }
        assert_eq!(next["tid"], "marker");
        line.leave(4000).await;
    }
}

#[actix_web::test]
async fn nothing_is_lost_while_a_session_wanders_and_is_sent_to() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let session = line.session().to_owned();
    let sender = {
        let servers = [nodes[0].server.clone(), nodes[1].server.clone()];
        async move {
            for number in 0..400 {
                servers[number % 2]
                    .send(&session, "t", "client.x", &number)
                    .await
                    .unwrap();
            }
        }
    };
    let receiver = async {
        let mut next = 0;
        let mut moves = 0;
        while next < 400 {
            let mail = line.expect("SEND").await;
            let number = mail["msg"].as_u64().unwrap();
            assert!(number <= next, "{number} came before {next}");
            if number == next {
                next += 1;
                if next % 40 == 0 {
                    // Taken over without a cut, the last one not acknowledged.
                    moves += 1;
                    let client = line.client.clone();
                    let new = nodes.back(moves % 2, client).await;
                    line = new;
                    continue;
                }
            }
            line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        }
    };
    within("400 messages", async { tokio::join!(sender, receiver) }).await;
}

/// A message stored after the session's registration, but before its node's registry knew of it, was told to nobody:
/// it waited for the next message, or for the sweep.
#[actix_web::test]
async fn what_is_sent_while_a_session_comes_back_is_not_left_behind() {
    let nodes = Setup::new()
        .config(|config| config.ack2_delay = Duration::ZERO)
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    let session = line.session().to_owned();
    for round in 0..200 {
        let old = line;
        let sender = async {
            // As soon as HELLO is about to be registered.
            let authenticated = |seen: &Seen| seen.what == "session:authenticated";
            nodes
                .control
                .wait("authentications", round + 2, authenticated)
                .await;
            nodes[round / 2 % 2]
                .server
                .send(&session, "t", "client.x", &round)
                .await
                .unwrap();
        };
        let (back, ()) = tokio::join!(nodes.back(round % 2, old.client.clone()), sender);
        line = back;
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], round);
        line.ack(&mail).await;
    }
}

/// The same with a Close: a session closed while its client came back lived on in its line.
#[actix_web::test]
async fn a_session_closed_while_it_comes_back_is_closed() {
    let nodes = Nodes::two().await;
    for round in 0..50 {
        let old = nodes.open_on(0, "anna").await;
        let session = old.session().to_owned();
        let close = async {
            for _ in 0..round % 10 {
                tokio::task::yield_now().await;
            }
            assert!(
                nodes[round / 2 % 2]
                    .server
                    .close_session(&session, "bye")
                    .await
                    .unwrap()
            );
        };
        let connect = async {
            let mut line = old.client.clone().connect(&nodes[round % 2].url).await;
            let hello = line.client.hello();
            line.send(json!([hello])).await;
            line.close().await
        };
        let ((code, _), ()) = tokio::join!(connect, close);
        assert!(
            matches!(code, 4000 | 4001),
            "closed with {code} in round {round}"
        );
    }
}

/// A line that broke while its HELLO was handled left a session that was held by nobody: kept alive for ever.
#[actix_web::test]
async fn lines_that_break_during_hello_hold_no_session() {
    let nodes = Nodes::two().await;
    let session = nodes.open("anna").await.cut();
    for round in 0..300 {
        let client = if round % 3 == 0 {
            session.clone()
        } else {
            Client::new(&format!("user{round}"))
        };
        let mut line = client.connect(&nodes[round % 2].url).await;
        let hello = line.client.hello();
        line.send(json!([hello])).await;
        for _ in 0..round % 30 {
            tokio::task::yield_now().await;
        }
        if round % 2 == 0 {
            drop(line.reset())
        } else {
            drop(line.cut())
        }
    }
    let connected = || matssocket::SessionFilter::default().connected_only();
    let mut left = usize::MAX;
    let gone = async {
        while left > 0 {
            left = nodes.server().count_sessions(connected()).await.unwrap() as usize;
        }
    };
    let _ = tokio::time::timeout(PATIENCE / 3, gone).await;
    assert_eq!(left, 0, "sessions that are held by lines long gone");
    assert!(
        nodes[0].server.live_sessions().await.is_empty()
            && nodes[1].server.live_sessions().await.is_empty()
    );
    nodes.back(0, session).await;
}
