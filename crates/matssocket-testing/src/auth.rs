//! Authentication under a test's control: `<user>:<anything>` is valid until the test sets a flag.

use std::time::SystemTime;

use actix_web::HttpRequest;
use async_trait::async_trait;

use matssocket::{
    AuthError, Authentication, Authenticator, DebugOptions, Principal, Refused, ResponseHeaders,
    Verdict,
};

use super::{Control, Seen};

/// Flags: `invalid:<value>` refuses a value (initially and for incoming), `outgoing:<value>` for outgoing only,
/// `broken:<value>` makes the step fail. Users `debug…` may have every debug option, `nodes…` the node names only.
/// Topics `denied…` are refused, topics `slow…` wait for the gate of that name, `broken…` fail.
pub struct TestAuth(pub Control);

struct Connection(Control);

#[async_trait(?Send)]
impl Authentication for TestAuth {
    fn check_origin(&self, origin: &str, _: &HttpRequest) -> bool {
        !origin.contains("evil")
    }

    async fn handshake(
        &self,
        request: &HttpRequest,
        _: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        if request.query_string().contains("refuse") {
            return Err(Refused::new("the handshake's secret reason"));
        }
        Ok(Box::new(Connection(self.0.clone())))
    }
}

impl Connection {
    fn check(&self, value: &str) -> Result<Option<Verdict>, AuthError> {
        if self.0.is_set(&format!("broken:{value}")) {
            return Err(AuthError::new("its database is away"));
        }
        let invalid = self.0.is_set(&format!("invalid:{value}"));
        Ok(invalid.then(|| Verdict::Invalid("this authorization is refused".into())))
    }
}

#[async_trait(?Send)]
impl Authenticator for Connection {
    async fn authenticate(&self, value: &str) -> Result<Verdict, AuthError> {
        if let Some(refusal) = self.check(value)? {
            return Ok(refusal);
        }
        if self.0.is_set("slow authentication") {
            self.0.pass("authentication").await;
        }
        self.0.saw(Seen {
            what: "session:authenticated".to_owned(),
            user: value.to_owned(),
            ..Seen::default()
        });
        let Some((user, _)) = value.split_once(':') else {
            return Ok(Verdict::Invalid("not of the form user:state".into()));
        };
        let options = match user {
            user if user.starts_with("debug") => DebugOptions::ALL,
            user if user.starts_with("nodes") => DebugOptions::NODES,
            _ => DebugOptions::default(),
        };
        Ok(Verdict::Authenticated(
            Principal::user(user)
                .with_debug_options(options)
                .with_data(format!("data of {user}")),
        ))
    }

    async fn reevaluate(&self, value: &str, _: &Principal) -> Result<Verdict, AuthError> {
        Ok(self.check(value)?.unwrap_or(Verdict::StillValid))
    }

    async fn reevaluate_outgoing(
        &self,
        value: &str,
        _: &Principal,
        _: SystemTime,
    ) -> Result<Verdict, AuthError> {
        if self.0.is_set(&format!("outgoing broken:{value}")) {
            return Err(AuthError::new("its database is away"));
        }
        if self.0.is_set(&format!("outgoing:{value}")) {
            return Ok(Verdict::Invalid("not for outgoing".into()));
        }
        Ok(Verdict::StillValid)
    }

    async fn authorize_topic(&self, topic: &str, _: &Principal) -> Result<bool, AuthError> {
        if topic.starts_with("broken") {
            return Err(AuthError::new("its database is away"));
        }
        if topic.starts_with("slow") {
            self.0.pass(topic).await;
        }
        Ok(!topic.starts_with("denied") && !self.0.is_set(&format!("deny:{topic}")))
    }
}
