//! The admin API of a running server.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use matssocket::{
    ConnectedUser, DeadLetter, SessionFilter, StoredNode, StoredSession, StoredUser, UnservedWork,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{StatusCode, Uri};

use super::masked::masked;
use crate::failure::Failure;

/// How long one call may take, from connecting to the last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of an answer: a page of large dead letters has about 4 MiB of payloads, which grow where they are escaped.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Entries asked for at a time; the API gives no more.
const PAGE: u32 = 1_000;

/// Which server to ask, and by which token.
#[derive(Clone, Default)]
pub struct RemoteOptions {
    pub url: Option<String>,
    pub token_file: Option<PathBuf>,
}

/// The admin API of a server.
pub struct Remote {
    agent: ureq::Agent,
    /// Where the API is, with a slash at its end.
    base: String,
    token: Option<String>,
}

impl RemoteOptions {
    /// The server, if one is named by these options or by the environment. Nothing is sent yet.
    ///
    /// # Errors
    /// The URL or the token cannot be used.
    pub fn remote(&self) -> Result<Option<Remote>, Failure> {
        let url = self.url.clone().or_else(|| variable("MATSSOCKET_SERVER"));
        let Some(url) = url else {
            return match self.token_file {
                None => Ok(None),
                Some(_) => Err(Failure::Usage(
                    "--token-file is for a server: name it by --server URL or MATSSOCKET_SERVER"
                        .into(),
                )),
            };
        };
        let base = base(&url)?;
        let file = self.token_file.clone();
        let file = file.or_else(|| variable("MATSSOCKET_TOKEN_FILE").map(PathBuf::from));
        let token = match file {
            Some(file) => Some(read_token(&file)?),
            None => variable("MATSSOCKET_TOKEN"),
        };
        Ok(Some(Remote::new(base, token)))
    }
}

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where the API of a server is whose dashboard or API is mounted at a URL.
fn base(url: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        let url = masked(url);
        Err(Failure::Usage(format!(
            "--server {url:?} {why}: write the URL at which the application mounted the dashboard or the admin API, such as \
             https://shop.example/admin"
        )))
    };
    let Ok(parsed) = url.parse::<Uri>() else {
        return wrong("is no URL");
    };
    let (Some("http" | "https"), Some(authority)) = (parsed.scheme_str(), parsed.authority())
    else {
        return wrong("does not begin with http:// or https://");
    };
    if authority.as_str().contains('@') {
        return wrong("has a user or a password in it, which belongs into a --token-file");
    }
    if parsed.query().is_some() {
        return wrong("has a query");
    }
    let host = authority.host();
    if parsed.scheme_str() == Some("http") && !is_here(host) {
        log::warn!("{host} is asked without encryption: others on the way can read the token");
    }
    let path = parsed.path().trim_end_matches('/');
    let scheme = parsed.scheme_str().unwrap_or_default();
    Ok(format!("{scheme}://{authority}{path}/api/"))
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The token in a file, without the space around it.
///
/// # Errors
/// It cannot be read, or has none.
pub fn read_token(file: &Path) -> Result<String, Failure> {
    let name = masked(&file.display().to_string());
    let text = std::fs::read_to_string(file)
        .map_err(|why| Failure::Usage(format!("the token file {name} cannot be read: {why}")))?;
    match text.trim() {
        "" => Err(Failure::Usage(format!("the token file {name} is empty"))),
        token => Ok(token.to_owned()),
    }
}

