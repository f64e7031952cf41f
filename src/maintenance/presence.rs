//! Keeps up who is present: settles the users noted on this node and those whose grace is over, and reviews all users
//! when that is due.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::tasks::Pace;
use crate::node::{Node, Presence};
use crate::store::StoreError;
use crate::store::operation::{
    ClaimPresenceReview, LookAtPresence, ReviewPresence, Reviewed, SettlePresence, SettledPresence,
};

/// Users settled at a time.
const PART: usize = 1_000;

pub(super) async fn keep_up(node: &Node) -> Result<(), StoreError> {
    let Some(presence) = &node.presence else {
        return Ok(());
    };
    settle_noted(node, presence).await?;
    let config = &node.config;
    let look = LookAtPresence {
        grace: config.presence_grace,
        review: config.presence_review_interval,
    };
    let due = node.store.run(look).await?;
    if due.leaves {
        settle(node, presence, Vec::new()).await?;
    }
    let is_ours = presence.take_review();
    let reviewed = async {
        match is_ours || due.review && claim_review(node).await? {
            true => review(node, presence).await,
            false => Ok(()),
        }
    };
    let reviewed = reviewed.await;
    if reviewed.is_err() {
        // Also if only the claim has failed: it may have been stored, and then no other node makes the review.
        presence.needs_review();
    }
    reviewed
}

/// Settles the users whose sessions have come or gone on this node.
async fn settle_noted(node: &Node, presence: &Presence) -> Result<(), StoreError> {
    loop {
        let users = presence.take(PART);
        if users.is_empty() {
            return Ok(());
        }
        let settled = settle(node, presence, users.clone()).await;
        if !matches!(settled, Ok(true)) {
            presence.put_back(&users);
            return settled.map(drop);
        }
    }
}

/// Settles these users, and those whose grace is over. False: this node has no lease, so that it cannot tell.
async fn settle(node: &Node, presence: &Presence, users: Vec<String>) -> Result<bool, StoreError> {
    let mut settle = SettlePresence {
        users,
        grace: node.config.presence_grace,
        limit: PART as u32,
        topic: presence.topic.clone(),
    };
    loop {
        match node.store.run(settle.clone()).await? {
            SettledPresence::NoLease => return Ok(false),
            SettledPresence::Settled {
                joined,
                left,
                published,
                more,
            } => {
                let counters = &node.counters.presence;
                for (counter, count) in [
                    (&counters.joined, joined),
                    (&counters.left, left),
                    (&counters.published, published),
                ] {
                    counter.fetch_add(count.into(), Ordering::Relaxed);
                }
                if !more || node.stopping() {
                    return Ok(true);
                }
                settle.users.clear();
            }
        }
    }
}

async fn claim_review(node: &Node) -> Result<bool, StoreError> {
    let review = node.config.presence_review_interval;
    node.store.run(ClaimPresenceReview { review }).await
}

/// Compares all users with all sessions, part by part.
async fn review(node: &Node, presence: &Presence) -> Result<(), StoreError> {
    let counter = &node.counters.presence.reviews;
    counter.fetch_add(1, Ordering::Relaxed);
    for of in [Reviewed::Present, Reviewed::WithSessions] {
        let (mut pace, mut after) = (Pace::default(), None);
        loop {
            let begun = Instant::now();
            let limit = pace.limit();
            let part = node.store.run(ReviewPresence { of, after, limit }).await?;
            for users in part.users.chunks(PART) {
                if !settle(node, presence, users.to_vec()).await? {
                    // Once it has a lease again, it is another node, by which the next review is due.
                    return Ok(());
                }
            }
            after = part.next;
            if after.is_none() || node.stopping() {
                break;
            }
            pace.rest(begun.elapsed()).await;
        }
    }
    Ok(())
}
