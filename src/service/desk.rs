//! What the actor knows: the places of each service, and the rows that are in progress, waiting, or going back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;

use super::places::{Bounds, Places};
use super::planned::Planned;
use super::work;
use super::{Finished, GaveBack, Services};
use crate::node::Node;
use crate::seldom::log_seldom;
use crate::store::operation::{
    ClaimForwarded, ClaimedForwarded, Forwarded, GiveBackForwarded, Looked,
};
use crate::store::{Looks, StoreError};

/// The actor's state.
pub(super) struct Desk {
    pub(super) node: Arc<Node>,
    /// The node name under which rows were claimed.
    name: Arc<str>,
    /// The places of each service of this node.
    pub(super) places: HashMap<String, Places>,
    /// Rows being given back: still claimed by this node.
    pub(super) going_back: HashSet<i64>,
    claiming: bool,
    /// A look was requested while a claim was in progress, which may have missed new rows.
    pub(super) claim_again: bool,
    /// When rows are looked for, in addition to the intervals.
    pub(super) planned: Planned,
    /// The progress of the looks.
    looks: Looks<Looked>,
    /// The node did not serve when rows were last to be looked for.
    was_away: bool,
}

impl Desk {
    pub(super) fn new(node: Arc<Node>) -> Desk {
        let config = &node.config;
        let bounds = |running: usize| Bounds {
            running,
            waiting: config.max_waiting_per_service,
            bytes: config.max_bytes_per_service,
        };
        let none = Bounds {
            running: usize::MAX,
            waiting: usize::MAX,
            bytes: usize::MAX,
        };
        let places = node.services.iter().map(|(name, service)| {
            let bounds = service.max_running.map_or(none, bounds);
            let places = Places::new(bounds, service.counters.clone());
            (name.clone(), places)
        });
        Desk {
            name: node.name(),
            places: places.collect(),
            going_back: HashSet::new(),
            claiming: false,
            claim_again: false,
            planned: Planned::new(),
            looks: Looks::default(),
            was_away: false,
            node,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.places.values().all(|places| places.running() == 0)
    }

    /// Accepts rows, begins those that have a place, and gives back those that cannot wait here.
    pub(super) fn take_in(&mut self, rows: Vec<Forwarded>, me: &Addr<Services>) {
        self.notice_new_name();
        let mut services = HashSet::new();
        for row in rows {
            let service = &row.work.service;
            let Some(places) = self.places.get_mut(service) else {
                // This node never claims such rows. They belong to a node that has the service.
                self.give_back(service.clone(), vec![row], me);
                continue;
            };
            if !services.contains(service) {
                services.insert(service.clone());
            }
            places.add(row);
        }
        for service in services {
            self.fill(&service, me);
            let excess = self.places.get_mut(&service).map(Places::excess);
            self.give_back(service, excess.unwrap_or_default(), me);
        }
    }

    /// The node has come back under a new name: its earlier claims are no longer its own.
    pub(super) fn notice_new_name(&mut self) {
        let name = self.node.name();
        if !Arc::ptr_eq(&name, &self.name) {
            self.name = name;
            self.looks.doubt(Instant::now());
            for places in self.places.values_mut() {
                places.forget_waiting();
            }
        }
    }

    /// Begins rows that have a place.
    pub(super) fn fill(&mut self, service: &str, me: &Addr<Services>) {
        let node = self.node.clone();
        // A stopping node begins nothing more: waiting rows are freed for others when it leaves.
        while !node.stopping()
            && let Some(row) = self.places.get_mut(service).and_then(Places::begin)
        {
            let (node, running) = (node.clone(), Running::new(&row, me));
            let trace = work::trace(&row);
            let work = async move { running.ends(work::work(&node, row).await) };
            actix::spawn(trace.run(work));
        }
    }

    /// Rows for which there is no room go back, for any node to claim at once.
    pub(super) fn give_back(&mut self, service: String, rows: Vec<Forwarded>, me: &Addr<Services>) {
        if rows.is_empty() {
            return;
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        self.going_back.extend(&ids);
        let back = self.node.store.run(GiveBackForwarded {
            rows: rows.iter().map(|row| (row.id, row.epoch)).collect(),
        });
        let me = me.clone();
        actix::spawn(async move {
            // They will be claimed again, as rows that this node does not know.
            if let Err(error) = back.await {
                log_seldom!(warn, "forwarded messages could not be given back: {error}");
            }
            me.do_send(GaveBack { service, ids });
        });
    }

    /// What to claim now; `None`: nothing, or not now.
    pub(super) fn claim(&mut self) -> Option<ClaimForwarded> {
        self.notice_new_name();
        self.claim_again = self.claiming;
        if self.node.serves().is_err() {
            self.was_away = true;
            return None;
        }
        if self.claiming {
            return None;
        }
        let asked = Instant::now();
        if std::mem::take(&mut self.was_away) {
            self.looks.doubt(asked);
        }
        let places = self.places.iter();
        let rooms: HashMap<_, _> = places
            .map(|(name, places)| (name.clone(), places.room()))
            .collect();
        if rooms.values().all(|room| room.rows == 0) {
            return None;
        }
        self.claiming = true;
        for (name, places) in &mut self.places {
            if let Some(room) = rooms.get(name) {
                places.claims(*room);
            }
        }
        let held = self.places.values().flat_map(Places::ids);
        Some(ClaimForwarded {
            holding: held.chain(self.going_back.iter().copied()).collect(),
            rooms,
            claim_grace: self.node.config.lease,
            asked,
            looked: self.looks.begin(asked),
        })
    }

    pub(super) fn expect_more(&mut self, service: &str) {
        if let Some(places) = self.places.get_mut(service) {
            places.expect_more();
        }
    }

    /// The result of a claim.
    pub(super) fn claimed(
        &mut self,
        claimed: Result<ClaimedForwarded, StoreError>,
        me: &Addr<Services>,
    ) {
        self.claiming = false;
        let now = Instant::now();
        let ClaimedForwarded {
            rows,
            more,
            looked,
            took,
        } = match claimed {
            Ok(claimed) => claimed,
            Err(error) => {
                log_seldom!(
                    warn,
                    "forwarded messages could not be claimed, trying again soon: {error}"
                );
                // An overload of this node says nothing about what others commit.
                if !matches!(error, StoreError::Busy(_)) {
                    self.looks.doubt(now);
                }
                return;
            }
        };
        self.looks.end(looked, took, now);
        // If the claim got nothing, another node is about to take these rows.
        for service in more.iter().filter(|_| !rows.is_empty()) {
            self.expect_more(service);
        }
        for places in self.places.values_mut() {
            places.claimed_all();
        }
        self.take_in(rows, me);
    }
}

/// A row in progress, whose place is freed on every exit path, panics included.
struct Running(Finished, Addr<Services>);

impl Running {
    fn new(row: &Forwarded, me: &Addr<Services>) -> Running {
        let finished = Finished {
            service: row.work.service.clone(),
            id: row.id,
            again: None,
        };
        Running(finished, me.clone())
    }

    /// Ends the work; the row is due again after this.
    fn ends(mut self, again: Option<Duration>) {
        self.0.again = again;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.1.do_send(Finished {
            service: std::mem::take(&mut self.0.service),
            ..self.0
        });
    }
}
