//! All settings, in one table for the configuration file, the environment and the command line.

use std::path::PathBuf;

use matssocket::Config;

use super::field::Field;
use super::store_url::StoreUrl;

/// All settings. (Without `Debug`, since a URL may contain a password.)
#[derive(Clone)]
pub struct Settings {
    pub store: StoreUrl,
    pub schema: Option<String>,
    pub pooled: bool,
    pub listen_url: Option<String>,
    pub listen: String,
    pub node_name: Option<String>,
    /// Empty: the page's own host.
    pub allowed_origins: Vec<String>,
    pub allowed_hosts: Vec<String>,
    /// Only `none`: clients connect directly.
    pub trusted_proxies: Vec<String>,
    pub introspection: bool,
    /// Without one, neither dashboard nor admin API is served.
    pub admin_token_file: Option<PathBuf>,
    pub config: Config,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            store: StoreUrl::Sqlite("matssocket.db".into()),
            schema: None,
            pooled: false,
            listen_url: None,
            listen: "127.0.0.1:8080".into(),
            node_name: None,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            introspection: false,
            admin_token_file: None,
            config: Config::default(),
        }
    }
}

/// One setting: `stop_grace` in the file, `MATSSOCKET_STOP_GRACE` in the environment, `--stop-grace` on the command
/// line.
pub struct Setting {
    pub key: &'static str,
    pub help: &'static str,
    /// It names the store: every command has it as an option.
    pub of_store: bool,
    pub field: Field,
}

const fn of_store(key: &'static str, help: &'static str, field: Field) -> Setting {
    Setting {
        key,
        help,
        of_store: true,
        field,
    }
}

const fn of_server(key: &'static str, help: &'static str, field: Field) -> Setting {
    Setting {
        key,
        help,
        of_store: false,
        field,
    }
}

