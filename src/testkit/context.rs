//! Contexts without a server, for tests that call a handler as the function that it is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::Sent;
use crate::auth::{ClientInfo, Principal};
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::{Authorization, Context, Data, Host, Incoming, Origin, effects};
use crate::error::SendError;
use crate::server::MatsSocketServer;
use crate::wire::{MessageType, Payload};

/// Makes messages for handlers that a test calls itself, without a server and a client, and shows what they sent
/// through their contexts.
///
/// ```
/// use matssocket::testkit::{Decision, Sent, TestContext};
/// use matssocket::{HandlerError, Incoming, Outcome};
/// use serde_json::json;
///
/// async fn place(order: Incoming<u32>) -> Result<Outcome<String>, HandlerError> {
///     let (pieces, context) = order.into_parts();
///     context.publish("orders", context.trace_id(), &pieces)?;
///     Ok(Outcome::resolve(format!("{pieces} for {}", context.user_id())))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let test = TestContext::new().user("anna");
/// let outcome = place(test.incoming(17)).await.map_err(|error| error.to_string())?;
/// assert_eq!(Decision::of(outcome)?, Decision::Resolved(json!("17 for anna")));
/// let [Sent::Publication { topic, payload, .. }] = &test.sent()[..] else { panic!() };
/// assert_eq!((topic.as_str(), payload), ("orders", &json!(17)));
/// # Ok(()) }
/// ```
#[must_use]
pub struct TestContext {
    host: TestHost,
    server: Option<MatsSocketServer>,
    session_id: String,
    principal: Option<Principal>,
    user_id: String,
    authorization: Option<String>,
    client: Option<Arc<ClientInfo>>,
    trace_id: String,
    message_id: Option<String>,
    endpoint: String,
    kind: MessageType,
    attempt: u32,
    correlation_string: Option<String>,
    correlation: Option<Payload>,
    end_reason: Option<String>,
    /// The contexts that it has made.
    made: Mutex<Vec<Context>>,
}

impl Default for TestContext {
    fn default() -> TestContext {
        TestContext::new()
    }
}

impl TestContext {
    /// A REQUEST of the user `"test user"`, in the session `"test session"`.
    pub fn new() -> TestContext {
        TestContext {
            host: TestHost(Arc::default()),
            server: None,
            session_id: "test session".to_owned(),
            principal: None,
            user_id: "test user".to_owned(),
            authorization: None,
            client: None,
            trace_id: "test trace".to_owned(),
            message_id: Some("1".to_owned()),
            endpoint: "Test.endpoint".to_owned(),
            kind: MessageType::Request,
            attempt: 1,
            correlation_string: None,
            correlation: None,
            end_reason: None,
            made: Mutex::default(),
        }
    }

    /// Handlers get this server from [`Context::server`], and its data. The default is no server.
    pub fn server(mut self, server: &MatsSocketServer) -> Self {
        self.server = Some(server.clone());
        self
    }

    /// State of the application, for [`Context::data`]: see [`ServerBuilder::data`](crate::ServerBuilder::data).
    ///
    /// # Panics
    /// There is a value of this type already, or a message was already made.
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        let parts = Arc::get_mut(&mut self.host.0).expect("data comes before the first message");
        assert!(parts.data.add(value), "data of this type was already given");
        self
    }

    /// The session.
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = id.into();
        self
    }

    /// The user, without a principal, as services see it.
    pub fn user(mut self, id: impl Into<String>) -> Self {
        self.user_id = id.into();
        self
    }

    /// The principal, and so the user.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.user_id.clone_from(&principal.user_id);
        self.principal = Some(principal);
        self
    }

    /// The authorization value.
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// The client.
    pub fn client(mut self, client: ClientInfo) -> Self {
        self.client = Some(Arc::new(client));
        self
    }

    /// The trace id.
    pub fn trace_id(mut self, id: impl Into<String>) -> Self {
        self.trace_id = id.into();
        self
    }

    /// The client's message id.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// The endpoint, terminator or service, and the type of the message for it.
    pub fn called(mut self, endpoint: impl Into<String>, message_type: MessageType) -> Self {
        self.endpoint = endpoint.into();
        self.kind = message_type;
        self
    }

    /// The number of the attempt.
    pub fn attempt(mut self, number: u32) -> Self {
        self.attempt = number;
        self
    }

    /// The correlation string of a server's request.
    pub fn correlation_string(mut self, string: impl Into<String>) -> Self {
        self.correlation_string = Some(string.into());
        self
    }

    /// What was given to [`Forward::correlation`](crate::Forward::correlation).
    ///
    /// # Panics
    /// It cannot be written as JSON.
    pub fn correlation(mut self, correlation: &impl Serialize) -> Self {
        self.correlation = Some(to_raw_value(correlation).expect("it can be written as JSON"));
        self
    }

    /// Why a server's request ended without a reply.
    pub fn end_reason(mut self, reason: impl Into<String>) -> Self {
        self.end_reason = Some(reason.into());
        self
    }

    /// A message with this payload.
    pub fn incoming<T>(&self, payload: T) -> Incoming<T> {
        Incoming::new(payload, self.context())
    }

    /// The context of a message.
    pub fn context(&self) -> Context {
        let host: Arc<dyn Host> = match &self.server {
            Some(server) => server.node.clone(),
            None => Arc::new(self.host.clone()),
        };
        let context = Context::new(Origin {
            session_id: self.session_id.clone(),
            user_id: self.user_id.clone(),
            principal: self.principal.clone(),
            authorization: self.authorization.clone().map(Authorization),
            client: self.client.clone(),
            trace_id: self.trace_id.clone(),
            message_id: self.message_id.clone(),
            attempt: self.attempt,
            correlation_string: self.correlation_string.clone(),
            forwarded: self.correlation.clone(),
            ended: self.end_reason.clone(),
            ..Origin::new(host, self.kind, self.endpoint.clone())
        });
        self.made().push(context.clone());
        context
    }

    /// What was sent through the contexts made so far, in order. (Their handlers have returned: a server would store it
    /// now, unless the handler failed.)
    pub fn sent(&self) -> Vec<Sent> {
        let made = self.made();
        made.iter().flat_map(effects).map(Sent::new).collect()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Vec<Context>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Omits the authorization value.
impl fmt::Debug for TestContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestContext")
            .field("session_id", &self.session_id)
            .field("user_id", &self.user_id)
            .field("endpoint", &self.endpoint)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What runs a handler that a test calls.
#[derive(Clone)]
struct TestHost(Arc<TestParts>);

#[derive(Default)]
struct TestParts {
    clock: Clock,
    config: Config,
    data: Data,
}

impl Host for TestHost {
    fn node_name(&self) -> Arc<str> {
        "test".into()
    }

    fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn config(&self) -> &Config {
        &self.0.config
    }

    fn data(&self) -> &Data {
        &self.0.data
    }

    /// The test has not said which there are.
    fn check_terminator(&self, _: &str) -> Result<(), SendError> {
        Ok(())
    }
}
