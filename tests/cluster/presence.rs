//! Presence: who has joined and left is published once, whatever clients and nodes do, and whoever watches knows it.

use std::collections::BTreeSet;
use std::time::Duration;

use matssocket::Clock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use matssocket_testing::*;

const TOPIC: &str = "presence";
const GRACE: Duration = Duration::from_secs(5);
const BOTH: [usize; 2] = [0, 1];

/// Nodes that look often, and tell the control what their listeners are told.
fn watched(clock: &Clock) -> Setup {
    Setup::new()
        .clock(clock)
        .config(|config| {
            config.lease_interval = Duration::from_millis(5);
            config.presence_interval = Duration::from_millis(5);
            config.presence_grace = GRACE;
        })
        .extend(|builder, control, node| {
            let control = control.clone();
            let builder = builder.on_presence(move |change| {
                control.saw(Seen {
                    what: "presence".into(),
                    node,
                    payload: json!(change),
                    ..Seen::default()
                })
            });
            builder.presence_topic(TOPIC)
        })
}

/// These nodes have settled what they had noted before, and renewed their leases.
async fn settled(nodes: &Nodes, those: &[usize]) {
    for node in those {
        for task in ["presence", "lease"] {
            let runs = || nodes[*node].server.metrics().maintenance[task].runs;
            let before = runs();
            // The first of them may have begun before.
            within("two more runs", async {
                while runs() < before + 2 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
    }
}

/// Lets time pass until these users are present. (A node notes that a session is gone a moment after the store knows it,
/// and only then does the grace begin.)
async fn until_present(nodes: &Nodes, those: &[usize], users: &BTreeSet<String>) {
    let server = &nodes[those[0]].server;
    within("those who are gone to leave", async {
        loop {
            let page = server.presence(None, 1_000).await.unwrap();
            let present: BTreeSet<_> = page.users.into_iter().map(|it| it.user_id).collect();
            if present == *users {
                break;
            }
            nodes.clock.advance(GRACE);
            settled(nodes, those).await;
        }
    })
    .await;
}

/// A client that follows who is present, as the documentation says.
struct Watcher {
    line: Line,
    present: BTreeSet<String>,
    /// The newest change that is contained.
    number: u64,
    /// No change came yet that is not contained in what there was at the beginning: those have higher numbers, too, if they
    /// were made while it was read.
    overlaps: bool,
}

impl Watcher {
    async fn begin(nodes: &Nodes, node: usize, user: &str) -> Watcher {
        let mut line = nodes.open_on(node, user).await;
        let cmid = line.next_cmid();
        let request = line.envelope("REQUEST", &cmid, TOPIC, json!(null));
        line.send(json!([{"t": "SUB", "eid": TOPIC}, request]))
            .await;
        line.expect("SUB_OK").await;
        let page = line.expect_id("RESOLVE", &cmid).await["msg"].clone();
        let users = page["users"].as_array().expect("users");
        assert_eq!(page["next"], json!(null));
        Watcher {
            line,
            present: users.iter().map(|user| name(&user["user"])).collect(),
            number: page["number"].as_u64().expect("a number"),
            overlaps: true,
        }
    }

    /// Applies the next change that is new. Returns it in short: `+` joined, `-` left.
    async fn change(&mut self) -> String {
        loop {
            let publication = self.line.expect("PUB").await;
            assert_eq!(publication["eid"], TOPIC);
            let change = &publication["msg"];
            let number = change["number"].as_u64().expect("a number");
            if number <= self.number {
                continue;
            }
            assert_eq!(number, self.number + 1, "one is missing before {change}");
            self.number = number;
            return self.apply(change);
        }
    }

    fn apply(&mut self, change: &Value) -> String {
        let mut text = Vec::new();
        for user in change["joined"].as_array().expect("joined") {
            assert!(user["since"].as_i64().expect("a time") > 1_600_000_000_000);
            let user = name(&user["user"]);
            text.push(format!("+{user}"));
            let is_new = self.present.insert(user);
            assert!(is_new || self.overlaps, "it was there: {change}");
            self.overlaps &= !is_new;
        }
        for user in change["left"].as_array().expect("left") {
            let user = name(user);
            text.push(format!("-{user}"));
            let is_new = self.present.remove(&user);
            assert!(is_new || self.overlaps, "it was not there: {change}");
            self.overlaps &= !is_new;
        }
        text.join(" ")
    }

    /// Follows until these users are present.
    async fn until(&mut self, users: &BTreeSet<String>) {
        while self.present != *users {
            self.change().await;
        }
    }

    async fn until_present(&mut self, user: &str) {
        while !self.present.contains(user) {
            self.change().await;
        }
    }
}

fn name(user: &Value) -> String {
    user.as_str().expect("a name").to_owned()
}

/// What the listeners of a node were told, in short.
fn told(nodes: &Nodes, node: usize) -> Vec<Value> {
    let seen = nodes
        .control
        .all(|seen| seen.what == "presence" && seen.node == node);
    seen.into_iter().map(|seen| seen.payload).collect()
}

/// The users who are connected, according to the sessions.
async fn connected(nodes: &Nodes) -> BTreeSet<String> {
    let users = nodes.server().connected_users(None, 1_000).await.unwrap();
    users.into_iter().map(|user| user.user_id).collect()
}

#[actix_web::test]
async fn joins_and_leaves_are_told_once_on_every_node() {
    let clock = Clock::system();
    let nodes = watched(&clock).start(2).await;
    let mut watcher = Watcher::begin(&nodes, 1, "watcher").await;
    watcher.until_present("watcher").await;
    let first = nodes.open_on(0, "anna").await;
    assert_eq!(watcher.change().await, "+anna");
    let second = nodes.open_on(1, "anna").await;
    let anna = nodes.server().connected_user("anna").await.unwrap();
    let sessions = anna.expect("she is connected").sessions;
    let of_nodes: BTreeSet<_> = sessions.into_iter().map(|session| session.node).collect();
    assert_eq!(
        of_nodes,
        BTreeSet::from([0, 1].map(|at| nodes[at].server.node_name()))
    );
    let first = first.cut();
    nodes.until_let_go(&first.session).await;
    settled(&nodes, &BOTH).await;
    clock.advance(GRACE);
    settled(&nodes, &BOTH).await;
    watcher.line.none("PUB").await;

    let second = second.cut();
    nodes.until_let_go(&second.session).await;
    settled(&nodes, &BOTH).await;
    assert!(!connected(&nodes).await.contains("anna"));
    clock.advance(GRACE - Duration::from_secs(1));
    settled(&nodes, &BOTH).await;
    watcher.line.none("PUB").await;
    let page = nodes[1].server.presence(None, 10).await.unwrap();
    assert!(page.users.iter().any(|user| user.user_id == "anna"));
    until_present(&nodes, &BOTH, &BTreeSet::from(["watcher".into()])).await;
    assert_eq!(watcher.change().await, "-anna");
    let page = nodes[1].server.presence(None, 10).await.unwrap();
    let users: Vec<_> = page.users.iter().map(|user| &*user.user_id).collect();
    assert_eq!((users, page.number), (vec!["watcher"], watcher.number));

    // The listeners of both nodes were told the same, in the same order.
    let wanted = |node| move |seen: &Seen| seen.what == "presence" && seen.node == node;
    for node in 0..2 {
        let what = "the last change";
        nodes
            .control
            .wait(what, watcher.number as usize, wanted(node))
            .await;
    }
    assert_eq!(told(&nodes, 0), told(&nodes, 1));
    let numbers: Vec<_> = told(&nodes, 0)
        .iter()
        .map(|it| it["number"].clone())
        .collect();
    assert_eq!(
        numbers,
        Vec::from_iter((1..=watcher.number).map(|it| json!(it)))
    );
}

#[actix_web::test]
async fn a_flapping_line_does_not_flicker() {
    let clock = Clock::system();
    let nodes = watched(&clock).start(2).await;
    let mut watcher = Watcher::begin(&nodes, 1, "watcher").await;
    let mut anna = nodes.open_on(0, "anna").await;
    watcher.until_present("anna").await;
    watcher.until_present("watcher").await;
    for round in 1..=6 {
        let client = anna.cut();
        nodes.until_let_go(&client.session).await;
        settled(&nodes, &BOTH).await;
        clock.advance(GRACE - Duration::from_secs(1));
        anna = nodes.back(round % 2, client).await;
        settled(&nodes, &BOTH).await;
    }
    watcher.line.none("PUB").await;
    drop(anna);
}

/// Those who come back to another node have never been away.
#[actix_web::test]
async fn a_node_stops() {
    let clock = Clock::system();
    let nodes = watched(&clock).start(2).await;
    let mut watcher = Watcher::begin(&nodes, 1, "watcher").await;
    let (mut stays, mut goes) = (
        nodes.open_on(0, "stays").await,
        nodes.open_on(0, "goes").await,
    );
    for user in ["watcher", "stays", "goes"] {
        watcher.until_present(user).await;
    }
    tokio::join!(
        nodes[0].server.stop(),
        stays.expect_close(1012),
        goes.expect_close(1012)
    );
    let _stays = nodes.back(1, stays.cut()).await;
    let here = BTreeSet::from(["stays", "watcher"].map(str::to_owned));
    until_present(&nodes, &[1], &here).await;
    assert_eq!(watcher.change().await, "-goes");
    watcher.line.none("PUB").await;
}

/// Watchers that begin at any moment, on any node, arrive at the truth, without a gap and without a change that does not
/// fit.
#[actix_web::test]
async fn a_watchers_state_and_changes_are_the_truth() {
    const USERS: usize = 12;
    const STEPS: usize = 120;
    let clock = Clock::system();
    let nodes = watched(&clock).start(2).await;
    let mut random = StdRng::seed_from_u64(17);
    let mut lines: Vec<Option<Line>> = (0..USERS).map(|_| None).collect();
    let mut watchers = Vec::new();
    for step in 0..STEPS {
        let user = random.random_range(0..USERS);
        lines[user] = match lines[user].take() {
            None => {
                let node = random.random_range(0..2);
                Some(nodes.open_on(node, &format!("user{user:02}")).await)
            }
            // Without waiting until the node has noticed.
            Some(line) => {
                drop(line);
                None
            }
        };
        if step % 20 == 10 {
            let name = format!("watcher{step}");
            watchers.push(Watcher::begin(&nodes, step / 20 % 2, &name).await);
        }
        if random.random_range(0..5) == 0 {
            clock.advance(GRACE / 2);
            settled(&nodes, &BOTH).await;
        }
    }
    let mut truth: BTreeSet<String> = lines
        .iter()
        .enumerate()
        .filter_map(|(user, line)| line.as_ref().map(|_| format!("user{user:02}")))
        .collect();
    truth.extend(
        (0..STEPS)
            .filter(|it| it % 20 == 10)
            .map(|step| format!("watcher{step}")),
    );
    within("all lines that were cut to be noticed", async {
        while connected(&nodes).await != truth {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_present(&nodes, &BOTH, &truth).await;
    for watcher in &mut watchers {
        watcher.until(&truth).await;
        watcher.line.none("PUB").await;
    }
    let page = nodes.server().presence(None, 1_000).await.unwrap();
    assert_eq!(page.number, watchers[0].number);
}
