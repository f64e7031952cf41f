//! How connections have ended, by close code.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::CloseCode;

/// What a client may say at the end; anything else is one more, so that clients cannot make up names of figures.
const BY_CLIENT: [&str; 6] = ["1000", "1001", "4000", "none", "lost", "other"];

/// Counters of ends.
#[derive(Debug, Default)]
pub(crate) struct Closes {
    by_server: [AtomicU64; CloseCode::ALL.len()],
    by_client: [AtomicU64; BY_CLIENT.len()],
}

impl Closes {
    /// This server closes a connection.
    pub(crate) fn by_server(&self, code: CloseCode) {
        let index = CloseCode::ALL.iter().position(|it| *it == code);
        if let Some(counter) = index.and_then(|index| self.by_server.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// The client closes its connection, with this code if it gives one.
    pub(crate) fn by_client(&self, code: Option<u16>) {
        self.count_by_client(match code {
            Some(1000) => "1000",
            Some(1001) => "1001",
            Some(4000) => "4000",
            Some(_) => "other",
            None => "none",
        });
    }

    /// A connection ended without a Close.
    pub(crate) fn lost(&self) {
        self.count_by_client("lost");
    }

    fn count_by_client(&self, how: &str) {
        let index = BY_CLIENT.iter().position(|it| *it == how);
        if let Some(counter) = index.and_then(|index| self.by_client.get(index)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// By code, what this server and what clients closed.
    pub(crate) fn snapshot(&self) -> [BTreeMap<String, u64>; 2] {
        let codes = CloseCode::ALL.iter().map(|it| it.code().to_string());
        let server = codes.zip(&self.by_server);
        let client = BY_CLIENT
            .iter()
            .map(|it| (*it).to_owned())
            .zip(&self.by_client);
        [server.collect::<Vec<_>>(), client.collect()].map(|all| {
            let all = all.into_iter();
            all.map(|(code, counter)| (code, counter.load(Relaxed)))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_clients_make_up_are_one_figure() {
        let closes = Closes::default();
        for code in [Some(1000), Some(4711), Some(4712), None] {
            closes.by_client(code);
        }
        closes.by_server(CloseCode::ServiceRestart);
        closes.lost();
        let [server, client] = closes.snapshot();
        assert_eq!((server["1012"], server["4004"], server.len()), (1, 0, 10));
        let told = ["1000", "1001", "4000", "none", "lost", "other"].map(|it| client[it]);
        assert_eq!(told, [1, 0, 0, 1, 1, 2]);
        assert_eq!(client.len(), 6);
    }
}
