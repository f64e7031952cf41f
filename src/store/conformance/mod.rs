//! The conformance suite: what every store must do, whatever its database. Each case gets a fresh [`Base`].

mod allowances;
mod claims;
mod closing;
mod dead_letters;
mod engine;
mod expired;
mod forwarded;
mod full;
mod groups;
mod inbox;
mod kept;
mod keys;
mod mend;
mod node;
mod nodes;
mod numbers;
mod outbox;
mod presence;
mod reserved;
mod sessions;
mod takeover;
mod topics;
mod transact;
mod units;
mod upkeep;
mod users;
mod values;

use std::time::{Duration, Instant};

use actix::prelude::*;
use serde_json::value::RawValue;

use node::{Collector, Node};

use super::operation::*;
use super::{CommitNews, Dispatch, Operation, Store, StoreConfig, StoreHandle, Subscribers};
use crate::clock::Clock;
use crate::wire::{MessageType, Payload};

/// The message itself, which is always part of the news for the node that stored it.
fn message(stored: &StoredMessage) -> &OutboxMessage {
    stored.message.as_ref().expect("it comes with the news")
}

/// Runs every case of the suite on a store made by `$open`.
macro_rules! on {
    ($name:ident, $open:expr, $($topic:ident: $($case:ident)*;)*) => {
        mod $name {
            $(mod $topic {
                $(
                    #[actix::test]
                    async fn $case() {
                        let open: fn() -> super::super::Base = $open;
                        super::super::$topic::$case(open()).await
                    }
                )*
            })*
        }
    };
}

macro_rules! suite {
    ($($cases:tt)*) => {
        on!(sqlite_file, super::super::Base::sqlite_file, $($cases)*);
        on!(sqlite_in_memory, super::super::Base::sqlite_in_memory, $($cases)*);
        #[cfg(feature = "postgres")]
        on!(postgres, super::super::Base::postgres, $($cases)*);
        #[cfg(feature = "postgres")]
        on!(postgres_pooled, super::super::Base::postgres_pooled, $($cases)*);
        #[cfg(feature = "postgres")]
        on!(postgres_rotating, super::super::Base::postgres_rotating, $($cases)*);
    };
}

suite! {
    sessions: open_and_resume resume_refused too_many_sessions deregister_names_the_registration
        close_deletes_all home_needs_a_lease listing where_a_session_is;
    upkeep: time_out a_clock_set_forward_ends_no_session sweep_and_which_exist scavenge scavenge_old_inbox
        scavenge_in_parts;
    closing: an_absent_session_makes_room closed_later closed_by_user;
    inbox: duplicates_get_the_first_answer a_resumed_session_knows_the_bytes_of_its_answers
        every_write_is_fenced deregistered_holder_still_settles dropped_and_repeated_in_one_group;
    units: all_or_nothing idempotency effects_and_news no_session_is_dropped correlations_are_taken_once
        settle_by_epoch settle_by_token settled_once_in_one_group;
    full: full_outbox full_of_bytes full_of_a_users_bytes;
    outbox: fetch_in_order fetch_by_bytes large_ones_in_parts complete_and_nack correlations_time_out
        ended_requests_are_found_from_where_the_last_query_ended closed_session_ends_correlations;
    expired: deleted_when_their_time_has_ended in_parts redriven_for_ever;
    dead_letters: dead_letters redrive_moves_the_correlation old_dead_letters_go excess_dead_letters_go;
    forwarded: delayed postponed postponed_with_its_messages sent_once_beside_a_quick_reply due_by_the_clock
        buried_and_redriven how_long_it_fails_and_its_client_waits many_in_one_group
        postponed_and_settled_in_one_group rolled_back_beside_others;
    takeover: taken_over_when_the_lease_ends leave_frees_claims lease_is_lost_once_expired
        renamed_node_loses_its_claims unheard_claims_are_claimed_again;
    keys: one_of_a_kind cancelled_while_it_waits started_by_all_at_once
        nothing_is_started_or_cancelled_by_what_is_refused;
    claims: each_service_has_its_own_room taken_over_service_by_service users_take_turns
        claims_are_bounded_in_bytes given_back unserved_work_waits unserved_work_is_reported
        a_query_continues_where_the_last_one_ended released_rows_are_checked_again
        continued_queries_find_what_dead_nodes_left;
    allowances: rows_that_clients_forward_are_bounded rows_of_one_message_are_bounded
        bytes_that_clients_forward_are_bounded;
    mend: without_end a_dead_node_s_lease a_living_node_s_lease work_and_requests sessions nothing;
    nodes: listed the_application_that_came_first_has_it;
    numbers: catch_up_with_the_time of_a_dead_letter gaps_fill_no_outbox of_publications
        seen_ahead_of_the_store;
    reserved: whoever_stores a_registration_ends_a_range swept fills_no_outbox rolled_back;
    topics: subscriptions publications_in_order pages_hold_what_fits missed positions
        a_page_of_deleted_publications newest_survives_scavenging;
    users: each_session_once none beside_messages_in_one_unit idempotency full_outboxes_keep_it_from_no_other
        requests_end_one_by_one with_a_client_s_message opened_and_closed_in_one_group beside_registrations
        beside_single_sends listed;
    kept: until_a_session_is_opened until_one_has_acknowledged closed_sessions_hand_back making_room_hands_back
        for_every_session only_so_long only_so_much with_a_time_to_live dropped once beside_sessions_being_opened;
    values: the_last_of_each_key pages due only_so_many_keys;
    presence: who_is_connected joins_and_leaves a_flapping_line_changes_nothing published_once_by_whoever_settles
        a_review_finds_what_a_dead_node_has_left nothing_is_settled_without_a_lease who_is_present many_leave_in_parts
        the_clock_was_set_back;
    transact: committed of_work sends_to_users refused rolled_back panicked timed_out
        redriven_to_its_own_session_only;
    engine: order_under_concurrency bad_one_fails_alone panic_is_survived news_before_the_answer busy
        order_beyond_the_queue panic_of_a_read_is_survived control_comes_first one_users_flood
        dropped_future_still_runs reopened_by_a_second_node metrics;
    groups: stored_and_deleted_in_one_group closed_before_the_next_is_opened
        resumed_twice_and_sent_to_in_one_group resumed_in_one_group;
}

