//! A database that was set back: a copy of the file was put in its place, or a standby was promoted that had not received
//! the last commits. Clients know more than it does; what it says from then on must be new to them.

use std::collections::HashSet;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use matssocket::Store;

use matssocket_testing::*;

/// A client, and what it remembers of what it was sent: it would drop as a duplicate what it knows already.
struct Remembering {
    line: Line,
    known: HashSet<String>,
    last_publication: Value,
}

impl Remembering {
    async fn open(nodes: &Nodes) -> Remembering {
        let mut line = nodes.open("anna").await;
        subscribe(&mut line).await;
        Remembering {
            line,
            known: HashSet::new(),
            last_publication: Value::Null,
        }
    }

    /// The next message, or publication, is this one, and it is new.
    async fn gets(&mut self, t: &str, msg: &str) -> Value {
        let envelope = self.line.expect(t).await;
        assert_eq!(envelope["msg"], msg, "{envelope}");
        let smid = envelope["smid"].as_str().expect("an id").to_owned();
        assert!(self.known.insert(smid), "known already: {envelope}");
        envelope
    }

    /// Sends and publishes what is called so; both arrive, and the message is acknowledged.
    async fn told(&mut self, nodes: &Nodes, what: &[&str]) {
        for what in what {
            send(nodes, &self.line.client.session, what).await;
            publish(nodes, what).await;
        }
        for what in what {
            let message = self.gets("SEND", what).await;
            self.line.ack(&message).await;
            self.last_publication = self.gets("PUB", what).await["smid"].clone();
        }
    }
}

async fn subscribe(line: &mut Line) {
    line.send(json!([{"t": "SUB", "eid": "news"}])).await;
    line.expect("SUB_OK").await;
}

/// A client comes back, and says what it has seen last; what that is answered.
async fn back(nodes: &Nodes, node: usize, client: Client, last_seen: &Value) -> (Line, Value) {
    let mut line = client.connect(&nodes[node].url).await;
    let sub = json!({"t": "SUB", "eid": "news", "smid": last_seen});
    let hello = line.client.hello();
    line.send(json!([hello, sub])).await;
    line.expect("WELCOME").await;
    let about = |envelope: &Value| envelope["eid"] == "news" && envelope["t"] != "PUB";
    let answer = line.expect_where("an answer to SUB", about).await;
    (line, answer["t"].clone())
}

async fn send(nodes: &Nodes, session: &str, what: &str) {
    let sent = nodes.server().send(session, "t", "client.x", what).await;
    sent.expect("stored");
}

async fn publish(nodes: &Nodes, what: &str) {
    let published = nodes.server().publish("news", "t", what).await;
    published.expect("stored");
}

/// A copy of a database that is in use, as a backup takes it.
fn back_up(file: &Path, copy: &Path) {
    let url = file.to_str().expect("a path of ours");
    let mut conn = SqliteConnection::establish(url).expect("the file is there");
    conn.batch_execute(&format!("VACUUM INTO '{}'", copy.display()))
        .expect("copied");
}

