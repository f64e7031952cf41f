//! Dead letters.

use matssocket::{Forward, Incoming, Outcome};

use super::*;

/// A node with dead letters: work that failed. Its client is still there.
async fn with_dead_letters(many: usize) -> (Nodes, Line, Vec<i64>) {
    let setup = Setup::new().config(|config| {
        config.service_attempts = 1;
    });
    let setup = setup.extend(|builder, _, _| {
        builder.terminator("test.forward", async |incoming: Incoming<Value>| {
            Ok(Outcome::forward(Forward::to("work", &incoming.payload)))
        })
    });
    let nodes = setup.start(1).await;
    let mut line = nodes.open("anna").await;
    let mut ids = Vec::new();
    for number in 0..many {
        let payload = json!({"do": "forward", "work": "error", "number": number});
        let cmid = line.send_to("test.forward", payload).await;
        line.answer(&cmid).await;
        within("a dead letter", async {
            while nodes
                .server()
                .dead_letters(0, 100)
                .await
                .expect("a store")
                .len()
                <= number
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    let letters = nodes.server().dead_letters(0, 100).await.expect("a store");
    ids.extend(letters.iter().map(|letter| letter.id));
    (nodes, line, ids)
}

#[actix_web::test]
async fn they_are_shown_page_by_page_and_with_payloads_if_asked() {
    let (nodes, _line, ids) = with_dead_letters(3).await;
    let admin = Admin::open(nodes.server());
    let first = admin.read("dead-letters?limit=2").await;
    let shown = first["dead_letters"].as_array().expect("a list");
    assert_eq!(shown.len(), 2);
    assert_eq!(
        (&shown[0]["payload"], &shown[0]["id"]),
        (&Value::Null, &json!(ids[0]))
    );
    assert!(shown[0]["payload_bytes"].as_u64() > Some(10), "{first}");
    let second = admin
        .read(&format!(
            "dead-letters?payloads=true&after={}",
            first["next"]
        ))
        .await;
    let payload = second["dead_letters"][0]["payload"]
        .as_str()
        .expect("shown");
    assert!(payload.contains("\"number\":2"), "{payload}");
    let last = admin
        .read(&format!("dead-letters?after={}", second["next"]))
        .await;
    assert_eq!(last, json!({"dead_letters": [], "next": null}));
    let one = admin.read(&format!("dead-letter?id={}", ids[1])).await;
    let payload = one["payload"].as_str().expect("shown");
    assert!(payload.contains("\"number\":1"), "{payload}");
    assert_eq!(one["origin"], "service");
}

#[actix_web::test]
async fn they_are_redriven_and_dropped_and_what_is_left_is_said() {
    let (nodes, line, ids) = with_dead_letters(2).await;
    let admin = Admin::open(nodes.server());
    let unknown = ids[1] + 1000;
    let left = json!([{"id": unknown, "why": "there is none"}]);
    let dropped = admin
        .change("dead-letters/drop", json!({"ids": [ids[0], unknown]}))
        .await;
    assert_eq!(dropped, json!({"dropped": [ids[0]], "left": left}));
    let redriven = admin
        .change("dead-letters/redrive", json!({"ids": [ids[1], unknown]}))
        .await;
    assert_eq!(redriven, json!({"redriven": [ids[1]], "left": left}));
    // It fails again, under another id.
    let again = nodes.until_dead_letters().await;
    assert!(again[0].id > ids[1], "{again:?}");
    drop(line);
}
