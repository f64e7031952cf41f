//! The payloads.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

/// The general payload. Every field may be missing or null, and so may the whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Option<Fields>")]
pub struct Data {
    /// A number.
    pub number: f64,
    /// A text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    /// How long the service `Test.slow` waits, in ms.
    pub sleep_time: i64,
    /// How long the endpoint `Test.slow` waits before it forwards, in ms.
    pub sleep_incoming: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    number: Option<f64>,
    string: Option<String>,
    sleep_time: Option<f64>,
    sleep_incoming: Option<f64>,
}

impl From<Option<Fields>> for Data {
    fn from(fields: Option<Fields>) -> Data {
        let Some(fields) = fields else {
            return Data::default();
        };
        Data {
            number: fields.number.unwrap_or_default(),
            string: fields.string,
            // A client whose only numbers are floating-point ones may write 10.0.
            sleep_time: fields.sleep_time.unwrap_or_default() as i64,
            sleep_incoming: fields.sleep_incoming.unwrap_or_default() as i64,
        }
    }
}

impl Data {
    /// Three fields, as most messages have.
    pub fn new(number: f64, string: impl Into<String>, sleep_time: i64) -> Data {
        Data {
            number,
            string: Some(string.into()),
            sleep_time,
            sleep_incoming: 0,
        }
    }

    /// Number and sleep time kept, the suffix appended to the string.
    pub fn appended(&self, suffix: &str) -> Data {
        let string = self.string.as_deref().unwrap_or("null");
        Data::new(self.number, format!("{string}{suffix}"), self.sleep_time)
    }
}

/// What `Test.single` and its relatives take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", from = "Option<SingleFields>")]
pub struct Single {
    /// A text.
    pub string: Option<String>,
    /// A number.
    pub number: f64,
    /// The client's clock, given back untouched.
    pub request_timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SingleFields {
    string: Option<String>,
    number: Option<f64>,
    #[serde(default)]
    request_timestamp: Timestamp,
}

impl From<Option<SingleFields>> for Single {
    fn from(fields: Option<SingleFields>) -> Single {
        fields.map_or_else(Single::default, |fields| Single {
            string: fields.string,
            number: fields.number.unwrap_or_default(),
            request_timestamp: fields.request_timestamp,
        })
    }
}

/// A client's clock: kept digit by digit, 0 when missing.
#[derive(Clone, Debug, Serialize)]
pub struct Timestamp(Number);

impl Default for Timestamp {
    fn default() -> Timestamp {
        Timestamp::from(0)
    }
}

impl From<i64> for Timestamp {
    fn from(millis: i64) -> Timestamp {
        Timestamp(millis.into())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map_or_else(Timestamp::default, Timestamp))
    }
}

/// What `Test.single` and its relatives give.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SingleReply {
    /// Length of a string, in UTF-16 units, as JavaScript counts.
    pub number1: usize,
    /// A number.
    pub number2: f64,
    /// The request's.
    pub request_timestamp: Timestamp,
}

/// What `Test.matsSocketPing` takes and gives.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Ping {
    /// Given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// Given back times e.
    pub number: Option<f64>,
}
