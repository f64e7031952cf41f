//! Messages for all sessions of a user, while some of them move from node to node.

use std::collections::HashSet;

use matssocket_testing::*;

/// What a client has received: each message once.
#[derive(Default)]
struct Received {
    smids: HashSet<String>,
    numbers: Vec<u64>,
}

impl Received {
    /// Receives and acknowledges until there are this many.
    async fn until(&mut self, many: usize, line: &mut Line) {
        while self.numbers.len() < many {
            let mail = line.expect("SEND").await;
            line.ack(&mail).await;
            // An ACK that was lost with its line makes a message come again, under the same id.
            if self
                .smids
                .insert(mail["smid"].as_str().unwrap_or_default().to_owned())
            {
                self.numbers.extend(mail["msg"].as_u64());
            }
        }
    }
}

#[actix_web::test]
async fn a_session_that_moves_misses_nothing_and_keeps_the_order() {
    const ROUNDS: usize = 12;
    const EACH: usize = 10;
    let nodes = Nodes::two().await;
    let mut stays = nodes.open_on(0, "anna").await;
    let mut moves = nodes.open_on(1, "anna").await;
    let (mut at_home, mut on_the_way) = (Received::default(), Received::default());
    for round in 0..ROUNDS {
        let sending = async {
            for number in round * EACH..(round + 1) * EACH {
                let server = &nodes[number % 2].server;
                let sent = server.send_to_user("anna", "t", "client.x", &number).await;
                assert_eq!(sent.unwrap().sessions, 2);
            }
        };
        let moving = async {
            on_the_way.until(round * EACH + 3, &mut moves).await;
            // Mostly without a deregistration in between: the new node takes over.
            nodes.back(round % 2, moves.cut()).await
        };
        ((), moves) = tokio::join!(sending, moving);
        at_home.until((round + 1) * EACH, &mut stays).await;
    }
    on_the_way.until(ROUNDS * EACH, &mut moves).await;
    let all: Vec<u64> = (0..(ROUNDS * EACH) as u64).collect();
    assert_eq!(at_home.numbers, all);
    assert_eq!(on_the_way.numbers, all);
    stays.none("SEND").await;
}