/// All settings, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    of_store(
        "store",
        "The store: sqlite:PATH or postgres://…",
        Field::Store(|s| &mut s.store),
    ),
    of_store(
        "schema",
        "PostgreSQL: the schema of the tables",
        Field::OptionalText(|s| &mut s.schema),
    ),
    of_store(
        "pooled",
        "PostgreSQL: the URL is that of a pooler, such as PgBouncer",
        Field::Switch(|s| &mut s.pooled),
    ),
    of_server(
        "listen_url",
        "PostgreSQL: where to LISTEN, if not at the store's URL",
        Field::OptionalUrl(|s| &mut s.listen_url),
    ),
    of_server(
        "listen",
        "Address and port to listen on (port 0: any free port)",
        Field::Text(|s| &mut s.listen),
    ),
    of_server(
        "node_name",
        "Prefix of the node's name, instead of the host name",
        Field::OptionalText(|s| &mut s.node_name),
    ),
    of_server(
        "allowed_origins",
        "Origins of pages that may connect, instead of the server's own",
        Field::List(|s| &mut s.allowed_origins),
    ),
    of_server(
        "allowed_hosts",
        "Hosts that requests may name; default: any",
        Field::List(|s| &mut s.allowed_hosts),
    ),
    of_server(
        "trusted_proxies",
        "Addresses of proxies whose X-Forwarded-* headers are trusted; none: clients connect directly",
        Field::List(|s| &mut s.trusted_proxies),
    ),
    of_server(
        "introspection",
        "Serve /sessions, which shows anyone who is connected",
        Field::Switch(|s| &mut s.introspection),
    ),
    of_server(
        "admin_token_file",
        "Serve the dashboard and the admin API at /admin, for whoever has the token in this file",
        Field::OptionalFile(|s| &mut s.admin_token_file),
    ),
    of_server(
        "hello_timeout",
        "Time within which HELLO must arrive",
        Field::Time(|s| &mut s.config.hello_timeout),
    ),
    of_server(
        "authentication_timeout",
        "Time limit of each call of the authentication",
        Field::Time(|s| &mut s.config.authentication_timeout),
    ),
    of_server(
        "max_connections_before_hello",
        "Connections that have not completed HELLO",
        Field::LongCount(|s| &mut s.config.max_connections_before_hello),
    ),
    of_server(
        "max_connections_before_hello_per_address",
        "The same per client address, where trusted_proxies is set",
        Field::LongCount(|s| &mut s.config.max_connections_before_hello_per_address),
    ),
    of_server(
        "close_session_grace",
        "From POST close_session until a session whose client stays away is closed",
        Field::Time(|s| &mut s.config.close_session_grace),
    ),
    of_server(
        "idle_timeout",
        "A connection without incoming data for this long is closed",
        Field::Time(|s| &mut s.config.idle_timeout),
    ),
    of_server(
        "ping_interval",
        "Between WebSocket pings",
        Field::Time(|s| &mut s.config.ping_interval),
    ),
    of_server(
        "write_timeout",
        "A client that reads nothing for this long is disconnected",
        Field::Time(|s| &mut s.config.write_timeout),
    ),
    of_server(
        "max_message",
        "Largest WebSocket message",
        Field::Size(|s| &mut s.config.max_message),
    ),
    of_server(
        "max_envelope",
        "Largest envelope of such a message",
        Field::Size(|s| &mut s.config.max_envelope),
    ),
    of_server(
        "max_user_bytes",
        "What the connections of one user may hold in memory, in each direction",
        Field::Size(|s| &mut s.config.max_user_bytes),
    ),
    of_server(
        "max_node_bytes",
        "What all connections may hold in memory together",
        Field::Size(|s| &mut s.config.max_node_bytes),
    ),
    of_server(
        "max_sessions_per_user",
        "Sessions of one user",
        Field::Count(|s| &mut s.config.max_sessions_per_user),
    ),
    of_server(
        "max_handlers",
        "Handlers running at a time, per session",
        Field::LongCount(|s| &mut s.config.max_handlers),
    ),
    of_server(
        "max_handlers_per_user",
        "Handlers running at a time, for all sessions of one user on a node",
        Field::LongCount(|s| &mut s.config.max_handlers_per_user),
    ),
    of_server(
        "max_inbox",
        "Rows in a session's inbox",
        Field::LongCount(|s| &mut s.config.max_inbox),
    ),
    of_server(
        "max_inbox_bytes",
        "Bytes of the answers in a session's inbox",
        Field::Size(|s| &mut s.config.max_inbox_bytes),
    ),
    of_server(
        "max_outbox",
        "Messages stored for a session",
        Field::Count(|s| &mut s.config.store.max_outbox),
    ),
    of_server(
        "max_outbox_bytes",
        "Bytes of the messages stored for a session",
        Field::Size(|s| &mut s.config.store.max_outbox_bytes),
    ),
    of_server(
        "max_outbox_bytes_per_user",
        "The same, for all sessions of one user",
        Field::Size(|s| &mut s.config.store.max_outbox_bytes_per_user),
    ),
    of_server(
        "acknowledge_timeout",
        "A client that acknowledges nothing for this long must reconnect",
        Field::Time(|s| &mut s.config.acknowledge_timeout),
    ),
    of_server(
        "transaction_limit",
        "A transactional handler that takes longer is rolled back",
        Field::Time(|s| &mut s.config.transaction_limit),
    ),
    of_server(
        "window",
        "Messages sent and not acknowledged, per session",
        Field::LongCount(|s| &mut s.config.window),
    ),
    of_server(
        "writers",
        "PostgreSQL: connections that write",
        Field::LongCount(|s| &mut s.config.store.writers),
    ),
    of_server(
        "answer_timeout",
        "PostgreSQL: a connection without an answer for this long is given up",
        Field::Time(|s| &mut s.config.store.answer_timeout),
    ),
    of_server(
        "max_redeliveries",
        "Counted redeliveries before a message becomes a dead letter",
        Field::Count(|s| &mut s.config.max_redeliveries),
    ),
    of_server(
        "dead_letter_age",
        "How long dead letters are kept",
        Field::Time(|s| &mut s.config.dead_letter_age),
    ),
    of_server(
        "max_dead_letter_bytes",
        "Bytes of the dead letters that are kept",
        Field::Size(|s| &mut s.config.max_dead_letter_bytes),
    ),
    of_server(
        "max_running_per_service",
        "Messages of one service in progress at a time",
        Field::LongCount(|s| &mut s.config.max_running_per_service),
    ),
    of_server(
        "service_time_limit",
        "An attempt of a service that takes longer has failed",
        Field::Time(|s| &mut s.config.service_time_limit),
    ),
    of_server(
        "service_attempts",
        "Attempts of a service",
        Field::Count(|s| &mut s.config.service_attempts),
    ),
    of_server(
        "service_backoff",
        "Wait before the second attempt of a service; it doubles before each further one",
        Field::Time(|s| &mut s.config.service_backoff),
    ),
    of_server(
        "service_longest_backoff",
        "Longest wait between attempts of a service",
        Field::Time(|s| &mut s.config.service_longest_backoff),
    ),
    of_server(
        "request_timeout",
        "Time-out of a server's request",
        Field::Time(|s| &mut s.config.request_timeout),
    ),
    of_server(
        "session_timeout",
        "A session whose client stays away for this long is closed",
        Field::Time(|s| &mut s.config.session_timeout),
    ),
    of_server(
        "topic_history",
        "How long publications are kept",
        Field::Time(|s| &mut s.config.topic_history),
    ),
    of_server(
        "lease",
        "How long a node's lease lasts",
        Field::Time(|s| &mut s.config.lease),
    ),
    of_server(
        "lease_interval",
        "Between renewals of the lease",
        Field::Time(|s| &mut s.config.lease_interval),
    ),
    of_server(
        "sweep_interval",
        "Interval at which nodes look for what notices have missed",
        Field::Time(|s| &mut s.config.sweep_interval),
    ),
    of_server(
        "stop_delay",
        "Time that a server told to stop goes on serving, while /ready says 503",
        Field::Time(|s| &mut s.config.stop_delay),
    ),
    of_server(
        "stop_grace",
        "Time that running handlers get when the server stops",
        Field::Time(|s| &mut s.config.stop_grace),
    ),
    of_server(
        "stop_spread",
        "Time over which a stopping server closes its sockets",
        Field::Time(|s| &mut s.config.stop_spread),
    ),
    of_server(
        "reveal_errors",
        "Send clients the text of every handler error",
        Field::Switch(|s| &mut s.config.reveal_errors),
    ),
];

impl Setting {
    /// The setting of this key in the file.
    pub fn find(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Its command-line option.
    pub fn option(&self) -> String {
        format!("--{}", self.key.replace('_', "-"))
    }

    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("MATSSOCKET_{}", self.key.to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_read_again() {
        let defaults = Settings::default();
        for setting in SETTINGS {
            if let Some(shown) = setting.field.show(&defaults) {
                let mut settings = defaults.clone();
                let set = setting.field.set(&mut settings, &shown);
                assert_eq!(set, Ok(()), "{} = {shown}", setting.key);
                assert_eq!(
                    setting.field.show(&settings),
                    Some(shown),
                    "{}",
                    setting.key
                );
            }
        }
    }
}
