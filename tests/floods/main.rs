//! Clients that mean harm, by silence, speed or size: the memory of the node stays flat and others are served.
//!
//! Without the guard, a flood of empty fragments took a plain actix-web-actors handler from 9 MiB to 4 GiB in 10 s.
#![cfg(target_os = "linux")]

mod raw;
mod target;

use std::io::Write;
use std::time::Duration;

use matssocket_testing::child::serve_if_child;
use matssocket_testing::*;

use self::raw::{Raw, announced, frame};
use self::target::Target;

/// How much a node's resident memory may grow under a flood, in MiB.
const GROWTH: f64 = 20.0;
const MIB: usize = 1 << 20;
/// How long a flood lasts, if the server lets it: longer than HELLO may take and an answer to its Close.
const FLOOD: Duration = Duration::from_secs(10);

#[test]
fn child() {
    serve_if_child();
}

#[actix_web::test]
async fn empty_continuation_frames() {
    let target = Target::start().await;
    for hello in [false, true] {
        let ended = target
            .under(move |address| {
                let mut raw = if hello {
                    Raw::hello(address, "flood").0
                } else {
                    Raw::connect(address)
                };
                raw.stream.write_all(&frame(0x01, b"")).unwrap();
                raw.flood(&frame(0x00, b"").repeat(5_000))
            })
            .await;
        assert!(
            ended,
            "the server ends such a connection (after HELLO: {hello})"
        );
    }
}

#[actix_web::test]
async fn websocket_pings() {
    let target = Target::start().await;
    for hello in [false, true] {
        let ended = target
            .under(move |address| {
                let mut raw = if hello {
                    Raw::hello(address, "flood").0
                } else {
                    Raw::connect(address)
                };
                raw.flood(&frame(0x89, &[b'p'; 100]).repeat(500))
            })
            .await;
        assert!(
            ended,
            "the server ends such a connection (after HELLO: {hello})"
        );
    }
}

/// Never reading, a client freezes its connection actor, which cannot even close itself: the session must let go.
#[actix_web::test]
async fn a_client_that_never_reads_what_is_pushed() {
    let target = Target::start().await;
    let address = target.process.address;
    let (raw, session) = tokio::task::spawn_blocking(move || Raw::hello(address, "deaf"))
        .await
        .unwrap();
    const MANY: usize = 300;
    for _ in 0..MANY {
        assert!(
            target
                .get(&format!("/big/{session}/100000"))
                .await
                .contains("Ok")
        );
    }
    let grown = target.process.resident() - target.before;
    assert!(grown < GROWTH, "the memory grew by {grown:.1} MiB");
    target.detached(&session).await;
    let grown = target.process.resident() - target.before;
    assert!(grown < GROWTH, "the memory grew by {grown:.1} MiB");
    // Its messages are kept.
    let mut client = Client::new("deaf");
    client.session = session;
    let mut line = client.welcome(&target.process.url).await;
    for _ in 0..MANY {
        let mail = line.expect("SEND").await;
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
    }
    drop(raw);
}

#[actix_web::test]
async fn a_client_that_asks_and_never_reads() {
    let target = Target::start().await;
    for text in [
        "[{\"t\":\"PING\",\"x\":\"0123456789\"}]".to_owned(),
        json!([{"t": "REQUEST", "eid": "test.do", "tid": "t", "cmid": "1", "msg": "x".repeat(10_000)}]).to_string(),
    ] {
        let session = target
            .under(move |address| {
                let (mut raw, session) = Raw::hello(address, "deaf");
                raw.deaf = true;
                raw.flood(&frame(0x81, text.as_bytes()).repeat(100));
                (raw, session)
            })
            .await;
        target.detached(&session.1).await;
    }
}

/// Each repeat of a message is answered with its stored answer: 60 bytes in brought a mebibyte into memory.
#[actix_web::test]
async fn repeats_of_a_message_with_a_big_answer() {
    let target = Target::start().await;
    let session = target
        .under(|address| {
            let (mut raw, session) = Raw::hello(address, "deaf");
            raw.deaf = true;
            let request = json!([{"t": "REQUEST", "eid": "test.do", "tid": "t", "cmid": "1", "msg": "x".repeat(1 << 20)}]);
            let request = request.to_string();
            raw.stream.write_all(&announced(request.len() as u64)).unwrap();
            raw.stream.write_all(request.as_bytes()).unwrap();
            raw.read_until(b"RESOLVE");
            let repeat = json!([{"t": "REQUEST", "eid": "test.do", "tid": "t", "cmid": "1"}]).to_string();
            raw.flood(&frame(0x81, repeat.as_bytes()).repeat(100));
            (raw, session)
        })
        .await;
    target.detached(&session.1).await;
}

#[actix_web::test]
async fn many_that_never_say_hello() {
    let target = Target::start().await;
    let codes = target
        .under(|address| {
            let mut raws: Vec<Raw> = (0..200).map(|_| Raw::connect(address)).collect();
            raws.iter_mut().map(Raw::close_code).collect::<Vec<_>>()
        })
        .await;
    assert!(codes.iter().all(|code| *code == Some(1001)), "{codes:?}");
}