/// The copy counted on from what it knew: what was sent then had ids of messages that the client knew, which it dropped
/// although `send` had returned Ok.
#[actix_web::test]
async fn what_a_restored_file_sends_is_new_to_its_clients() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, copy) = (dir.path().join("store.db"), dir.path().join("backup.db"));
    let nodes = Setup::new().store(Store::sqlite(&file)).start(1).await;
    let mut client = Remembering::open(&nodes).await;
    client.told(&nodes, &["1", "2"]).await;
    back_up(&file, &copy);
    client.told(&nodes, &["3", "4"]).await;
    let Remembering {
        line,
        known,
        last_publication,
    } = client;
    let away = line.cut();
    nodes.server().stop().await;
    drop(nodes);

    let nodes = Setup::new().store(Store::sqlite(&copy)).start(1).await;
    let (line, answer) = back(&nodes, 0, away, &last_publication).await;
    assert_eq!(answer, "SUB_LOST");
    let mut client = Remembering {
        line,
        known,
        last_publication,
    };
    client.told(&nodes, &["5", "6", "7"]).await;
    // They keep their ids when they are sent again.
    let session = client.line.session().to_owned();
    send(&nodes, &session, "8").await;
    let message = client.line.expect("SEND").await;
    let mut line = nodes.back(0, client.line.cut()).await;
    assert_eq!(line.expect("SEND").await["smid"], message["smid"]);
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use diesel::PgConnection;
    use matssocket::Postgres;
    use matssocket_testing::postgres::{Schema, url};

    const TABLES: [&str; 9] = [
        "session",
        "inbox",
        "outbox",
        "correlation",
        "subscription",
        "publication",
        "publication_clock",
        "forwarded",
        "sent_key",
    ];

    fn execute(sql: &str) {
        let mut conn = PgConnection::establish(&url()).expect("the test's PostgreSQL");
        let quiet = "SET client_min_messages TO warning";
        conn.batch_execute(quiet).expect("set");
        conn.batch_execute(sql).expect(sql);
    }

    /// What a standby has received by now.
    fn replicate(name: &str) {
        let copy = |table| {
            format!(
                "DROP TABLE IF EXISTS {name}.standby_{table}; \
                CREATE TABLE {name}.standby_{table} AS TABLE {name}.{table};"
            )
        };
        execute(&TABLES.map(copy).concat());
    }

    /// The standby is promoted: every connection ends, and those that follow find what it had received.
    fn promote(name: &str) {
        let put_back = |table| {
            format!(
                "DELETE FROM {name}.{table}; INSERT INTO {name}.{table} OVERRIDING SYSTEM VALUE \
                SELECT * FROM {name}.standby_{table};"
            )
        };
        let put_back = TABLES.map(put_back).concat();
        execute(&format!(
            "BEGIN; {put_back} \
            SELECT setval('{name}.session_number', 1), setval(pg_get_serial_sequence('{name}.forwarded', 'id'), 1); COMMIT; \
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'"
        ));
    }

    /// Nodes whose connections can be told from those of other tests.
    async fn two_nodes(change: fn(Postgres) -> Postgres) -> (Nodes, String) {
        let schema = Schema::new();
        let name = schema.name().to_owned();
        let url = url();
        let sign = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{sign}application_name={name}");
        let settings = change(Postgres::at(url).schema(&name));
        let nodes = Setup::new().postgres(schema, settings).start(2).await;
        (nodes, name)
    }

    /// Its client is there all the time, and notices nothing.
    #[actix_web::test]
    async fn what_a_promoted_standby_sends_is_new_to_a_client_that_stayed() {
        let (nodes, schema) = two_nodes(|settings| settings).await;
        let mut client = Remembering::open(&nodes).await;
        let mut elsewhere = nodes.open_on(1, "berta").await;
        super::subscribe(&mut elsewhere).await;
        for round in ["first", "second"] {
            let known = |what: &str| format!("{round} {what}");
            let (one, two, three) = (known("1"), known("2"), known("3"));
            client.told(&nodes, &[&one]).await;
            replicate(&schema);
            client.told(&nodes, &[&two, &three]).await;
            promote(&schema);
            let (four, five) = (known("4"), known("5"));
            client.told(&nodes, &[&four, &five]).await;
            for what in [one, two, three, four, five] {
                assert_eq!(elsewhere.expect("PUB").await["msg"], what);
            }
        }
        // It knows the newest, so nothing is lost.
        let away = client.line.cut();
        let (_, answer) = super::back(&nodes, 1, away, &client.last_publication).await;
        assert_eq!(answer, "SUB_OK");
    }

    /// What it has seen last is not there: that is said, and swallows nothing that comes later.
    #[actix_web::test]
    async fn a_client_that_has_seen_what_a_promoted_standby_has_not_is_told_so() {
        let (nodes, schema) = two_nodes(|settings| settings).await;
        let mut client = Remembering::open(&nodes).await;
        client.told(&nodes, &["1"]).await;
        replicate(&schema);
        client.told(&nodes, &["2", "3"]).await;
        promote(&schema);
        let away = client.line.cut();
        let (line, answer) = super::back(&nodes, 1, away, &client.last_publication).await;
        assert_eq!(answer, "SUB_LOST");
        client.line = line;
        client.told(&nodes, &["4", "5"]).await;
    }

    /// The registration of a session was lost: it must not be given once more, or two would hold the session.
    #[actix_web::test]
    async fn a_registration_that_was_lost_is_not_given_again() {
        let (nodes, schema) = two_nodes(Postgres::without_listen).await;
        let mut client = Remembering::open(&nodes).await;
        client.told(&nodes, &["1"]).await;
        let stale = client.line.client.clone();
        let session = client.line.cut();
        nodes.until_let_go(&session.session).await;
        replicate(&schema);
        let mut first = nodes.back(0, session).await;
        promote(&schema);
        // To the store nobody holds it. It comes back while the first line is still there, and no node hears of another.
        let mut second = nodes.back(1, stale).await;
        let sent = nodes[1].server.send(second.session(), "t", "client.x", "2");
        sent.await.expect("stored");
        let message = second.expect("SEND").await;
        second.ack(&message).await;
        // The first one cannot do anything in its name.
        let cmid = first.send_to("test.take", json!({})).await;
        let (code, _) = first.close().await;
        assert_eq!(code, 4003, "somebody else holds it");
        assert_eq!(first.waiting("ACK"), 0, "{cmid} was not taken");
        second.none("SEND").await;
    }
}
