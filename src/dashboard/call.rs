//! One call of the admin API: what is asked, and how it is answered.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::access::Operator;
use crate::error::SendError;
use crate::http::safe;
use crate::server::MatsSocketServer;
use crate::store::StoreError;

/// Most entries of one page of a list.
pub(super) const MOST: u32 = 1_000;

/// Entries of one page, unless the call asks for another number.
const USUAL: u32 = 100;

/// What a call asks for.
pub(super) struct Call {
    pub(super) server: MatsSocketServer,
    pub(super) operator: Operator,
    /// The parameters in the URL.
    pub(super) query: String,
    /// Of calls that change something: JSON.
    pub(super) body: web::Bytes,
}

/// The answer to a call: a JSON document, or a refusal.
pub(super) type Answer = Result<Value, Refusal>;

/// Why a call was not answered as asked.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

/// A refusal with this status.
pub(super) fn refused(status: u16, why: impl Into<String>) -> Refusal {
    Refusal {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        why: why.into(),
    }
}

impl Call {
    /// The parameters in the URL.
    pub(super) fn parameters<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let parsed = web::Query::<T>::from_query(&self.query);
        let parsed = parsed.map_err(|why| refused(400, format!("the parameters: {why}")))?;
        Ok(parsed.into_inner())
    }

    /// The body.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|why| refused(400, format!("the body: {why}")))
    }

    /// Logs a change with the operator who made it.
    pub(super) fn log(&self, what: std::fmt::Arguments<'_>) {
        log::info!("by {}, over HTTP: {what}", self.operator.name);
    }
}

/// The number of entries of a page.
pub(super) fn page(limit: Option<u32>) -> Result<u32, Refusal> {
    match limit {
        None => Ok(USUAL),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(other) => Err(refused(
            400,
            format!("limit={other} is out of range: ask for 1 to {MOST}, and for more in pages"),
        )),
    }
}

/// A value as JSON.
pub(super) fn json_of(value: &impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|why| refused(500, format!("no JSON: {why}")))
}

/// The answer with this document.
pub(super) fn answer(document: &Value) -> HttpResponse {
    safe(&mut HttpResponse::Ok())
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"))
        .json(document)
}

impl Refusal {
    pub(super) fn respond(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, "1"));
        }
        safe(&mut response).json(json!({ "error": self.why }))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let status = match &error {
            StoreError::Refused(_) => 400,
            // It may have taken place: whoever asked must look.
            StoreError::Unknown | StoreError::ReadOnly => 500,
            StoreError::Open(_)
            | StoreError::Failed(_)
            | StoreError::Unable(_)
            | StoreError::Busy(_)
            | StoreError::Stopped => 503,
        };
        refused(status, error.to_string())
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Refusal {
        match error {
            SendError::Store(error) => error.into(),
            other => refused(400, other.to_string()),
        }
    }
}
