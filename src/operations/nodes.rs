//! `matssocket nodes`.

use lexopt::Parser;
use serde_json::json;

use super::Failure;
use super::help::NODES;
use super::output::{self, Table, counted, relative};

pub async fn run(parser: Parser) -> Result<(), Failure> {
    let Some(asked) = NODES.read(parser, |_, _| Ok(false))? else {
        return Ok(());
    };
    let nodes = asked.open_to_read().await?.nodes().await?;
    if asked.json {
        output::print_json(&json!({ "nodes": nodes }));
        return Ok(());
    }
    let living = nodes.iter().filter(|node| node.lives).count();
    if !nodes.is_empty() {
        let now = output::now();
        let mut table = Table::new(["NODE", "STATE", ">SESSIONS", "LEASE"]);
        for node in nodes {
            let (state, lease) = match node.lives {
                true => ("up", "runs out"),
                false => ("gone", "ran out"),
            };
            table.row([
                node.name,
                state.into(),
                node.sessions.to_string(),
                format!("{lease} {}", relative(now, node.lease_until)),
            ]);
        }
        table.print();
        output::print("\n");
    }
    output::print(&format!("{} up\n", counted(living as u64, "node")));
    Ok(())
}
