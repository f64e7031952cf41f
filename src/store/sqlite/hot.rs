//! The statements of the hot path as plain SQL. Diesel's query builder makes a tree and walks it twice at each
//! execution, which takes about as long as SQLite needs to look up a row.

use std::marker::PhantomData;

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::Sqlite;

/// A value to bind.
pub enum Value<'a> {
    Long(i64),
    Text(&'a str),
    Maybe(Option<&'a str>),
}

/// The text before, between and after the values of a statement.
pub trait Words: 'static {
    const WORDS: &'static [&'static str];
}

macro_rules! words {
    ($($name:ident: [$($words:literal),* $(,)?];)*) => {
        $(
            pub struct $name;

            impl Words for $name {
                const WORDS: &'static [&'static str] = &[$($words),*];
            }
        )*
    };
}

words! {
    InsertInbox: [
        "INSERT INTO matssocket_inbox (session, cmid, answer, created) VALUES (",
        ", ", ", ", ", ", ") ON CONFLICT DO NOTHING",
    ];
    DeleteInbox: ["DELETE FROM matssocket_inbox WHERE session = ", " AND cmid = ", ""];
    // Columns that are seldom used are left out, since binding a value costs the same whether it is NULL or not.
    InsertOutbox: [
        "INSERT INTO matssocket_outbox (session, seq, kind, eid, tid, msg, created, deliveries) VALUES (",
        ", ", ", ", ", ", ", ", ", ", ", ", ", 0)",
    ];
    DeleteOutbox: ["DELETE FROM matssocket_outbox WHERE session = ", " AND seq BETWEEN ", " AND ", ""];
    UpdateSession: [
        "UPDATE matssocket_session SET last_seq = ", ", outbox_bytes = ", ", skipped = ", " WHERE key = ", "",
    ];
}

/// A statement with its values, prepared once for each connection.
pub struct Hot<'a, W, const N: usize> {
    values: [Value<'a>; N],
    words: PhantomData<W>,
}

/// Runs a statement and returns the number of changed rows.
pub fn execute<W: Words, const N: usize>(
    conn: &mut SqliteConnection,
    values: [Value<'_>; N],
) -> QueryResult<usize> {
    const { assert!(W::WORDS.len() == N + 1) };
    let words = PhantomData::<W>;
    Hot { values, words }.execute(conn)
}

impl<W: Words, const N: usize> QueryFragment<Sqlite> for Hot<'_, W, N> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        for (words, value) in W::WORDS.iter().zip(&self.values) {
            out.push_sql(words);
            match value {
                Value::Long(value) => out.push_bind_param::<BigInt, _>(value)?,
                Value::Text(value) => out.push_bind_param::<Text, _>(*value)?,
                Value::Maybe(value) => out.push_bind_param::<Nullable<Text>, _>(value)?,
            }
        }
        out.push_sql(W::WORDS[N]);
        Ok(())
    }
}

impl<W: Words, const N: usize> QueryId for Hot<'_, W, N> {
    type QueryId = W;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<W, const N: usize> RunQueryDsl<SqliteConnection> for Hot<'_, W, N> {}
