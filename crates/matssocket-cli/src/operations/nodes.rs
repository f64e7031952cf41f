//! `matssocket nodes`.

use std::time::SystemTime;

use matssocket::{StoredNode, UnservedWork};
use serde_json::json;

use super::options::StoreOptions;
use crate::failure::Failure;
use crate::output::{self, Table, counted, relative};

/// The prefix of built-in services' names: all nodes have these services, or they belong to an endpoint.
const BUILT_IN: &str = "MatsSocket.";

/// List the nodes of the cluster
///
/// With their leases, the number of sessions that each holds, and their services; and the services for which messages
/// wait although no node has them. An SQLite file is open to one process at a time: name its server by --server, or
/// stop it first.
#[derive(clap::Args)]
pub struct Nodes {
    #[command(flatten)]
    options: StoreOptions,
}

impl Nodes {
    /// # Errors
    /// Why the nodes cannot be listed.
    pub async fn run(self) -> Result<(), Failure> {
        let asked = self.options.load()?;
        let (nodes, unserved) = asked.open_to_read().await?.nodes().await?;
        if asked.json {
            output::print_json(&json!({ "nodes": nodes, "unserved": unserved }));
            return Ok(());
        }
        let living = nodes.iter().filter(|node| node.lives).count();
        print_nodes(nodes);
        output::print(&format!("{} up\n", counted(living as u64, "node")));
        print_unserved(unserved);
        Ok(())
    }
}

fn print_nodes(nodes: Vec<StoredNode>) {
    if nodes.is_empty() {
        return;
    }
    let now = SystemTime::now();
    let mut table = Table::new(["NODE", "STATE", ">SESSIONS", "LEASE", "SERVICES"]);
    for node in nodes {
        let (state, lease) = match node.lives {
            true => ("up", "runs out"),
            false => ("gone", "ran out"),
        };
        let services = match node.services {
            Some(services) => services
                .into_iter()
                .filter(|name| !name.starts_with(BUILT_IN))
                .collect::<Vec<_>>()
                .join(", "),
            None => "not known".to_owned(),
        };
        table.row([
            node.name,
            state.into(),
            node.sessions.to_string(),
            format!("{lease} {}", relative(now, node.lease_until)),
            match services.is_empty() {
                true => "-".to_owned(),
                false => services,
            },
        ]);
    }
    table.print();
    output::print("\n");
}

fn print_unserved(unserved: Vec<UnservedWork>) {
    if unserved.is_empty() {
        return;
    }
    output::print("\nMessages are waiting for services that no running node has:\n");
    let now = SystemTime::now();
    let mut table = Table::new(["SERVICE", ">MESSAGES", "OLDEST"]);
    for work in unserved {
        table.row([
            work.service,
            work.messages.to_string(),
            relative(now, work.oldest),
        ]);
    }
    table.print();
}