/// So long ago that numbers are consecutive from 1; `numbers` tests later times.
const START: i64 = 1_500_000_000_000;

/// A fresh database that is not open yet.
pub struct Base {
    store: Store,
    config: StoreConfig,
    clock: Clock,
    _dir: Option<tempfile::TempDir>,
    /// Used to rotate segments before each operation.
    rotates: Option<StoreHandle>,
    #[cfg(feature = "postgres")]
    _schema: Option<super::postgres::tests::Schema>,
}

impl Base {
    fn sqlite_file() -> Base {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let store = Store::sqlite(dir.path().join("test.db"));
        Base {
            _dir: Some(dir),
            ..Base::of(store)
        }
    }

    fn sqlite_in_memory() -> Base {
        Base::of(Store::sqlite_in_memory())
    }

    #[cfg(feature = "postgres")]
    fn postgres() -> Base {
        Base::in_schema(|settings| settings)
    }

    /// Connected as if through a pooler in transaction mode.
    #[cfg(feature = "postgres")]
    fn postgres_pooled() -> Base {
        Base::in_schema(|settings| settings.pooled())
    }

    /// Rotates segments before each operation.
    #[cfg(feature = "postgres")]
    fn postgres_rotating() -> Base {
        let mut base = Base::postgres();
        let settings = base._schema.as_ref().map(|schema| schema.settings());
        let store = Store::from(settings.expect("it has a schema"));
        let handle = store.visit("rotates", &StoreConfig::default());
        base.rotates = Some(handle.expect("the store opens"));
        base
    }

    #[cfg(feature = "postgres")]
    fn in_schema(change: fn(super::Postgres) -> super::Postgres) -> Base {
        let schema = super::postgres::tests::Schema::new();
        let store = change(schema.settings()).into();
        Base {
            _schema: Some(schema),
            ..Base::of(store)
        }
    }

    /// The prefix of the store's table names on a connection that looks for the application's.
    fn prefix(&self) -> String {
        #[cfg(feature = "postgres")]
        if let Some(schema) = &self._schema {
            return schema.prefix();
        }
        "matssocket_".into()
    }

    fn of(store: Store) -> Base {
        Base {
            store,
            config: StoreConfig::default(),
            clock: Clock::fixed_ms(START),
            _dir: None,
            rotates: None,
            #[cfg(feature = "postgres")]
            _schema: None,
        }
    }