impl Remote {
    fn new(base: String, token: Option<String>) -> Remote {
        // An error says that there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = base.parse::<Uri>().ok();
        let is_here = host.and_then(|it| it.host().map(is_here)).unwrap_or(false);
        let mut config = ureq::Agent::config_builder();
        if is_here {
            // A proxy of the environment would be sent the token, and could not reach this machine anyway.
            config = config.proxy(None);
        }
        let config = config
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // The token is for the server that was named, and for no other.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(
                ureq::tls::TlsConfig::builder()
                    .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                    .build(),
            )
            .build();
        Remote {
            agent: config.into(),
            base,
            token,
        }
    }

    /// Which server this is.
    fn place(&self) -> &str {
        self.base.trim_end_matches("api/")
    }

    fn get<T: DeserializeOwned>(&self, name: &str, query: &[(&str, String)]) -> Result<T, Failure> {
        let mut request = self.agent.get(format!("{}{name}", self.base));
        for (key, value) in query {
            request = request.query(key, value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(request.call())
    }

    fn post<T: DeserializeOwned>(&self, name: &str, body: &Value) -> Result<T, Failure> {
        let request = self.agent.post(format!("{}{name}", self.base));
        let mut request = request.content_type("application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(request.send(body.to_string()))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Failure> {
        let place = self.place();
        let lost = |why: ureq::Error| Failure::Undone(format!("{place} does not answer: {why}"));
        let mut response = answered.map_err(lost)?;
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let body = body.read_to_string().map_err(lost)?;
        let status = response.status();
        if status == StatusCode::OK {
            return serde_json::from_str(&body).map_err(|why| {
                Failure::Undone(format!(
                    "{place} does not answer as an admin API does: {why}"
                ))
            });
        }
        let said: Option<Refused> = serde_json::from_str(&body).ok();
        Err(Failure::Undone(match (status, said) {
            (StatusCode::UNAUTHORIZED, _) => format!(
                "{place} refuses the token: name the file that has it by --token-file or MATSSOCKET_TOKEN_FILE"
            ),
            (_, Some(Refused { error })) => error,
            (StatusCode::NOT_FOUND, None) => format!(
                "there is no admin API at {place}: the application mounts it by MatsSocketServer::dashboard or admin_api"
            ),
            (status, None) => format!("{place} answered {status}"),
        }))
    }
}

/// What the API says that was wrong.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

/// A page of a list of users.
#[derive(Deserialize)]
struct UserPage<T> {
    users: Vec<T>,
    next: Option<String>,
}

fn filter(filter: &SessionFilter) -> Vec<(&'static str, String)> {
    let mut query = Vec::new();
    if let Some(user_id) = &filter.user_id {
        query.push(("user_id", user_id.clone()));
    }
    if let Some(app_name) = &filter.app_name {
        query.push(("app_name", app_name.clone()));
    }
    if filter.connected_only {
        query.push(("connected", "true".to_owned()));
    }
    query
}

/// What the library's `Admin` has as well.
impl Remote {
    pub fn sessions(
        &self,
        wanted: &SessionFilter,
        limit: u32,
    ) -> Result<Vec<StoredSession>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            sessions: Vec<StoredSession>,
            next: Option<i64>,
        }
        let mut sessions: Vec<StoredSession> = Vec::new();
        let mut after = None;
        while sessions.len() < limit as usize {
            let mut query = filter(wanted);
            let most = (limit - sessions.len() as u32).min(PAGE);
            query.push(("limit", most.to_string()));
            query.extend(after.map(|after: i64| ("after", after.to_string())));
            let page: Page = self.get("sessions", &query)?;
            sessions.extend(page.sessions);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(sessions)
    }

    pub fn count_sessions(&self, wanted: &SessionFilter) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let Count { count } = self.get("sessions/count", &filter(wanted))?;
        Ok(count)
    }

    pub fn users(&self, after: Option<&str>, limit: u32) -> Result<Vec<StoredUser>, Failure> {
        self.users_of("users", after, limit)
    }

    pub fn connected_users(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConnectedUser>, Failure> {
        self.users_of("users/connected", after, limit)
    }

    pub fn connected_user(&self, user_id: &str) -> Result<Option<ConnectedUser>, Failure> {
        let query = [("user_id", user_id.to_owned())];
        let mut page: UserPage<ConnectedUser> = self.get("users/connected", &query)?;
        Ok(page.users.pop())
    }

    /// Reads a list of users, page by page.
    fn users_of<T: DeserializeOwned>(
        &self,
        name: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<T>, Failure> {
        let mut users: Vec<T> = Vec::new();
        let mut after = after.map(str::to_owned);
        while users.len() < limit as usize {
            let most = (limit - users.len() as u32).min(PAGE);
            let mut query = vec![("limit", most.to_string())];
            query.extend(after.take().map(|after| ("after", after)));
            let page: UserPage<T> = self.get(name, &query)?;
            users.extend(page.users);
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(users)
    }

    /// Closes a session, or all of a user: `target` names which.
    pub fn close(&self, target: (&str, &str), reason: &str) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Closed {
            closed: u64,
        }
        let (key, id) = target;
        let Closed { closed } =
            self.post("sessions/close", &json!({ key: id, "reason": reason }))?;
        Ok(closed)
    }

    pub fn revoke(&self, user_id: &str, topic: Option<&str>) -> Result<(), Failure> {
        let body = match topic {
            Some(topic) => json!({ "user_id": user_id, "topic": topic }),
            None => json!({ "user_id": user_id }),
        };
        self.post::<Value>("sessions/revoke", &body)?;
        Ok(())
    }

    pub fn nodes(&self) -> Result<(Vec<StoredNode>, Vec<UnservedWork>), Failure> {
        #[derive(Deserialize)]
        struct Shown {
            nodes: Vec<StoredNode>,
            unserved: Vec<UnservedWork>,
        }
        let Shown { nodes, unserved } = self.get("nodes", &[])?;
        Ok((nodes, unserved))
    }

    pub fn dead_letters(&self, after: i64, limit: u32) -> Result<Vec<DeadLetter>, Failure> {
        #[derive(Deserialize)]
        struct Page {
            dead_letters: Vec<DeadLetter>,
        }
        let query = [
            ("after", after.to_string()),
            ("limit", limit.clamp(1, PAGE).to_string()),
            ("payloads", "true".to_owned()),
        ];
        let Page { dead_letters } = self.get("dead-letters", &query)?;
        Ok(dead_letters)
    }

    pub fn redrive_dead_letter(&self, id: i64) -> Result<bool, Failure> {
        let done: Value = self.post("dead-letters/redrive", &json!({ "ids": [id] }))?;
        Ok(done["redriven"] == json!([id]))
    }

    pub fn drop_dead_letter(&self, id: i64) -> Result<bool, Failure> {
        let done: Value = self.post("dead-letters/drop", &json!({ "ids": [id] }))?;
        Ok(done["dropped"] == json!([id]))
    }
}
