//! The nodes' processes: started, killed, stopped and continued.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use matssocket_testing::free_port;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::data::Process;
use crate::node::DieAt;
use crate::run::Plan;

/// Longest time for a node to come up, or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of one node.
#[derive(Default)]
struct Slot {
    run: u32,
    /// Its processes are the other version's.
    is_other: bool,
    child: Option<Child>,
    /// Since its process runs: the names it has given itself.
    names: Vec<String>,
    ready: bool,
}

/// All nodes.
pub struct Fleet {
    plan: Rc<Plan>,
    pub ports: Vec<u16>,
    slots: RefCell<Vec<Slot>>,
    said: UnboundedSender<(Process, String)>,
    changed: watch::Sender<()>,
}

impl Fleet {
    pub fn new(plan: Rc<Plan>) -> Rc<Fleet> {
        let (said, lines) = unbounded_channel();
        let fleet = Rc::new(Fleet {
            // None that an outgoing connection could take while the node is dead.
            ports: (0..plan.nodes).map(|_| free_port()).collect(),
            slots: RefCell::new((0..plan.nodes).map(|_| Slot::default()).collect()),
            plan,
            said,
            changed: watch::Sender::new(()),
        });
        actix_web::rt::spawn(listen(Rc::downgrade(&fleet), lines));
        fleet
    }

