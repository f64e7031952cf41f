//! What only PostgreSQL promises.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::Postgres;

/// The server that tests use.
fn server() -> String {
    std::env::var("MATSSOCKET_TEST_POSTGRES").expect(
        "MATSSOCKET_TEST_POSTGRES must be the URL of a PostgreSQL for tests; ./test starts one and sets it",
    )
}

/// A schema of a test's own, and beside it one for the tables of the test's application: gone at its end.
pub struct Schema(String);

impl Schema {
    pub fn new() -> Schema {
        let name = format!("test_{}", &crate::store::rows::secret()[..16]).to_lowercase();
        let schema = Schema(name);
        schema.execute(&format!("CREATE SCHEMA \"{}_app\"", schema.0));
        schema
    }

    /// The schema's settings; the application's tables are where its connections look for them.
    pub fn settings(&self) -> Postgres {
        let (url, name) = (server(), &self.0);
        let sign = if url.contains('?') { '&' } else { '?' };
        Postgres::at(format!("{url}{sign}options=-csearch_path%3D{name}_app")).schema(name)
    }

    fn execute(&self, sql: &str) {
        let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
        conn.batch_execute("SET client_min_messages TO warning")
            .expect("set");
        conn.batch_execute(sql).expect(sql);
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
