//! Tests of what only PostgreSQL promises.

mod bytes;
mod faults;
mod nodes;
mod plans;
mod polls;
mod probe;
mod restored;
mod segments;
mod users;
mod vacuum;

use std::sync::{Mutex, MutexGuard, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use matssocket_testing::proxy::{self, Proxy};

use super::Postgres;
use crate::store::operation::*;
use crate::store::{Operation, Store, StoreConfig, StoreError, StoreHandle};

/// Held by tests that must not run at the same time: an old transaction keeps the dead rows of all schemas.
fn dead_rows_are_ours() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The URL of the server for tests.
fn server() -> String {
    std::env::var("MATSSOCKET_TEST_POSTGRES").expect(
        "MATSSOCKET_TEST_POSTGRES must be the URL of a PostgreSQL for tests; ./test starts one and sets it",
    )
}

/// A test's own schema, and another one for the tables of the test's application; both are dropped at its end.
pub struct Schema(String);

impl Schema {
    pub fn new() -> Schema {
        let name = format!("test_{}", &crate::store::postgres::rows::secret()[..16]).to_lowercase();
        // Fails before there is anything to drop.
        server();
        let schema = Schema(name);
        schema.execute(&format!("CREATE SCHEMA \"{}_app\"", schema.0));
        schema
    }

    /// The schema's settings; its connections find the application's tables through their search path.
    pub fn settings(&self) -> Postgres {
        let (url, name) = (server(), &self.0);
        let sign = if url.contains('?') { '&' } else { '?' };
        Postgres::at(format!("{url}{sign}options=-csearch_path%3D{name}_app")).schema(name)
    }

    /// The same settings, through a proxy.
    fn settings_through(&self, proxy: &Proxy) -> Postgres {
        let mut settings = self.settings();
        settings.url = proxy.url(&settings.url);
        settings
    }

    /// The same settings, such that its connections can be [cut](Self::cut_all).
    fn settings_to_cut(&self) -> Postgres {
        let mut settings = self.settings();
        settings
            .url
            .push_str(&format!("&application_name={}", self.0));
        settings
    }

    /// Ends every connection made with those settings.
    fn cut_all(&self) {
        self.execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
            self.0
        ));
    }

    /// The prefix of the store's table names.
    pub fn prefix(&self) -> String {
        format!("\"{}\".", self.0)
    }

    /// A connection to the store's schema.
    fn connect(&self) -> PgConnection {
        let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
        let before = format!(
            "SET client_min_messages TO warning; SET search_path TO \"{}\"",
            self.0
        );
        conn.batch_execute(&before).expect("set");
        conn
    }

    /// Runs statements in the store's schema.
    fn execute(&self, sql: &str) {
        self.connect().batch_execute(sql).expect(sql);
    }
}

impl Schema {
    /// Runs a query in the store's schema that returns a number.
    fn number(&self, sql: &str) -> i64 {
        let found = diesel::dsl::sql::<diesel::sql_types::BigInt>(sql);
        found.get_result(&mut self.connect()).expect(sql)
    }

    /// Runs a query in the store's schema that returns one text column.
    fn texts(&self, query: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            text: String,
        }
        let query = format!("SELECT given.text FROM ({query}) AS given (text)");
        let rows: Vec<Row> = diesel::sql_query(query)
            .load(&mut self.connect())
            .expect("rows");
        rows.into_iter().map(|row| row.text).collect()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let name = &self.0;
        self.execute(&format!(
            "DROP SCHEMA IF EXISTS \"{name}\" CASCADE; DROP SCHEMA \"{name}_app\" CASCADE"
        ));
    }
}

/// A node with a store of its own, as in a separate process.
struct Node(StoreHandle);

impl Node {
    fn attach(name: &str, settings: Postgres) -> Result<Node, StoreError> {
        Node::with(name, settings, &StoreConfig::default())
    }

    fn with(name: &str, settings: Postgres, config: &StoreConfig) -> Result<Node, StoreError> {
        Store::from(settings).visit(name, config).map(Node)
    }

    async fn run<O: Operation>(&self, operation: O) -> O::Outcome {
        self.0.run(operation).await.expect("the store works")
    }

