//! The tables, as Diesel sees them. What the columns mean is said in `migrations/`.

diesel::table! {
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
    }
}

diesel::table! {
    inbox (session, cmid) {
        session -> BigInt,
        cmid -> Text,
        answer -> Nullable<Text>,
        created -> BigInt,
    }
}

diesel::table! {
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
    }
}

diesel::table! {
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

diesel::table! {
    subscription (session, topic) {
        session -> BigInt,
        topic -> Text,
        since -> Nullable<BigInt>,
    }
}

diesel::table! {
    publication (id) {
        id -> BigInt,
        created -> BigInt,
        topic -> Text,
        tid -> Text,
        msg -> Text,
        previous -> Nullable<BigInt>,
    }
}

diesel::table! {
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
        postponed -> Nullable<BigInt>,
    }
}

diesel::table! {
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
    }
}

diesel::table! {
    node (name) {
        name -> Text,
        lease_until -> BigInt,
        lease -> Nullable<BigInt>,
    }
}

diesel::table! {
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
