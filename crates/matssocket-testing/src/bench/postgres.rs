//! The PostgreSQL to measure, and a separate schema in it.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use matssocket::Postgres;

const VARIABLE: &str = "MATSSOCKET_TEST_POSTGRES";

/// The given URL, or else the environment's; prints a message if there is none.
pub fn url(given: Option<String>) -> Option<String> {
    let url = given.or_else(|| std::env::var(VARIABLE).ok());
    if url.is_none() {
        println!("PostgreSQL is left out: name one by --postgres URL, or by {VARIABLE}");
    }
    url
}

/// A schema with the store's tables, empty; dropped with this.
pub struct Schema {
    pub url: String,
    pub name: String,
}

impl Schema {
    pub fn new(url: &str) -> Schema {
        let schema = Schema {
            url: url.to_owned(),
            name: format!("bench_{:016x}", rand::random::<u64>()),
        };
        schema.settings().migrate().expect("tables can be made");
        schema
    }

    pub fn settings(&self) -> Postgres {
        Postgres::at(&self.url).schema(&self.name)
    }

    /// A connection with the store's settings.
    pub fn connect(&self) -> PgConnection {
        let mut conn = PgConnection::establish(&self.url).expect("PostgreSQL is there");
        let settings = format!(
            "SET search_path TO {}; SET enable_seqscan TO off; SET jit TO off; \
            SET plan_cache_mode TO force_generic_plan",
            self.name
        );
        conn.batch_execute(&settings).expect("it can be set up");
        conn
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let drop = format!(
            "SET client_min_messages TO warning; DROP SCHEMA {} CASCADE",
            self.name
        );
        let _ = self.connect().batch_execute(&drop);
    }
}