#[actix_web::test]
async fn fifty_mebibytes_before_hello() {
    let target = Target::start().await;
    for fragmented in [false, true] {
        let ended = target
            .under(move |address| {
                let mut raw = Raw::connect(address);
                if fragmented {
                    raw.stream.write_all(&frame(0x01, &[b'x'; 60_000])).ok();
                    raw.flood(&frame(0x00, &[b'x'; 60_000]))
                } else {
                    raw.stream.write_all(&announced(50 * 1024 * 1024)).unwrap();
                    raw.flood(&[b'x'; 60_000])
                }
            })
            .await;
        assert!(
            ended,
            "the server ends such a connection (fragmented: {fragmented})"
        );
    }
}

/// Forty connections, each with a frame of 50 MiB of which one byte does not come, once took 3.9 GiB under a budget of
/// 512 MiB, be it one user's or several users'.
#[actix_web::test]
async fn unfinished_frames() {
    const FRAME: usize = 49 * MIB;
    for users in [1, 10] {
        let target = Target::start().await;
        // A user's share; what all have for what comes in.
        let most = if users == 1 { 128.0 } else { 192.0 };
        let taken = target
            .under_with(most * 1.2, move |address| {
                let connections: Vec<_> = (0..40)
                    .map(|number| {
                        let mut raw = Raw::hello(address, &format!("u{}", number % users)).0;
                        std::thread::spawn(move || {
                            raw.stream.write_all(&announced(FRAME as u64)).unwrap();
                            let taken = raw.write_what_is_taken(&vec![b' '; FRAME - 1]);
                            (taken, raw)
                        })
                    })
                    .collect();
                let taken = connections.into_iter().map(|it| it.join().unwrap());
                // None of them is closed before all were tried.
                taken.collect::<Vec<_>>()
            })
            .await;
        let whole = taken
            .iter()
            .filter(|(bytes, _)| *bytes == FRAME - 1)
            .count();
        assert_eq!(whole, if users == 1 { 2 } else { 3 });
    }
}

#[actix_web::test]
async fn unfinished_fragments() {
    let target = Target::start().await;
    let codes = target
        .under_with(128.0 * 1.2, |address| {
            let connections: Vec<_> = (0..40)
                .map(|_| {
                    let mut raw = Raw::hello(address, "greedy").0;
                    std::thread::spawn(move || {
                        raw.stream.write_all(&frame(0x01, &[b' '; 60_000])).ok();
                        raw.write_what_is_taken(&frame(0x00, &[b' '; 60_000]).repeat(200));
                        raw.close_code()
                    })
                })
                .collect();
            let codes = connections.into_iter().map(|it| it.join().unwrap());
            codes.collect::<Vec<_>>()
        })
        .await;
    assert!(codes.contains(&Some(4002)), "{codes:?}");
    assert!(
        codes.iter().all(|it| matches!(it, None | Some(4002))),
        "{codes:?}"
    );
}

/// Sessions that come back at once, each with a backlog, and clients that do not read it.
#[actix_web::test]
async fn backlogs_of_clients_that_do_not_read() {
    const SESSIONS: usize = 40;
    const NODE: usize = 64 * MIB;
    let target = Target::start_with(NODE).await;
    let address = target.process.address;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let user = format!("deaf{}", number % 4);
        let opened = tokio::task::spawn_blocking(move || Raw::hello(address, &user).1);
        sessions.push(opened.await.unwrap());
    }
    for session in &sessions {
        target.detached(session).await;
        for _ in 0..40 {
            assert!(
                target
                    .get(&format!("/big/{session}/100000"))
                    .await
                    .contains("Ok")
            );
        }
    }
    let before = target.process.resident() - target.before;
    println!("the memory grew by {before:.1} MiB while messages were stored");
    let most = 1.2 * (NODE / MIB) as f64;
    target
        .under_with(most, move |address| {
            let back = |(number, session): (usize, &String)| {
                let mut client = Client::new(&format!("deaf{}", number % 4));
                client.session = session.clone();
                let mut raw = Raw::connect(address);
                let hello = json!([client.hello()]).to_string();
                raw.stream
                    .write_all(&frame(0x81, hello.as_bytes()))
                    .unwrap();
                raw
            };
            let raws: Vec<_> = sessions.iter().enumerate().map(back).collect();
            std::thread::sleep(Duration::from_secs(3)); // they do not read
            raws
        })
        .await;
}

#[actix_web::test]
async fn an_announced_frame_of_a_tebibyte() {
    let target = Target::start().await;
    for hello in [false, true] {
        let (code, session) = target
            .under(move |address| {
                let (mut raw, session) = if hello {
                    Raw::hello(address, "flood")
                } else {
                    (Raw::connect(address), String::new())
                };
                raw.stream.write_all(&announced(1 << 40)).unwrap();
                let mut flooding = Raw {
                    stream: raw.stream.try_clone().unwrap(),
                    deaf: true,
                };
                let reader = std::thread::spawn(move || raw.close_code());
                flooding.flood(&[b'x'; 60_000]);
                (reader.join().unwrap(), session)
            })
            .await;
        assert_eq!(code, Some(if hello { 1009 } else { 1008 }));
        if hello {
            target.detached(&session).await;
        }
    }
}
