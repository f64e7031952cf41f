//! Claims of nodes that are gone, or have come back as others.

use super::*;

pub async fn taken_over_when_the_lease_ends(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let row = a.forward("f").await;
    base.clock.advance(secs(59));
    assert!(
        b.run(RenewLease {
            join: false,
            lease: secs(60)
        })
        .await
    );
    assert!(b.claim().await.is_empty());
    base.clock.advance(secs(1));
    let claimed = b.claim().await;
    assert_eq!((claimed.len(), claimed[0].epoch), (1, 2));
    assert!(b.claim().await.is_empty());
    let settle = |epoch| Unit {
        cause: Cause::Forwarded {
            id: row.id,
            proof: Proof::Epoch(epoch),
        },
        effects: vec![publish("t", "p")],
    };
    // The slow node changes nothing.
    assert_eq!(a.run(settle(1)).await, UnitOutcome::AlreadySettled);
    assert!(
        !a.run(PostponeForwarded {
            id: row.id,
            epoch: 1,
            attempts: 1,
            delay: secs(0)
        })
        .await
    );
    assert!(
        !a.run(BuryForwarded {
            id: row.id,
            epoch: 1,
            reason: "x".into()
        })
        .await
    );
    assert!(matches!(b.run(settle(2)).await, UnitOutcome::Committed(_)));
    assert_eq!(b.run(NewestPublication).await, 1);
}

pub async fn leave_frees_claims(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    for tid in ["f1", "f2", "f3"] {
        a.forward(tid).await;
    }
    a.run(LeaveNode).await;
    assert_eq!(b.home("s1").await, None);
    assert_eq!(b.run(claim(2, &[])).await.rows.len(), 2);
    assert_eq!(b.claim().await.len(), 1);
    assert_eq!(b.resume("user", "s1").await.replaced, None);
}

pub async fn lease_is_lost_once_expired(base: Base) {
    let a = base.node("a").await;
    let renew = || RenewLease {
        join: false,
        lease: secs(60),
    };
    base.clock.advance(secs(59));
    assert!(a.run(renew()).await);
    base.clock.advance(secs(60));
    assert!(!a.run(renew()).await);
    a.store.rename("a2");
    assert!(!a.run(renew()).await, "not joined");
    assert!(
        a.run(RenewLease {
            join: true,
            lease: secs(60)
        })
        .await
    );
    assert!(a.run(renew()).await);
    a.run(LeaveNode).await;
    assert!(!a.run(renew()).await);
}

pub async fn renamed_node_loses_its_claims(base: Base) {
    let a = base.node("a").await;
    let row = a.forward("f").await;
    // Given before the rename, so on behalf of the old incarnation, although it may run afterwards.
    let before = a.store.run(PostponeForwarded {
        id: row.id,
        epoch: 1,
        attempts: 1,
        delay: secs(0),
    });
    a.store.rename("a2");
    assert!(before.await.unwrap());
    assert!(
        a.run(RenewLease {
            join: true,
            lease: secs(60)
        })
        .await
    );
    let again = a.claim().await;
    assert_eq!((again.len(), again[0].epoch), (1, 2));
    a.store.rename("a3");
    let settle = Unit {
        cause: Cause::Forwarded {
            id: row.id,
            proof: Proof::Epoch(2),
        },
        effects: vec![],
    };
    assert_eq!(a.run(settle).await, UnitOutcome::AlreadySettled);
}

/// The outcome of a commit was lost: the rows belong to this node, which does not know it.
pub async fn unheard_claims_are_claimed_again(base: Base) {
    let a = base.node("a").await;
    let (known, unheard) = (a.forward("known").await, a.forward("unheard").await);
    assert!(
        a.run(claim(10, &[known.id])).await.rows.is_empty(),
        "it may hear of it yet"
    );
    base.clock.advance(secs(11));
    let claimed = a.run(claim(10, &[known.id])).await.rows;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].id, unheard.id);
    assert!(
        claimed[0].epoch > unheard.epoch,
        "should it hear of the first claim after all, that one is void"
    );
    assert!(
        a.run(claim(10, &[known.id])).await.rows.is_empty(),
        "it may hear of this one yet"
    );
    base.clock.advance(secs(11));
    assert!(
        a.run(claim(10, &[known.id, unheard.id]))
            .await
            .rows
            .is_empty()
    );
}