    /// The same database at another time.
    fn at(self, ms: i64) -> Base {
        Base {
            clock: Clock::fixed_ms(ms),
            ..self
        }
    }

    /// Attaches a node that has joined the cluster for a minute.
    async fn node(&self, name: &str) -> Node {
        let (news, meter) = (Collector::default().start(), std::sync::Arc::default());
        let subscribers = Subscribers {
            news: crate::mailbox::Mailbox::new(&news, &meter),
            work: crate::mailbox::Mailbox::new(&news, &meter),
        };
        let store = self
            .store
            .attach(name, &self.config, &self.clock, subscribers)
            .expect("the store opens");
        let rotates = self.rotates.clone();
        let node = Node {
            store,
            news,
            rotates,
        };
        assert!(
            node.run(RenewLease {
                join: true,
                lease: Duration::from_secs(60)
            })
            .await
        );
        node
    }
}

pub(super) fn register_of(user: &str, session: NewOrResumed) -> Register {
    Register {
        session,
        user_id: user.into(),
        client: "test,1".into(),
        app_name: "App".into(),
        app_version: "1.0".into(),
        max_sessions_per_user: 3,
        min_absence: Duration::from_secs(60),
        of_the_dead: true,
    }
}

fn held(registered: Registered) -> HeldSession {
    match registered {
        Registered::Held(session) => *session,
        other => panic!("not held: {other:?}"),
    }
}

fn json(text: &str) -> Payload {
    RawValue::from_string(text.into()).expect("JSON")
}

fn send(tid: &str) -> NewMessage {
    NewMessage {
        kind: MessageType::Send,
        eid: Some("terminator".into()),
        cmid: None,
        tid: tid.into(),
        msg: Some(json(r#"{"a": 1}"#)),
        debug: None,
        correlation: None,
        time_to_live: None,
    }
}

fn request(tid: &str) -> NewMessage {
    let correlation = Correlation {
        terminator: "replies".into(),
        string: Some("string".into()),
        bytes: Some(vec![0, 255]),
        requested: START,
        timeout_ms: 5000,
    };
    NewMessage {
        kind: MessageType::Request,
        correlation: Some(correlation),
        ..send(tid)
    }
}

fn work(tid: &str) -> NewForward {
    NewForward {
        service: "service".into(),
        endpoint: "endpoint".into(),
        sid: "s1".into(),
        user_id: "user".into(),
        cmid: Some("c1".into()),
        kind: MessageType::Request,
        tid: tid.into(),
        msg: json("[1]"),
        correlation: Some(json("\"beside\"")),
        debug: Some(crate::wire::Debug {
            resd: 3,
            cmrts: Some(7),
            ..Default::default()
        }),
        left: None,
        adapted: Some(false),
        here: true,
        begins: Begins::AT_ONCE,
        key: None,
    }
}

fn room(rows: usize) -> Room {
    Room {
        rows,
        bytes: u64::MAX,
    }
}

/// A claim by a node with one service, which knows of the rows in `holding` and has a claim grace of ten seconds.
fn claim(limit: usize, holding: &[i64]) -> ClaimForwarded {
    ClaimForwarded {
        rooms: [("service".to_owned(), room(limit))].into(),
        holding: holding.iter().copied().collect(),
        claim_grace: secs(10),
        asked: Instant::now(),
        looked: None,
    }
}

fn to(sid: &str, message: NewMessage) -> Effect {
    Effect::Message {
        sid: sid.into(),
        message,
    }
}

fn to_user(user: &str, message: NewMessage) -> Effect {
    Effect::ToUser {
        user_id: user.into(),
        message,
        keep: None,
    }
}

fn publish(topic: &str, tid: &str) -> Effect {
    Effect::Publish {
        topic: topic.into(),
        tid: tid.into(),
        msg: json("true"),
        value_of: None,
    }
}

fn call(effects: Vec<Effect>) -> Unit {
    Unit {
        cause: Cause::Call {
            idempotency_key: None,
        },
        effects,
    }
}

fn incoming(holder: Holder, cmid: &str, answer: Option<&str>) -> Unit {
    Unit {
        cause: Cause::Incoming {
            holder,
            cmid: cmid.into(),
            answer: answer.map(Into::into),
            settles: None,
        },
        effects: Vec::new(),
    }
}

fn days(days: u64) -> Duration {
    secs(days * 24 * 3600)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
