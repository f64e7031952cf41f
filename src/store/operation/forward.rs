//! Forwarded rows: work for services.

use std::collections::HashSet;
use std::time::Duration;

/// Claims forwarded rows that are due and free, or whose claiming node's lease has run out, or that the caller's node
/// has claimed without knowing it, the outcome of that commit having been lost.
#[derive(Clone, Debug)]
pub struct ClaimForwarded {
    /// At most so many.
    pub limit: u32,
    /// Rows that the caller knows it has claimed.
    pub holding: HashSet<i64>,
    /// So long after a claim the caller must have heard of it.
    pub hearing: Duration,
}

/// Puts a claimed row back, to be claimed again by anyone when it is due. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct PostponeForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Failed attempts now.
    pub attempts: u32,
    /// Due again after this.
    pub delay: Duration,
}

/// Makes a claimed row a dead letter. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct BuryForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Why.
    pub reason: String,
}

/// Reads a forwarded row by its reply token, without claiming it. `None`: settled, or wrong secret.
#[derive(Clone, Debug)]
pub struct ReadForwarded {
    /// Which row.
    pub id: i64,
    /// The token's secret.
    pub secret: String,
}
