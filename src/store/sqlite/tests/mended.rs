//! Times too far in the future are repaired once, and only those.

use std::sync::Arc;
use std::time::Duration;

use super::super::in_memory;
use crate::clock::Clock;
use crate::store::StoreConfig;
use crate::store::conformance::register_of;
use crate::store::operation::{MendTimes, NewOrResumed};
use crate::store::statements::{
    Care, Database, DbResult, Group, Statements, Touched, Verdict, WorkConnection,
};

/// Opens a session if `open` is set, then repairs times; `mended` is how many.
struct Mend {
    clock: Clock,
    open: bool,
    mended: u64,
}

impl Group for Mend {
    fn touches(&self, _: &mut dyn FnMut(Touched<'_>)) {}

    fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
        statements.on_behalf_of(&Arc::from("a"), &self.clock);
        if self.open {
            let new = NewOrResumed::New {
                sid: "s1".into(),
                smid_prefix: "p".into(),
            };
            statements.register(&register_of("user", new))?;
        }
        self.mended = statements.mend_times(&MendTimes {
            close_after: Duration::from_secs(30),
            again: Duration::from_secs(60),
            limit: 10,
        })?;
        Ok(Verdict::Commit)
    }
}

fn mend(connection: &mut dyn WorkConnection, ms: i64, open: bool) -> u64 {
    let mut group = Mend {
        clock: Clock::fixed_ms(ms),
        open,
        mended: 0,
    };
    let done = connection.transaction(&mut group, Care::Careful);
    assert_eq!(done.expect("it works"), Verdict::Commit);
    group.mended
}

/// Handlers had occupied the writer for longer than the tolerance between clocks: times written just now seemed to lie
/// in the future, and were repaired again after each new connection.
#[test]
fn times_are_repaired_once_and_present_ones_not_at_all() {
    const HOUR: i64 = 3_600_000;
    let database = in_memory(&StoreConfig::default()).expect("opens");
    database.held.add(Duration::from_secs(120));
    let mut connection = database.writer().expect("connects");
    assert_eq!(mend(&mut *connection, 10 * HOUR, true), 0, "it is of now");
    drop(connection);
    let mut connection = database.writer().expect("connects again");
    let mended = mend(&mut *connection, 9 * HOUR, false);
    assert_eq!(mended, 0, "no clock is set back while a process runs");
    // Another process would find the time too far ahead.
    database
        .mended
        .store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(mend(&mut *connection, 9 * HOUR, false), 1);
}
