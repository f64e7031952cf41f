//! Nodes, as an operator sees them.

use futures_util::future::join_all;

use super::*;

pub async fn listed(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    a.open("user", "s2").await;
    let gone = a.open("user", "s3").await.holder;
    a.run(Deregister { holder: gone }).await;
    base.clock.advance(secs(30));
    let b = base.node("b").await;
    let names = |nodes: &[StoredNode]| -> Vec<_> {
        let node = |node: &StoredNode| (node.name.clone(), node.lives, node.sessions);
        nodes.iter().map(node).collect()
    };
    let both = b.run(ListNodes).await;
    assert_eq!(names(&both), [("a".into(), true, 2), ("b".into(), true, 0)]);
    let apart = both[1].lease_until.duration_since(both[0].lease_until);
    let apart = apart.expect("it is later");
    assert!((secs(30)..secs(40)).contains(&apart), "{apart:?}");

    base.clock.advance(secs(31));
    let late = b.run(ListNodes).await;
    assert_eq!(
        names(&late),
        [("a".into(), false, 2), ("b".into(), true, 0)],
        "its lease ran out"
    );
    a.run(LeaveNode).await;
    assert_eq!(names(&b.run(ListNodes).await), [("b".into(), true, 0)]);
}

/// A second application in the same schema got the sessions, topics and messages of the first.
pub async fn the_application_that_came_first_has_it(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let claim = |name: &str| ClaimApplication { name: name.into() };
    let rename = |name: &str| RenameApplication { name: name.into() };
    let claims = ["shop", "bank", "shop"].map(|name| a.store.run(claim(name)));
    for owner in join_all(claims).await {
        assert_eq!(owner.expect("the store works"), "shop");
    }
    assert_eq!(b.run(claim("bank")).await, "shop");
    assert_eq!(b.run(rename("bank")).await.as_deref(), Some("shop"));
    assert_eq!(a.run(claim("shop")).await, "bank");
}
