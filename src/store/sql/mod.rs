//! The statements that both databases share, written once and compiled for each of them. `sqlite` and `postgres` mount
//! this module and supply what differs: `Conn`, `Dialect`, the macros `locked!` and `unclaimed!`, and a few methods.

/// Sessions, each with the node that holds it, if that node is alive.
macro_rules! with_living_nodes {
    ($now:expr) => {
        session::table.left_join(
            node::table.on(session::node
                .eq(node::name.nullable())
                .and(node::lease_until.gt($now))),
        )
    };
}

mod allowances;
mod application;
mod caps;
mod claims;
mod closing;
mod dead_letters;
mod excess;
mod expired;
mod forgotten;
mod forwarded;
mod handler;
mod inbox;
mod known;
mod listing;
mod mend;
mod nodes;
mod outbox;
mod passed;
mod reserved;
mod rooms;
mod scavenge;
mod sessions;
mod sizes;
mod topics;
mod transaction;
mod units;
mod unserved;
mod users;

/// Maximum number of values in one statement; SQLite's limit is in the tens of thousands.
const MOST_VALUES: usize = 500;

/// An application's handler runs after this savepoint; if the savepoint still exists afterwards, so does the
/// transaction.
pub const SAVEPOINT: &str = "matssocket_handler";

use super::{Conn, Dialect, is_lost, lendable, rows, schema};
pub use claims::Owner;
pub use forgotten::Forgotten;
pub use forwarded::ClaimOfRow;
pub use known::Known;
pub use rooms::Rooms;
pub use sessions::ToResume;
pub use topics::{Found, Wanted};
#[allow(unused_imports)] // SQLite does not read rows in advance
pub use transaction::RowColumns;
pub use transaction::{Taking, Transaction};
