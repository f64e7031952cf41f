//! Nodes, as an operator sees them.

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
    let apart = both[1].lease_until - both[0].lease_until;
    assert!((30_000..40_000).contains(&apart), "{apart} ms");

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
