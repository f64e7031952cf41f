//! A node dies at each step of a transactional message: the application's row, the inbox row and the answer are all
//! there, or none of them is; and after the client has sent the message again, all are, once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use matssocket::wire::{Envelope, IdOf, MessageType, acknowledge};
use tokio::time::timeout;

use crate::data::{Ask, endpoint, user};
use crate::database::{Database, Effect, InInbox};
use crate::fleet::Fleet;
use crate::history::{History, Promise};
use crate::line::{Heard, Line, hello};
use crate::node::DieAt;
use crate::report::Figures;
use crate::run::Plan;
use crate::scenario::Scenario;

/// Longest time for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Whether the node that died had committed.
fn is_committed(step: DieAt) -> bool {
    match step {
        DieAt::Received | DieAt::Inserted | DieAt::BeforeCommit => false,
        DieAt::AfterCommit | DieAt::Answering => true,
    }
}

/// Every step once, and once killed from outside when the answer has come.
pub async fn walk(plan: Plan) -> Result<Figures, String> {
    let plan = Rc::new(plan);
    let mut database = Database::connect(&plan.store)?;
    database.prepare()?;
    let fleet = Fleet::new(plan);
    let history = History::new(0);
    let steps = DieAt::ALL.map(|(name, step)| (name, Some(step)));
    let steps = steps.into_iter().chain([("answered", None)]);
    let mut count = 0;
    for (client, (name, step)) in steps.enumerate() {
        let mut walker = Walker {
            name,
            client,
            session: None,
            fleet: &fleet,
            database: &mut database,
            history: &history,
        };
        walker.walk(step).await?;
        println!(
            "steps    died at {name:<14} violations {}",
            history.violation_count()
        );
        count += 1;
    }
    Ok(Figures {
        nodes: 1,
        clients: count as usize,
        ..Figures::judged(Scenario::Steps, count, &history)
    })
}

struct Walker<'a> {
    name: &'static str,
    client: usize,
    session: Option<String>,
    fleet: &'a Fleet,
    database: &'a mut Database,
    history: &'a History,
}

impl Walker<'_> {
    async fn walk(&mut self, step: Option<DieAt>) -> Result<(), String> {
        self.fleet.start(0, step)?;
        self.fleet.ready(0).await?;
        let mut line = self.hello().await?;
        line.say(&[self.request()]).await;
        let answered = match step {
            Some(step) => {
                let answered = resolved(&mut line).await.is_some();
                self.fleet.ended(0).await?;
                self.expect(is_committed(step), "after its node had died")
                    .await?;
                answered
            }
            None => {
                let answered = resolved(&mut line).await.is_some();
                self.fleet.kill(0);
                self.expect(true, "after it was answered").await?;
                answered
            }
        };
        if answered != step.is_none() {
            self.violated(Promise::Heals, format!("answered: {answered}"));
        }

        self.fleet.start(0, None)?;
        self.fleet.ready(0).await?;
        let mut line = self.hello().await?;
        line.say(&[self.request()]).await;
        if resolved(&mut line).await.is_none() {
            self.violated(
                Promise::Kept,
                "no answer to the message sent again".to_owned(),
            );
        }
        self.expect(true, "after it was sent again").await?;
        let ack2 = acknowledge(MessageType::Ack2, IdOf::Client, vec!["1".to_owned()]);
        line.say(&[ack2]).await;
        self.forgotten().await?;
        self.fleet.kill(0);
        Ok(())
    }

    fn violated(&self, promise: Promise, what: String) {
        self.history
            .violated(promise, format!("died at {}: {what}", self.name));
    }

    async fn hello(&mut self) -> Result<Line, String> {
        let mut line = Line::open(self.fleet.ports[0]).await.ok_or("no line")?;
        line.say(&[hello(self.client, self.session.clone())]).await;
        let welcome = of_type(&mut line, MessageType::Welcome).await;
        self.session = welcome.ok_or("no WELCOME")?.sid;
        Ok(line)
    }

    fn request(&self) -> Envelope {
        let ask = Ask::new(self.client, 1, None);
        Envelope {
            cmid: Some("1".to_owned()),
            ..ask.envelope(MessageType::Request, endpoint::EFFECT)
        }
    }

    /// The application's row and the inbox row, with the answer in it, are there, or not.
    async fn expect(&mut self, there: bool, when: &str) -> Result<(), String> {
        // What the message has started comes when it comes.
        let mine = |row: &&Effect| row.kind == "effect" && row.client == self.client as i64;
        let rows = self.database.effects()?.iter().filter(mine).count();
        let user = user(self.client);
        let inbox = self.database.inbox()?;
        let mine = |row: &&InInbox| row.user_id == user;
        let inbox: Vec<_> = inbox.iter().filter(mine).collect();
        let answered = |row: &&&InInbox| row.answer.contains("RESOLVE");
        let found = (rows, inbox.len(), inbox.iter().filter(answered).count());
        let wanted = if there { (1, 1, 1) } else { (0, 0, 0) };
        if found != wanted {
            let what =
                format!("{when}, rows, inbox rows and answers are {found:?} instead of {wanted:?}");
            let promise = if found > wanted {
                Promise::Once
            } else {
                Promise::Kept
            };
            self.violated(promise, what);
        }
        Ok(())
    }

    /// The inbox row goes with the client's ACK2.
    async fn forgotten(&mut self) -> Result<(), String> {
        let until = Instant::now() + ANSWER;
        let user = user(self.client);
        while self.database.inbox()?.iter().any(|row| row.user_id == user) {
            if Instant::now() > until {
                self.violated(Promise::Heals, "its inbox row stays".to_owned());
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

async fn resolved(line: &mut Line) -> Option<Envelope> {
    of_type(line, MessageType::Resolve).await
}

/// The next envelope of this type; `None`: the line has ended.
async fn of_type(line: &mut Line, t: MessageType) -> Option<Envelope> {
    let waiting = async {
        loop {
            match line.hear().await {
                Heard::Pipeline(pipeline) => {
                    if let Some(found) = pipeline.into_iter().find(|envelope| envelope.t == t) {
                        return Some(found);
                    }
                }
                Heard::Nothing | Heard::Garbage(_) => {}
                Heard::End(..) => return None,
            }
        }
    };
    timeout(ANSWER, waiting).await.ok().flatten()
}