    /// Starts a process for a node that has none.
    pub fn start(&self, node: usize, die_at: Option<DieAt>) -> Result<Process, String> {
        let plan = &self.plan;
        let store = plan.store_of_nodes.as_ref().unwrap_or(&plan.store);
        let process = Process {
            node: node + 1,
            run: self.slots.borrow()[node].run + 1,
        };
        let log = File::create(plan.directory.join(format!("node-{process}.log")))
            .map_err(|why| why.to_string())?;
        let is_other = self.slots.borrow()[node].is_other;
        let program = match &plan.other {
            Some(other) if is_other => other.clone(),
            _ => std::env::current_exe().map_err(|why| why.to_string())?,
        };
        let mut command = Command::new(program);
        command
            .args(["node", "--store", &store.text()])
            .args(["--process", &process.to_string()])
            .args(["--port", &self.ports[node].to_string()])
            .arg("--directory")
            .arg(&plan.directory)
            .args(["--pushes", &plan.pushes.to_string()])
            .args(["--lease", &plan.lease.as_millis().to_string()]);
        if let Some((name, _)) = &plan.sabotage {
            command.args(["--sabotage", name]);
        }
        if is_other && plan.other.is_none() {
            command.arg("--next-version");
        }
        let step = DieAt::ALL.iter().find(|(_, step)| Some(*step) == die_at);
        if let Some((name, _)) = step {
            command.args(["--die-at", name]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().map_err(|why| why.to_string())?;
        if let Some(stdout) = child.stdout.take() {
            let said = self.said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let _ = said.send((process, line));
                }
            });
        }
        self.slots.borrow_mut()[node] = Slot {
            run: process.run,
            is_other,
            child: Some(child),
            ..Slot::default()
        };
        Ok(process)
    }

    /// The next process of this node is of the other version, or of this one again.
    pub fn change_version(&self, node: usize) {
        let slot = &mut self.slots.borrow_mut()[node];
        slot.is_other = !slot.is_other;
    }

    fn hear(&self, process: Process, line: &str) {
        let mut slots = self.slots.borrow_mut();
        let slot = &mut slots[process.node - 1];
        if slot.run == process.run {
            match line.split_once(' ') {
                Some(("name", name)) => slot.names.push(name.to_owned()),
                _ => slot.ready |= line == "ready",
            }
        }
        drop(slots);
        self.changed.send_replace(());
    }

    /// Waits until the nodes are in a state. False: that took too long.
    async fn wait_for(&self, longest: Duration, state: impl Fn(&[Slot]) -> bool) -> bool {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            while !state(&self.slots.borrow()) {
                let _ = changes.changed().await;
            }
        };
        timeout(longest, waiting).await.is_ok()
    }

    pub async fn ready(&self, node: usize) -> Result<(), String> {
        match self.wait_for(PATIENCE, |slots| slots[node].ready).await {
            true => Ok(()),
            false => {
                let log = self.plan.directory.join(format!("node-{}.*.log", node + 1));
                let log = log.display();
                Err(format!(
                    "node {} is not ready after {PATIENCE:?}: see {log}",
                    node + 1
                ))
            }
        }
    }

    /// How often the process has come back as another node.
    pub fn names(&self, node: usize) -> usize {
        self.slots.borrow()[node].names.len()
    }

    pub async fn has_new_name(&self, node: usize, names: usize, longest: Duration) -> bool {
        self.wait_for(longest, |slots| slots[node].names.len() > names)
            .await
    }

    /// `kill -9`.
    pub fn kill(&self, node: usize) {
        if let Some(mut child) = self.slots.borrow_mut()[node].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.slots.borrow_mut()[node].ready = false;
    }

    pub fn signal(&self, node: usize, signal: &str) -> Result<(), String> {
        let slots = self.slots.borrow();
        let child = slots[node].child.as_ref().ok_or("there is no process")?;
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("kill -{signal}: {other:?}")),
        }
    }

    /// Waits until every thread of a process that was sent STOP stands still: on a busy machine that takes a while, in
    /// which messages are made and go out.
    pub async fn stands_still(&self, node: usize) -> Result<(), String> {
        let pid = self.slots.borrow()[node].child.as_ref().map(Child::id);
        let tasks = format!("/proc/{}/task", pid.ok_or("there is no process")?);
        let is_stopped = |stat: String| {
            stat.rsplit_once(") ")
                .is_some_and(|it| it.1.starts_with('T'))
        };
        loop {
            let threads = fs::read_dir(&tasks).map_err(|why| format!("{tasks}: {why}"))?;
            let mut stats = threads
                .flatten()
                // One that is gone meanwhile does nothing either.
                .filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
            if stats.all(is_stopped) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits for a process to end by itself.
    pub async fn ended(&self, node: usize) -> Result<ExitStatus, String> {
        let ending = async {
            loop {
                let ended = match &mut self.slots.borrow_mut()[node].child {
                    Some(child) => child.try_wait().map_err(|why| why.to_string())?,
                    None => return Err("there is no process".to_owned()),
                };
                if let Some(status) = ended {
                    self.slots.borrow_mut()[node].child = None;
                    return Ok(status);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let late = || Err(format!("node {} does not end", node + 1));
        timeout(PATIENCE, ending).await.unwrap_or_else(|_| late())
    }

    /// Tells all nodes to push nothing more, and waits until none does.
    pub async fn quiet(&self) -> Result<(), String> {
        for port in &self.ports {
            let asking = async {
                loop {
                    match get(*port, "/quiet").await {
                        Ok(answer) if answer.ends_with("quiet") => return,
                        _ => tokio::time::sleep(Duration::from_millis(100)).await,
                    }
                }
            };
            let late = |_| format!("the node on port {port} does not stop pushing");
            timeout(PATIENCE, asking).await.map_err(late)?;
        }
        Ok(())
    }

    /// What each node says of itself.
    pub async fn states(&self) -> Vec<(usize, String)> {
        let mut states = Vec::new();
        for (node, port) in self.ports.iter().enumerate() {
            let told = match timeout(PATIENCE, get(*port, "/state")).await {
                Ok(Ok(told)) => told,
                Ok(Err(why)) => why.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            states.push((node + 1, told));
        }
        states
    }

    /// Every process that has ever run.
    pub fn processes(&self) -> Vec<Process> {
        let slots = self.slots.borrow();
        let of = |(node, slot): (usize, &Slot)| (1..=slot.run).map(move |run| (node + 1, run));
        let all = slots.iter().enumerate().flat_map(of);
        all.map(|(node, run)| Process { node, run }).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for node in 0..self.ports.len() {
            self.kill(node);
        }
    }
}

async fn listen(fleet: std::rc::Weak<Fleet>, mut lines: UnboundedReceiver<(Process, String)>) {
    while let Some((process, line)) = lines.recv().await {
        match fleet.upgrade() {
            Some(fleet) => fleet.hear(process, &line),
            None => return,
        }
    }
}

async fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