    async fn open(&self, sid: &str) -> Holder {
        match self.run(register(sid)).await {
            Registered::Held(session) => session.holder,
            other => panic!("not held: {other:?}"),
        }
    }

    /// Stores a message and returns its number.
    async fn store(&self, message: Effect) -> i64 {
        match self.run(call(vec![message])).await {
            UnitOutcome::Committed(effects) => match effects[..] {
                [EffectOutcome::Stored(seq)] => seq,
                _ => panic!("not stored: {effects:?}"),
            },
            refused => panic!("not stored: {refused:?}"),
        }
    }

    /// Stores work and returns its id.
    async fn forward(&self, work: NewForward) -> i64 {
        match self.run(call(vec![Effect::Forward(Box::new(work))])).await {
            UnitOutcome::Committed(effects) => match effects[..] {
                [EffectOutcome::Forwarded(id)] => id,
                _ => panic!("not forwarded: {effects:?}"),
            },
            refused => panic!("not forwarded: {refused:?}"),
        }
    }

    async fn tids(&self, session: SessionKey) -> Vec<String> {
        let all = FetchOutbox {
            session,
            after: 0,
            limit: 100_000,
            max_bytes: u64::MAX,
            max_first: u64::MAX,
        };
        let fetched = self.run(all).await.messages.into_iter();
        fetched.map(|message| message.tid).collect()
    }
}

/// A new session.
fn register(sid: &str) -> Register {
    Register {
        session: NewOrResumed::New {
            sid: sid.into(),
            smid_prefix: "p".into(),
        },
        user_id: "user".into(),
        client: "test,1".into(),
        app_name: "App".into(),
        app_version: "1".into(),
        max_sessions_per_user: 1000,
        min_absence: std::time::Duration::from_secs(60),
        of_the_dead: true,
    }
}

/// A role that has these privileges on the tables and may use the sequences.
struct LimitedRole(String);

impl LimitedRole {
    fn new(schema: &Schema, rights: &str) -> LimitedRole {
        schema.settings().migrate().expect("migrates");
        let role = format!("{}_role", schema.0);
        schema.execute(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA \"{0}\" TO {role}; \
            GRANT {rights} ON ALL TABLES IN SCHEMA \"{0}\" TO {role}; \
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA \"{0}\" TO {role}",
            schema.0
        ));
        LimitedRole(role)
    }

    /// The store's settings for this role.
    fn settings(&self, schema: &Schema) -> Postgres {
        let mut settings = schema.settings().without_migrations();
        let url = settings
            .url
            .replace("://postgres@", &format!("://{}@", self.0));
        settings.url = url;
        settings
    }
}

impl Drop for LimitedRole {
    fn drop(&mut self) {
        let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
        let role = &self.0;
        conn.batch_execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"))
            .expect("the role goes");
    }
}

fn call(effects: Vec<Effect>) -> Unit {
    Unit {
        cause: Cause::Call {
            idempotency_key: None,
        },
        effects,
    }
}

/// Work from session s1, a SEND, claimed by whoever stores it.
fn work() -> NewForward {
    NewForward {
        service: "service".into(),
        endpoint: "endpoint".into(),
        sid: "s1".into(),
        user_id: "user".into(),
        cmid: None,
        kind: crate::wire::MessageType::Send,
        tid: "t".into(),
        msg: serde_json::value::RawValue::from_string("1".into()).expect("JSON"),
        correlation: None,
        debug: None,
        left: None,
        adapted: None,
        here: true,
        begins: Begins::AT_ONCE,
        key: None,
    }
}

/// A SEND for a session.
fn to(sid: &str, tid: &str) -> Effect {
    Effect::Message {
        sid: sid.into(),
        message: send(tid),
    }
}

/// A SEND for all sessions of a user.
fn to_user(user: &str, tid: &str) -> Effect {
    Effect::ToUser {
        user_id: user.into(),
        message: send(tid),
        keep: None,
    }
}

fn send(tid: &str) -> NewMessage {
    NewMessage {
        kind: crate::wire::MessageType::Send,
        eid: Some("terminator".into()),
        cmid: None,
        tid: tid.into(),
        msg: None,
        debug: None,
        correlation: None,
        time_to_live: None,
    }
}
