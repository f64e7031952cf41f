//! The store's own vacuuming of its tables.

use std::sync::Arc;

use super::*;
use crate::store::Access;
use crate::store::postgres::Shared;
use crate::store::postgres::vacuum::Vacuumer;

/// Leaves this number of dead rows in the inbox, and makes sure that the server has counted them.
fn leave_dead_rows(schema: &Schema, rows: u32) {
    schema.execute(&format!(
        "ALTER TABLE inbox SET (autovacuum_enabled = false); \
        INSERT INTO inbox (session, cmid, created) SELECT 1, number::text, 0 FROM generate_series(1, {rows}) AS number; \
        DELETE FROM inbox"
    ));
    until(schema, &rows.to_string());
}

/// Waits until the server counts this number of dead rows.
fn until(schema: &Schema, dead: &str) {
    let ask = format!(
        "SELECT n_dead_tup::text FROM pg_stat_user_tables WHERE schemaname = '{}' AND relname = 'inbox'",
        schema.0
    );
    for _ in 0..500 {
        if schema.texts(&ask) == [dead] {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("not {dead} dead rows: {:?}", schema.texts(&ask));
}

fn vacuumer(settings: &Postgres) -> Vacuumer {
    let config = StoreConfig::default();
    Vacuumer::new(Arc::new(Shared::new(settings, &config, Access::Full)))
}

#[test]
fn tables_with_many_dead_rows_are_vacuumed_and_then_rest() {
    let _alone = dead_rows_are_ours();
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    leave_dead_rows(&schema, 1_000);
    let mut vacuumer = vacuumer(&schema.settings());
    assert_eq!(vacuumer.look(1_001), Ok(vec![]));
    assert_eq!(vacuumer.look(1_000), Ok(vec!["inbox".to_owned()]));
    until(&schema, "0");
    assert_eq!(vacuumer.look(1_000), Ok(vec![]));
}

/// Vacuuming them repeatedly would cost more and more, without any benefit.
#[test]
fn tables_whose_dead_rows_an_old_transaction_can_see_are_left_alone_for_a_while() {
    let _alone = dead_rows_are_ours();
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    let mut old = PgConnection::establish(&server()).expect("the test's PostgreSQL");
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .expect("begins");
    leave_dead_rows(&schema, 1_000);
    let mut vacuumer = vacuumer(&schema.settings());
    assert_eq!(vacuumer.look(1_000), Ok(vec!["inbox".to_owned()]));
    until(&schema, "1000");
    old.batch_execute("COMMIT").expect("ends");
    assert_eq!(vacuumer.look(1_000), Ok(vec![]), "it rests");
}

#[test]
fn a_role_that_may_not_vacuum_leaves_it_to_autovacuum() {
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    let role = format!("{}_role", schema.0);
    schema.execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA \"{}\" TO {role}",
        schema.0
    ));
    leave_dead_rows(&schema, 1_000);
    let mut settings = schema.settings();
    settings.url = settings.url.replace("://postgres@", &format!("://{role}@"));
    let mut vacuumer = vacuumer(&settings);
    assert_eq!(vacuumer.look(1_000), Ok(vec![]));
    drop(vacuumer);
    schema.execute(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}
