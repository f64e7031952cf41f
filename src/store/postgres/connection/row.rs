//! Results in the form that Diesel reads.

use std::num::NonZeroU32;
use std::rc::Rc;

use diesel::connection::LoadConnection;
use diesel::pg::{Pg, PgConnection, PgValue};
use diesel::prelude::*;
use diesel::row::{Field as _, PartialRow, RowIndex, RowSealed};

use super::libpq::Answer;

/// The rows of an answer.
pub enum Rows {
    /// In libpq's memory.
    Here(Answer),
    /// Copied from one of Diesel's own connections.
    Copied(Vec<Vec<Column>>),
}

/// A copied value.
pub struct Column {
    name: Option<String>,
    /// `None` is NULL.
    value: Option<(NonZeroU32, Vec<u8>)>,
}

impl Rows {
    /// Copies the result of a query on one of Diesel's own connections.
    pub fn copied<'q, T>(conn: &mut PgConnection, source: T) -> QueryResult<Rows>
    where
        T: diesel::query_builder::Query
            + diesel::query_builder::QueryFragment<Pg>
            + diesel::query_builder::QueryId
            + 'q,
        Pg: diesel::expression::QueryMetadata<T::SqlType>,
    {
        let rows = LoadConnection::<diesel::connection::DefaultLoadingMode>::load(conn, source)?;
        let copy = |row: QueryResult<_>| {
            let row = row?;
            let columns = 0..diesel::row::Row::<Pg>::field_count(&row);
            Ok(columns
                .filter_map(|column| Column::of(&row, column))
                .collect())
        };
        Ok(Rows::Copied(rows.map(copy).collect::<QueryResult<_>>()?))
    }

    fn len(&self) -> usize {
        match self {
            Rows::Here(answer) => answer.rows(),
            Rows::Copied(rows) => rows.len(),
        }
    }

    fn columns(&self) -> usize {
        match self {
            Rows::Here(answer) => answer.columns(),
            Rows::Copied(rows) => rows.first().map_or(0, Vec::len),
        }
    }

    fn value(&self, row: usize, column: usize) -> Option<(NonZeroU32, &[u8])> {
        match self {
            Rows::Here(answer) => Some((answer.oid(column)?, answer.value(row, column)?)),
            Rows::Copied(rows) => {
                let (oid, bytes) = rows.get(row)?.get(column)?.value.as_ref()?;
                Some((*oid, bytes))
            }
        }
    }

    fn name(&self, column: usize) -> Option<&str> {
        match self {
            Rows::Here(answer) => answer.name(column),
            Rows::Copied(rows) => rows.first()?.get(column)?.name.as_deref(),
        }
    }
}

impl Column {
    fn of<'r>(row: &impl diesel::row::Row<'r, Pg>, column: usize) -> Option<Column> {
        let field = row.get(column)?;
        let value = field
            .value()
            .map(|value| (value.get_oid(), value.as_bytes().to_vec()));
        Some(Column {
            name: field.field_name().map(str::to_owned),
            value,
        })
    }
}

/// Iterates over the rows.
pub struct Cursor {
    rows: Rc<Rows>,
    next: usize,
}

impl Cursor {
    pub fn new(rows: Rows) -> Cursor {
        Cursor {
            rows: Rc::new(rows),
            next: 0,
        }
    }
}

impl Iterator for Cursor {
    type Item = QueryResult<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next;
        (row < self.rows.len()).then(|| {
            self.next += 1;
            Ok(Row {
                rows: self.rows.clone(),
                row,
            })
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.rows.len() - self.next;
        (left, Some(left))
    }
}

/// One row of a result.
pub struct Row {
    rows: Rc<Rows>,
    row: usize,
}

impl RowSealed for Row {}

impl<'a> diesel::row::Row<'a, Pg> for Row {
    type Field<'f>
        = Field<'f>
    where
        'a: 'f,
        Self: 'f;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.rows.columns()
    }

    fn get<'b, I>(&'b self, index: I) -> Option<Self::Field<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let column = self.idx(index)?;
        Some(Field {
            rows: &self.rows,
            column,
            value: self.rows.value(self.row, column),
        })
    }

    fn partial_row(&self, range: std::ops::Range<usize>) -> PartialRow<'_, Self::InnerPartialRow> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for Row {
    fn idx(&self, index: usize) -> Option<usize> {
        (index < self.rows.columns()).then_some(index)
    }
}

impl<'a> RowIndex<&'a str> for Row {
    fn idx(&self, name: &'a str) -> Option<usize> {
        (0..self.rows.columns()).find(|column| self.rows.name(*column) == Some(name))
    }
}

/// One value of a row.
pub struct Field<'a> {
    rows: &'a Rows,
    column: usize,
    value: Option<(NonZeroU32, &'a [u8])>,
}

impl<'a> diesel::row::Field<'a, Pg> for Field<'a> {
    fn field_name(&self) -> Option<&str> {
        self.rows.name(self.column)
    }

    fn value(&self) -> Option<PgValue<'_>> {
        let (oid, bytes) = self.value.as_ref()?;
        Some(PgValue::new(bytes, oid))
    }
}
