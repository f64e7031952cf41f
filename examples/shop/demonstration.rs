//! Two nodes, and customers with two devices each, who go on ordering while the nodes are restarted one after the other.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::rt;
use matssocket_client::{Authorization, Client, Message};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::orders::{PRICES, Price};
use crate::{Failure, login};

const CUSTOMERS: [&str; 3] = ["anna", "bert", "carl"];

/// The numbers of orders, in the order in which a device was told of them.
type Told = Arc<Mutex<Vec<i64>>>;

pub async fn run(database: &str) -> Result<(), Failure> {
    let ports = free_ports()?;
    let nodes = [
        Node::start(ports[0], database)?,
        Node::start(ports[1], database)?,
    ];
    let urls = ports.map(|port| format!("ws://127.0.0.1:{port}/matssocket"));

    let (end, ended) = watch::channel(false);
    let customers = CUSTOMERS.map(|name| rt::spawn(shop(name, urls.clone(), ended.clone())));
    let admin = device("admin", &urls)?;
    let mut running = Vec::new();
    for (nth, node) in nodes.into_iter().enumerate() {
        sleep(Duration::from_secs(1)).await;
        println!("restarting node {}", nth + 1);
        running.push(rt::task::spawn_blocking(|| node.restart()).await??);
        let price = Price {
            item: "apples".into(),
            cents: 200 + nth as i32,
        };
        admin
            .request::<()>(format!("price-{nth}"), "Admin.price", &price)
            .await?
            .resolved()?;
    }
    sleep(Duration::from_secs(1)).await;
    end.send(true)?;
    for customer in customers {
        println!("{}", customer.await??);
    }
    admin.close("done").await;
    Ok(())
}

/// A customer, who orders with one device and looks at two.
async fn shop(
    name: &'static str,
    urls: [String; 2],
    ended: watch::Receiver<bool>,
) -> Result<String, Failure> {
    let devices = [device(name, &urls)?, device(name, &urls)?];
    let told = devices.each_ref().map(|device| {
        let told = Told::default();
        let noted = told.clone();
        device.terminator("Shop.paid", move |paid: Message<i64>| {
            noted.lock().expect("no panic").push(paid.payload);
            std::future::ready(())
        });
        told
    });
    let last_price = Arc::new(Mutex::new(0));
    let noted = last_price.clone();
    devices[1].subscribe(PRICES, move |price: Message<Price>| {
        *noted.lock().expect("no panic") = price.payload.cents;
        std::future::ready(())
    })?;
    for device in &devices {
        device.established().await?;
    }
    let mut placed = BTreeSet::new();
    while !*ended.borrow() {
        let id = format!("{name}-{}", placed.len());
        let number = devices[0]
            .request::<i64>(id, "Shop.order", "apples")
            .await?
            .resolved()?;
        placed.insert(number);
        sleep(Duration::from_millis(50)).await;
    }
    let all = || {
        told.iter()
            .all(|told| told.lock().expect("no panic").len() >= placed.len())
    };
    while !all() {
        sleep(Duration::from_millis(20)).await;
    }
    for told in &told {
        let told = told.lock().expect("no panic").clone();
        if told.len() != placed.len() || told.into_iter().collect::<BTreeSet<_>>() != placed {
            return Err(format!("{name} was told of something else than was ordered").into());
        }
    }
    for device in &devices {
        device.close("done").await;
    }
    let (orders, cents) = (placed.len(), last_price.lock().expect("no panic"));
    Ok(format!(
        "{name}: {orders} orders, each paid once on both devices; apples cost {cents} now"
    ))
}

/// A client whose token expires after a few seconds; then it gets another one.
fn device(name: &'static str, urls: &[String]) -> Result<Client, Failure> {
    let client = Client::builder("Shop", "1.0")
        .urls(urls)
        .authorization(move |_| async move {
            Ok(Authorization::new(login::token(
                name,
                Duration::from_secs(2),
            )?))
        })
        .start()?;
    Ok(client)
}

/// A node in a process of its own: this program, with other arguments.
struct Node {
    port: u16,
    database: String,
    process: Child,
}

impl Node {
    /// Returns when the node takes connections.
    fn start(port: u16, database: &str) -> Result<Node, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", &port.to_string(), database])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("stdout is piped")?;
        let node = Node {
            port,
            database: database.to_owned(),
            process,
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        match line.starts_with("ready") {
            true => Ok(node),
            false => Err(format!("the node on port {port} did not start").into()),
        }
    }

    fn restart(mut self) -> Result<Node, Failure> {
        Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status()?;
        self.process.wait()?;
        Node::start(self.port, &self.database)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two ports that are free now.
fn free_ports() -> Result<[u16; 2], Failure> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}
