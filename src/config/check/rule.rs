//! The vocabulary of the check: fields with their values, the rules that they may have to obey, and what is said about a
//! broken one.

use std::fmt;
use std::time::Duration;

/// What is wrong with a [`Config`](crate::Config). Its text names each field with its value, and says why the value is
/// unusable and what to set instead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigMistake {
    /// The affected fields, as named in [`Config`](crate::Config); those of its `store` start with `store.`.
    pub fields: Vec<&'static str>,
    text: String,
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl std::error::Error for ConfigMistake {}

/// The value of a field.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Number(u64),
    Time(Duration),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(out, "{number}"),
            Value::Time(Duration::ZERO) => out.write_str("0s"),
            Value::Time(time) => write!(out, "{time:?}"),
        }
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Value {
        Value::Time(time)
    }
}

/// A field and its value.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

impl fmt::Display for Field {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} = {}", self.name, self.value)
    }
}

/// A [`Field`], by the variable that holds a reference to its value.
macro_rules! field {
    ($field:ident) => {
        Field {
            name: stringify!($field),
            value: Value::from(*$field),
        }
    };
    (store.$field:ident) => {
        Field {
            name: concat!("store.", stringify!($field)),
            value: Value::from(*$field),
        }
    };
}

/// The same for several fields.
macro_rules! fields {
    ($($field:ident),* $(,)?) => {
        [$(field!($field)),*]
    };
}
pub(super) use {field, fields};

#[derive(Default)]
pub(super) struct Check {
    pub(super) mistakes: Vec<ConfigMistake>,
}

impl Check {
    pub(super) fn not_zero(&mut self, fields: &[Field]) {
        for &field in fields {
            let least = match field.value {
                Value::Number(_) => Value::Number(1),
                // The server's resolution of time.
                Value::Time(_) => Value::Time(Duration::from_millis(1)),
            };
            if field.value < least {
                self.add(&[field], format!("{field} must be at least {least}"));
            }
        }
    }

    pub(super) fn at_least(&mut self, field: Field, least: Value, because: &str) {
        if field.value < least {
            let text = format!("{field} must be at least {least}, or {because}");
            self.add(&[field], text);
        }
    }

    pub(super) fn at_most(&mut self, field: Field, most: Value, because: &str) {
        if field.value > most {
            let text = format!("{field} must be at most {most}: {because}");
            self.add(&[field], text);
        }
    }

    /// Requires `smaller <= larger`.
    pub(super) fn ordered(&mut self, smaller: Field, larger: Field, because: &str) {
        if smaller.value > larger.value {
            self.contradiction(smaller, "must not be more than", larger, because);
        }
    }

    /// Requires `interval * times < limit`.
    pub(super) fn shorter(&mut self, interval: Field, times: u32, limit: Field, because: &str) {
        let (Value::Time(short), Value::Time(long)) = (interval.value, limit.value) else {
            return;
        };
        if short.saturating_mul(times) >= long {
            let must = match times {
                1 => "must be shorter than",
                _ => "must be shorter than half of",
            };
            self.contradiction(interval, must, limit, because);
        }
    }

    /// If the larger one is zero, that is the mistake, which is already reported.
    fn contradiction(&mut self, smaller: Field, must: &str, larger: Field, because: &str) {
        if matches!(larger.value, Value::Number(0) | Value::Time(Duration::ZERO)) {
            return;
        }
        let (small, large) = (smaller.name, larger.name);
        self.add(
            &[smaller, larger],
            format!("{smaller} {must} {larger}, or {because}: lower {small}, or raise {large}"),
        );
    }

    fn add(&mut self, fields: &[Field], text: String) {
        let fields = fields.iter().map(|field| field.name).collect();
        self.mistakes.push(ConfigMistake { fields, text });
    }
}
