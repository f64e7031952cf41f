use std::path::Path;

use matssocket_wire::MessageType::{Ack, Ack2, Hello, Request as Req, Resolve, Send as Message_};

use super::*;

const OWNER: &str = "me at mock";

async fn builder_with(mock: &Mock, path: &Path) -> ClientBuilder {
    builder(mock).journal(open(path).await)
}

/// The journal of a process that has just ended may be open for a moment.
async fn open(path: &Path) -> Journal {
    let opened = async {
        loop {
            match Journal::open(path, OWNER).await {
                Err(JournalError::InUse { .. }) => {
                    tokio::time::sleep(Duration::from_millis(5)).await
                }
                other => return other.unwrap(),
            }
        }
    };
    in_time(opened).await
}

fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("client.journal");
    (directory, path)
}

/// As the end of a process: nothing is said to the server.
async fn kill(client: Client, line: Line) {
    drop(line);
    drop(client);
}

#[tokio::test]
async fn what_was_not_acknowledged_goes_again_in_the_same_session() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let (client, mut line) = established_with(builder_with(&mock, &path).await, &mock).await;
    let mut first = client.send("t1", "E", &1);
    in_time(first.stored()).await.unwrap();
    let mut second = client.send("t2", "E", &2);
    in_time(second.stored()).await.unwrap();
    let sent = line.next(Message_).await.cmid.unwrap();
    let other = line.next(Message_).await.cmid.unwrap();
    line.send(&format!(r#"[{{"t":"ACK","cmid":"{sent}"}}]"#))
        .await;
    in_time(first).await.unwrap();
    assert_eq!(line.next(Ack2).await.cmid, Some(sent));
    kill(client, line).await;

    let journal = open(&path).await;
    assert_eq!(journal.last_trace_id(), Some("t2"));
    let client = builder(&mock).journal(journal).start().unwrap();
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
    let again = line.next(Message_).await;
    assert_eq!(again.cmid.as_ref(), Some(&other));
    drop(client.send("t3", "E", &3));
    let third = line.next(Message_).await.cmid.unwrap();
    let random = |id: &str| id.split_once('-').unwrap().0.to_owned();
    assert_ne!(
        random(&third),
        random(&other),
        "each process has ids of its own"
    );
    line.send(&format!(r#"[{{"t":"ACK","ids":["{other}","{third}"]}}]"#))
        .await;
    in_time(client.flush()).await.unwrap();
    assert!(in_time(client.unresolved()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_message_whose_handler_did_not_finish_is_handled_again() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let client = builder_with(&mock, &path).await.build().unwrap();
    client.terminator("Done", |_: Message<u32>| async {});
    client.terminator("Hangs", |_: Message<u32>| std::future::pending::<()>());
    client.reconnect();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.send(r#"[{"t":"SEND","smid":"a","eid":"Done","msg":1},{"t":"SEND","smid":"b","eid":"Hangs","msg":2}]"#).await;
    line.send(r#"[{"t":"SEND","smid":"c","eid":"Hangs","msg":3}]"#)
        .await;
    let mut acknowledged = 0;
    while acknowledged < 3 {
        let ack = line.next(Ack).await;
        acknowledged += ack.ids.map_or(1, |ids| ids.len());
    }
    // The hanging worker holds the client's state, as a process that is being killed: the file is copied as it is.
    let copy = path.with_extension("copy");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(
        path.with_extension("journal-wal"),
        path.with_extension("copy-wal"),
    )
    .unwrap();
    kill(client, line).await;

    let client = builder_with(&mock, &copy).await.build().unwrap();
    let (sender, mut handled) = mpsc::unbounded_channel();
    client.terminator("Hangs", move |message: Message<u32>| {
        let sender = sender.clone();
        async move {
            let _ = sender.send((message.payload, message.redelivered));
        }
    });
    client.reconnect();
    for expected in [(2, true), (3, true)] {
        assert_eq!(in_time(handled.recv()).await, Some(expected));
    }
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    // The server has not heard the acknowledgement: the message is not handled a second time.
    line.send(r#"[{"t":"SEND","smid":"c","eid":"Hangs","msg":3},{"t":"SEND","smid":"d","eid":"Hangs","msg":4}]"#).await;
    assert_eq!(in_time(handled.recv()).await, Some((4, false)));
}

#[tokio::test]
async fn a_reply_comes_to_the_next_process() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let (client, mut line) = established_with(builder_with(&mock, &path).await, &mock).await;
    let asked = client.request_with("t", "E", &1, "Placed", "basket 17");
    let cmid = line.next(Req).await.cmid.unwrap();
    line.send(&format!(r#"[{{"t":"ACK","cmid":"{cmid}"}}]"#))
        .await;
    in_time(asked).await.unwrap();
    line.next(Ack2).await;
    kill(client, line).await;

    let client = builder_with(&mock, &path).await.build().unwrap();
    let (sender, mut replies) = mpsc::unbounded_channel();
    client.reply_terminator("Placed", move |placed: Correlated<u32, String>| {
        let sender = sender.clone();
        async move {
            drop(sender.send((
                placed.reply.resolved().unwrap(),
                placed.correlation,
                placed.request_id,
            )))
        }
    });
    client.reconnect();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.send(&format!(
        r#"[{{"t":"RESOLVE","smid":"r","cmid":"{cmid}","msg":42}}]"#
    ))
    .await;
    assert_eq!(
        in_time(replies.recv()).await,
        Some((42, "basket 17".to_owned(), cmid))
    );
    assert_eq!(line.next(Ack).await.smid.as_deref(), Some("r"));
}

#[tokio::test]
async fn the_reply_of_an_endpoint_is_kept_with_the_end_of_the_request() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let client = builder_with(&mock, &path).await.build().unwrap();
    client.endpoint("Stock", |_: Message<u32>| async { Ok::<_, ()>(17) });
    client.reconnect();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.send(r#"[{"t":"REQUEST","smid":"q","eid":"Stock","msg":1}]"#)
        .await;
    let reply = line.next(Resolve).await;
    kill(client, line).await;

    let client = builder_with(&mock, &path).await.start().unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    let again = line.next(Resolve).await;
    assert_eq!((again.cmid, again.smid), (reply.cmid, reply.smid));
    drop(client);
}

#[tokio::test]
async fn with_the_session_gone_only_what_was_never_sent_goes_out() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let (client, mut line) = established_with(builder_with(&mock, &path).await, &mock).await;
    let mut sent = client.send("sent", "E", &1);
    in_time(sent.stored()).await.unwrap();
    line.next(Message_).await;
    drop((sent, line));
    // This line never gets as far as WELCOME.
    let line = mock.accept().await;
    let mut unsent = client.send("unsent", "E", &2);
    in_time(unsent.stored()).await.unwrap();
    drop(unsent);
    kill(client, line).await;

    let client = builder_with(&mock, &path).await.start().unwrap();
    let mut line = mock.accept().await;
    assert_eq!(line.next(Hello).await.sid.as_deref(), Some("S1"));
    line.close(4001, "lost").await;
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S2").await.sid, None);
    assert_eq!(line.next(Message_).await.tid.as_deref(), Some("unsent"));
    let failed = in_time(client.unresolved()).await.unwrap();
    let [failed] = &failed[..] else {
        panic!("one: {failed:?}");
    };
    assert_eq!(
        (&failed.trace_id[..], failed.perhaps_handled),
        ("sent", true)
    );
    in_time(client.forget(failed)).await.unwrap();
    assert!(in_time(client.unresolved()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_journal_is_one_clients() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let journal = open(&path).await;
    let text = Journal::open(&path, OWNER).await.unwrap_err().to_string();
    assert!(text.contains("client.journal is in use"), "{text}");
    drop(builder(&mock).journal(journal).build().unwrap());
    in_time(async {
        while let Err(JournalError::InUse { .. }) = Journal::open(&path, OWNER).await {}
    })
    .await;

    let other = async || loop {
        match Journal::open(&path, "somebody else").await {
            Err(JournalError::InUse { .. }) => {}
            other => return other.unwrap_err().to_string(),
        }
    };
    let text = in_time(other()).await;
    assert!(
        text.contains("belongs to \"me at mock\", not to \"somebody else\""),
        "{text}"
    );
    let app = Client::builder("Other", "1.0")
        .url(&mock.url)
        .journal(open(&path).await);
    let text = app.build().unwrap_err().to_string();
    assert!(
        text.contains("application \"App\", not to \"Other\""),
        "{text}"
    );
    let server = Client::builder("App", "1.0")
        .url("ws://elsewhere/")
        .journal(open(&path).await);
    let text = server.build().unwrap_err().to_string();
    assert!(
        text.contains("belongs to the servers ws://127.0.0.1"),
        "{text}"
    );
    let foreign = path.with_extension("txt");
    std::fs::write(
        &foreign,
        "not a database, but a letter, and a long one at that".repeat(40),
    )
    .unwrap();
    let text = Journal::open(&foreign, OWNER)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("client.txt is not a journal"), "{text}");
}

#[tokio::test]
async fn a_full_disk_fails_the_message_and_nothing_else() {
    let (_directory, path) = scratch();
    let mock = Mock::start().await;
    let (client, mut line) = established_with(builder_with(&mock, &path).await, &mock).await;
    let mut fits = client.send("t0", "E", "fits");
    in_time(fits.stored()).await.unwrap();
    client.fill_journal(true);
    let large = "x".repeat(1 << 20);
    let failed = in_time(client.send("t1", "E", &large)).await.unwrap_err();
    assert!(matches!(failed, SendError::Storage(_)), "{failed}");
    let mut received = listen(&client, "T");
    line.send(&format!(
        r#"[{{"t":"SEND","smid":"a","eid":"T","msg":"{large}"}}]"#
    ))
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(received.try_recv().is_err(), "it is not stored");
    client.fill_journal(false);
    assert_eq!(in_time(received.recv()).await, Some(json!(large)));
    assert_eq!(line.next(Ack).await.smid.as_deref(), Some("a"));
    in_time(client.send("t2", "E", "there is room").stored())
        .await
        .unwrap();
    kill(client, line).await;

    let client = builder_with(&mock, &path).await.start().unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    for expected in ["t0", "t2"] {
        assert_eq!(line.next(Message_).await.tid.as_deref(), Some(expected));
    }
    drop(client);
}
