//! Diesel's traits for the connection, by which Diesel's statements and migrations run on it.

use std::time::Duration;

use diesel::connection::{
    AnsiTransactionManager, CacheSize, Connection, ConnectionSealed, DefaultLoadingMode,
    Instrumentation, LoadConnection, SimpleConnection,
};
use diesel::expression::QueryMetadata;
use diesel::migration::{CREATE_MIGRATIONS_TABLE, MigrationConnection};
use diesel::pg::{GetPgMetadataCache, Pg, PgMetadataCache};
use diesel::prelude::*;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::result::DatabaseErrorInformation;

use super::libpq::Refusal;
use super::row::{Cursor, Row, Rows};
use super::{Inner, PgConn};

impl ConnectionSealed for PgConn {}

impl SimpleConnection for PgConn {
    fn batch_execute(&mut self, statements: &str) -> QueryResult<()> {
        match &mut self.inner {
            Inner::Own { libpq, begin, .. } => {
                self.meaning = None;
                let result = match begin.take() {
                    Some(begin) => libpq.run_all(&format!("{begin}; {statements}")),
                    None => libpq.run_all(statements),
                };
                self.noted(result).map(drop)
            }
            Inner::Lent(conn, _) => conn.batch_execute(statements),
        }
    }
}

impl Connection for PgConn {
    type Backend = Pg;
    type TransactionManager = AnsiTransactionManager;

    fn establish(url: &str) -> ConnectionResult<PgConn> {
        PgConn::connect(url, Duration::from_secs(30)).map_err(ConnectionError::BadConnection)
    }

    fn execute_returning_count<T>(&mut self, source: &T) -> QueryResult<usize>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        match &mut self.inner {
            Inner::Own { .. } => self.run(source).map(|answer| answer.changed()),
            Inner::Lent(conn, _) => conn.execute_returning_count(source),
        }
    }

    fn transaction_state(&mut self) -> &mut AnsiTransactionManager {
        &mut self.manager
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        &mut *self.instrumentation
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.instrumentation = instrumentation.into();
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        match &mut self.inner {
            Inner::Own { statements, .. } => statements.set_cache_size(size),
            Inner::Lent(conn, _) => conn.set_prepared_statement_cache_size(size),
        }
    }
}

impl LoadConnection<DefaultLoadingMode> for PgConn {
    type Cursor<'conn, 'query> = Cursor;
    type Row<'conn, 'query> = Row;

    fn load<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Pg> + QueryId + 'query,
        Pg: QueryMetadata<T::SqlType>,
    {
        let rows = match &mut self.inner {
            Inner::Own { .. } => Rows::Here(self.run(&source)?),
            Inner::Lent(conn, _) => Rows::copied(conn, source)?,
        };
        Ok(Cursor::new(rows))
    }
}

impl MigrationConnection for PgConn {
    fn setup(&mut self) -> QueryResult<usize> {
        diesel::sql_query(CREATE_MIGRATIONS_TABLE).execute(self)
    }
}

impl GetPgMetadataCache for PgConn {
    fn get_metadata_cache(&mut self) -> &mut PgMetadataCache {
        &mut self.metadata
    }
}

impl DatabaseErrorInformation for Refusal {
    fn message(&self) -> &str {
        &self.message
    }

    fn details(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    fn table_name(&self) -> Option<&str> {
        self.table.as_deref()
    }

    fn column_name(&self) -> Option<&str> {
        self.column.as_deref()
    }

    fn constraint_name(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn statement_position(&self) -> Option<i32> {
        None
    }
}
