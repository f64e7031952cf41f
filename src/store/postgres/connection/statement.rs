//! Statements as the connection keeps them: prepared under a name, or as text.

use diesel::connection::statement_cache::PrepareForCache;
use diesel::pg::PgTypeMetadata;
use diesel::prelude::*;
use diesel::result::Error;

use super::libpq::{Answer, Bound, Failure, Libpq, Said};
#[cfg(test)]
use super::plain;

/// A statement, prepared or not.
pub(super) enum Statement {
    Prepared { name: String },
    Plain { text: String, types: Vec<u32> },
}

/// What is needed to prepare a statement, and why preparing it failed.
pub(super) struct Preparing<'a> {
    pub(super) libpq: &'a mut Libpq,
    pub(super) failed: Option<Failure>,
}

impl Statement {
    pub(super) fn prepare(
        preparing: &mut Preparing<'_>,
        text: &str,
        cached: PrepareForCache,
        types: &[PgTypeMetadata],
    ) -> QueryResult<Statement> {
        let types = types
            .iter()
            .map(|it| {
                it.oid()
                    .map_err(|error| Error::SerializationError(Box::new(error)))
            })
            .collect::<QueryResult<Vec<_>>>()?;
        match cached {
            PrepareForCache::No => {
                #[cfg(test)]
                plain::note(text, &types);
                Ok(Statement::Plain {
                    text: text.to_owned(),
                    types,
                })
            }
            PrepareForCache::Yes { counter } => {
                let name = format!("matssocket_{counter}");
                match preparing.libpq.prepare(&name, text, &types) {
                    Ok(()) => Ok(Statement::Prepared { name }),
                    Err(failure) => {
                        preparing.failed = Some(failure);
                        Err(Error::NotFound)
                    }
                }
            }
        }
    }

    pub(super) fn run(
        &self,
        libpq: &mut Libpq,
        begin: Option<String>,
        values: &[Bound],
    ) -> Result<Answer, Failure> {
        let said = match self {
            Statement::Prepared { name } => Said::Prepared(name),
            Statement::Plain { text, types } => Said::Text { text, types },
        };
        match begin {
            Some(begin) => libpq.run_after(&begin, said, values),
            None => libpq.run(said, values),
        }
    }
}
