//! SQL statements whose values are arrays. Diesel's `sql_query` would prepare them again at each execution.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Nullable, Text};

/// A value, or an array of values.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Value<'a> {
    Long(i64),
    Text(&'a str),
    Longs(&'a [i64]),
    Ints(&'a [i32]),
    Texts(&'a [String]),
    Maybes(&'a [Option<String>]),
    MaybeLongs(&'a [Option<i64>]),
    MaybeBools(&'a [Option<bool>]),
}

/// A statement with a `?` for each value, cached by its text. `T` is the tuple of its column types.
#[derive(Debug)]
pub struct Sql<'a, T = ()> {
    text: Cow<'static, str>,
    values: Vec<Value<'a>>,
    columns: PhantomData<T>,
}

/// Builds a statement from its text and its values.
pub fn sql<'a, T>(
    text: impl Into<Cow<'static, str>>,
    values: impl Into<Vec<Value<'a>>>,
) -> Sql<'a, T> {
    Sql {
        text: text.into(),
        values: values.into(),
        columns: PhantomData,
    }
}

impl<T> QueryFragment<Pg> for Sql<'_, T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (index, part) in self.text.split('?').enumerate() {
            if index > 0 {
                match values.next() {
                    Some(Value::Long(value)) => out.push_bind_param::<BigInt, _>(value)?,
                    Some(Value::Text(value)) => out.push_bind_param::<Text, _>(*value)?,
                    Some(Value::Longs(values)) => {
                        out.push_bind_param::<Array<BigInt>, _>(*values)?
                    }
                    Some(Value::Ints(values)) => {
                        out.push_bind_param::<Array<Integer>, _>(*values)?
                    }
                    Some(Value::Texts(values)) => out.push_bind_param::<Array<Text>, _>(*values)?,
                    Some(Value::Maybes(values)) => {
                        out.push_bind_param::<Array<Nullable<Text>>, _>(*values)?
                    }
                    Some(Value::MaybeLongs(values)) => {
                        out.push_bind_param::<Array<Nullable<BigInt>>, _>(*values)?
                    }
                    Some(Value::MaybeBools(values)) => {
                        out.push_bind_param::<Array<Nullable<Bool>>, _>(*values)?
                    }
                    None => {
                        return Err(diesel::result::Error::QueryBuilderError(
                            "a value is missing".into(),
                        ));
                    }
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

impl<T> QueryId for Sql<'_, T> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T> Query for Sql<'_, T> {
    type SqlType = T;
}

impl<T, C> RunQueryDsl<C> for Sql<'_, T> {}
