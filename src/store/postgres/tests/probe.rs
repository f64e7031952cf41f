//! A connection that observes its statements: how they are planned, and how much each operation reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::{BigInt, Text};

use super::super::Shared;
use super::super::connection::plain;
use super::super::query::{Value, sql};
use super::super::work_connection::PgWorkConnection;
use super::*;
use crate::clock::Clock;
use crate::store::Access;
use crate::store::statements::{
    Care, DbResult, Group, Statements, Touched, Verdict, WorkConnection,
};

/// The node on whose behalf a probe works.
pub const ME: &str = "me";

pub struct Probe {
    connection: PgWorkConnection,
    pub clock: Clock,
    /// Statements that it has run without preparing them.
    plain: BTreeSet<(String, Vec<u32>)>,
    /// The operations that it has run, each with the maximum number of pages read.
    pub ran: BTreeMap<&'static str, i64>,
}

/// A statement that its connection has prepared.
#[derive(QueryableByName)]
pub struct Prepared {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    pub text: String,
    #[diesel(sql_type = BigInt)]
    values: i64,
}

#[derive(QueryableByName)]
struct Explained {
    #[diesel(sql_type = Text)]
    #[diesel(column_name = "QUERY PLAN")]
    json: String,
}

impl Probe {
    pub fn new(schema: &Schema, now: i64) -> Probe {
        let settings = schema.settings();
        let shared = Shared::new(&settings, &StoreConfig::default(), Access::Full);
        Probe {
            connection: PgWorkConnection::open(&Arc::new(shared)).expect("the test's PostgreSQL"),
            clock: Clock::fixed_ms(now),
            plain: BTreeSet::new(),
            ran: BTreeMap::new(),
        }
    }

    /// Runs an operation in a transaction of its own.
    pub fn run<O: Operation>(&mut self, operation: O) -> O::Outcome {
        self.count_pages(operation).0
    }

    /// Like [`run`](Self::run); also returns the number of table and index pages read.
    pub fn count_pages<O: Operation>(&mut self, operation: O) -> (O::Outcome, i64) {
        let name = std::any::type_name::<O>();
        let before = self.pages();
        let mut alone = Alone {
            operation,
            clock: &self.clock,
            outcome: None,
        };
        plain::take();
        let verdict = self.connection.transaction(&mut alone, Care::Quick);
        let outcome = alone.outcome.expect("it has run");
        for plain in plain::take() {
            let number = self.plain.len();
            if !self.plain.contains(&plain) {
                self.prepare(&plain, number);
                self.plain.insert(plain);
            }
        }
        verdict.unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        let pages = self.pages() - before;
        let most = self.ran.entry(name).or_default();
        *most = pages.max(*most);
        (outcome, pages)
    }

    /// The total number of pages read so far, by any connection.
    fn pages(&mut self) -> i64 {
        let conn = &mut self.connection.conn;
        // Statistics are flushed at the end of a statement, so counting takes another one.
        conn.batch_execute("SELECT pg_stat_force_next_flush()")
            .expect("PostgreSQL 15 or newer");
        let count = "SELECT sum(pg_stat_get_blocks_fetched(oid))::bigint FROM pg_class \
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')";
        sql::<BigInt>(count, []).get_result(conn).expect("counts")
    }

    /// All statements prepared so far.
    pub fn prepared(&mut self) -> Vec<Prepared> {
        let ask = "SELECT name, statement AS text, cardinality(parameter_types)::bigint AS values \
            FROM pg_prepared_statements WHERE name LIKE 'matssocket%'";
        diesel::sql_query(ask)
            .load(&mut self.connection.conn)
            .expect("they are there")
    }

    /// Prepares a statement that was run unprepared, only to inspect its plan.
    fn prepare(&mut self, (text, types): &(String, Vec<u32>), number: usize) {
        let conn = &mut self.connection.conn;
        let types: Vec<_> = types.iter().map(|oid| oid.to_string()).collect();
        let ask = "SELECT coalesce('(' || string_agg(format_type(oid::oid, NULL), ',' ORDER BY place) || ')', '') \
            FROM unnest(string_to_array(?, ',')) WITH ORDINALITY AS given (oid, place)";
        let types = sql::<Text>(ask, [Value::Text(&types.join(","))]).get_result(conn);
        let types: String = types.expect("types have names");
        let prepare = format!("PREPARE matssocket_plain_{number} {types} AS {text}");
        conn.batch_execute(&prepare).expect(text);
    }

    /// The generic plan of a statement, made from what PostgreSQL knew when it was first needed.
    pub fn plan(&mut self, prepared: &Prepared) -> serde_json::Value {
        let nulls = vec!["NULL"; prepared.values as usize].join(", ");
        let explain = match prepared.values {
            0 => format!("EXPLAIN (FORMAT JSON) EXECUTE {}", prepared.name),
            _ => format!("EXPLAIN (FORMAT JSON) EXECUTE {} ({nulls})", prepared.name),
        };
        let explained: Explained = diesel::sql_query(explain)
            .get_result(&mut self.connection.conn)
            .expect(&prepared.text);
        serde_json::from_str(&explained.json).expect("JSON")
    }

    /// Runs statements on the probe's connection: pages read by another one would be counted late.
    pub fn execute(&mut self, statements: &str) {
        // A busy machine may take a while to fill so many tables.
        self.connection.conn.be_patient(Duration::from_secs(120));
        let executed = self.connection.conn.batch_execute(statements);
        executed.expect(statements);
    }

    /// Discards all cached plans.
    pub fn forget_plans(&mut self) {
        self.execute("DISCARD PLANS");
    }
}

/// An operation in a group of its own.
struct Alone<'a, O: Operation> {
    operation: O,
    clock: &'a Clock,
    outcome: Option<O::Outcome>,
}

impl<O: Operation> Group for Alone<'_, O> {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        self.operation.touches(see);
    }

    fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
        statements.on_behalf_of(&ME.into(), self.clock);
        self.outcome = Some(self.operation.apply(statements)?);
        Ok(Verdict::Commit)
    }
}
