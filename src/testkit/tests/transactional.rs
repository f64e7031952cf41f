use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::{SqliteConnection, sql_query};

use super::{alice, builder};
use crate::config::Config;
use crate::endpoint::{Incoming, Outcome};
use crate::error::HandlerError;
use crate::server::ServerBuilder;
use crate::testkit::{Error, Reply, TestClient};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// The application's own table, in the store's database; `Notes.add` inserts, and then ends as its payload says.
fn notes() -> ServerBuilder {
    let config = Config {
        transaction_limit: Duration::from_millis(300),
        ..Config::default()
    };
    builder()
        .config(config)
        .transactional(
            "Notes.create",
            |db: &mut SqliteConnection, _: Incoming<()>| {
                sql_query("CREATE TABLE note (text TEXT NOT NULL)").execute(db)?;
                Ok(Outcome::resolve(()))
            },
        )
        .transactional(
            "Notes.count",
            |db: &mut SqliteConnection, _: Incoming<()>| {
                let counted: Count =
                    sql_query("SELECT count(*) AS count FROM note").get_result(db)?;
                Ok(Outcome::resolve(counted.count))
            },
        )
        .transactional(
            "Notes.add",
            |db: &mut SqliteConnection, how: Incoming<String>| {
                sql_query("INSERT INTO note VALUES (?)")
                    .bind::<Text, _>(&how.payload)
                    .execute(db)?;
                how.context
                    .send(how.context.session_id(), "t", "Noted", &how.payload)?;
                match how.payload.as_str() {
                    "deny" => Ok(Outcome::deny_with("denied")),
                    "retry" => Ok(Outcome::retry()),
                    "fail" => Err(HandlerError::public("failed")),
                    "panic" => panic!("told to"),
                    "slow" => {
                        std::thread::sleep(Duration::from_millis(500));
                        Ok(Outcome::done())
                    }
                    "resolve" => Ok(Outcome::resolve("noted")),
                    _ => Ok(Outcome::done()),
                }
            },
        )
}

async fn count(client: &TestClient) -> i64 {
    let reply = client.request::<i64>("Notes.count", &()).await;
    reply.unwrap().resolved().unwrap()
}

#[tokio::test]
async fn rows_commit_with_the_answer() {
    let server = notes().start().await.unwrap();
    let client = alice(&server).await;
    client.request::<()>("Notes.create", &()).await.unwrap();
    client.send("Notes.add", "done").await.unwrap();
    let reply = client.request::<String>("Notes.add", "resolve").await;
    assert_eq!(reply, Ok(Reply::Resolved("noted".into())));
    assert_eq!(count(&client).await, 2);
    for noted in ["done", "resolve"] {
        let push = client.next_message().await.unwrap();
        assert_eq!(push.payload::<String>().unwrap(), noted);
    }
    server.stop().await;
}

#[tokio::test]
async fn rows_and_messages_vanish_with_a_refusal() {
    let server = notes().start().await.unwrap();
    let client = alice(&server).await;
    client.request::<()>("Notes.create", &()).await.unwrap();
    for how in ["deny", "retry", "fail", "panic", "slow"] {
        let refused = client.send("Notes.add", how).await.unwrap_err();
        match how {
            "retry" => assert!(matches!(refused, Error::Retry(_)), "{how}: {refused}"),
            _ => assert!(matches!(refused, Error::Nack(_)), "{how}: {refused}"),
        }
        assert_eq!(count(&client).await, 0, "after {how}");
    }
    // A REQUEST may not be ignored, a SEND not be resolved: both are refusals.
    assert!(client.request::<()>("Notes.add", "done").await.is_err());
    assert!(client.send("Notes.add", "resolve").await.is_err());
    assert_eq!(count(&client).await, 0);
    assert!(client.try_next_message().await.is_none());
    server.stop().await;
}

#[tokio::test]
async fn another_store_s_connection_is_refused_at_start() {
    let refused = builder()
        .transactional("Notes.add", |_: &mut String, _: Incoming<()>| {
            Ok(Outcome::resolve(()))
        })
        .start()
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(refused.contains("\"Notes.add\""), "{refused}");
    assert!(refused.contains("SqliteConnection"), "{refused}");
}
