//! The tables as Diesel sees them. The columns are documented in `migrations/`.
//!
//! Compiled once for each database. Its `table!` macro decides whether a table has its plain name or the prefixed one:
//! in SQLite our tables share the file with the application's, in PostgreSQL they have a schema of their own.

table! { "matssocket_session"
    session (key) {
        key -> BigInt,
        sid -> Text,
        smid_prefix -> Text,
        user_id -> Text,
        connection -> BigInt,
        node -> Nullable<Text>,
        client -> Text,
        app_name -> Text,
        app_version -> Text,
        created -> BigInt,
        alive -> BigInt,
        last_seq -> BigInt,
        close_at -> Nullable<BigInt>,
        close_connection -> Nullable<BigInt>,
        outbox_bytes -> BigInt,
        position -> Nullable<BigInt>,
        skipped -> BigInt,
        reserves -> Nullable<BigInt>,
        connected -> Nullable<BigInt>,
    }
}

table! { "matssocket_inbox"
    inbox (session, cmid) {
        session -> BigInt,
        cmid -> Text,
        answer -> Nullable<Text>,
        created -> BigInt,
    }
}

table! { "matssocket_outbox"
    outbox (session, seq) {
        session -> BigInt,
        seq -> BigInt,
        kind -> Text,
        eid -> Nullable<Text>,
        cmid -> Nullable<Text>,
        tid -> Text,
        msg -> Nullable<Text>,
        debug -> Nullable<Text>,
        deliveries -> Integer,
        created -> BigInt,
        expires -> Nullable<BigInt>,
    }
}

table! { "matssocket_topic_value"
    topic_value (topic, key) {
        topic -> Text,
        key -> Text,
        id -> BigInt,
        created -> BigInt,
        tid -> Text,
        msg -> Text,
    }
}

table! { "matssocket_kept_message"
    kept_message (id) {
        id -> BigInt,
        user_id -> Text,
        eid -> Text,
        tid -> Text,
        msg -> Text,
        bytes -> Integer,
        debug -> Nullable<Text>,
        created -> BigInt,
        kept_until -> BigInt,
        expires -> Nullable<BigInt>,
        for_every_session -> Bool,
        session -> Nullable<BigInt>,
        seq -> Nullable<BigInt>,
    }
}

table! { "matssocket_correlation"
    correlation (session, seq) {
        session -> BigInt,
        seq -> BigInt,
        sid -> Text,
        user_id -> Text,
        tid -> Text,
        terminator -> Text,
        string -> Nullable<Text>,
        bytes -> Nullable<Binary>,
        requested -> BigInt,
        timeout_ms -> BigInt,
        due -> BigInt,
        reason -> Nullable<Text>,
    }
}

table! { "matssocket_subscription"
    subscription (session, topic) {
        session -> BigInt,
        topic -> Text,
        since -> Nullable<BigInt>,
    }
}

table! { "matssocket_publication"
    publication (id) {
        id -> BigInt,
        created -> BigInt,
        topic -> Text,
        tid -> Text,
        msg -> Text,
        previous -> Nullable<BigInt>,
    }
}

table! { "matssocket_forwarded"
    forwarded (id) {
        id -> BigInt,
        epoch -> BigInt,
        node -> Nullable<Text>,
        due -> BigInt,
        attempts -> Integer,
        secret -> Text,
        created -> BigInt,
        service -> Text,
        endpoint -> Text,
        sid -> Text,
        user_id -> Text,
        cmid -> Nullable<Text>,
        kind -> Text,
        tid -> Text,
        msg -> Text,
        correlation -> Nullable<Text>,
        debug -> Nullable<Text>,
        bytes -> Integer,
        deadline -> Nullable<BigInt>,
        failed -> Nullable<BigInt>,
        adapted -> Nullable<Bool>,
        postponed -> Nullable<BigInt>,
        key -> Nullable<Text>,
    }
}

table! { "matssocket_dead_letter"
    dead_letter (id) {
        id -> BigInt,
        origin -> Text,
        session -> Nullable<BigInt>,
        seq -> Nullable<BigInt>,
        sid -> Text,
        user_id -> Text,
        service -> Nullable<Text>,
        endpoint -> Nullable<Text>,
        cmid -> Nullable<Text>,
        kind -> Text,
        tid -> Text,
        msg -> Nullable<Text>,
        correlation -> Nullable<Text>,
        debug -> Nullable<Text>,
        created -> BigInt,
        reason -> Text,
        deliveries -> Integer,
        died -> BigInt,
        bytes -> Nullable<Integer>,
        adapted -> Nullable<Bool>,
    }
}

table! { "matssocket_node"
    node (name) {
        name -> Text,
        lease_until -> BigInt,
        services -> Nullable<Text>,
        lease -> Nullable<BigInt>,
    }
}

table! { "matssocket_application"
    application (one) {
        one -> Integer,
        name -> Text,
    }
}

table! { "matssocket_presence"
    presence (user_id) {
        user_id -> Text,
        since -> BigInt,
        absent -> Nullable<BigInt>,
    }
}

table! { "matssocket_presence_clock"
    presence_clock (one) {
        one -> Integer,
        number -> BigInt,
        reviewed -> BigInt,
        nodes -> Text,
    }
}

table! { "matssocket_sent_key"
    sent_key (key) {
        key -> Text,
        created -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    session,
    inbox,
    outbox,
    subscription,
    node,
    forwarded
);
