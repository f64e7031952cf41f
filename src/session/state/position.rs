//! How much of its topics the client has received.
//!
//! A client does not acknowledge publications. But an answer to something that was sent after them proves that they
//! arrived: a WebSocket pong to a later ping, or the ACK of a later message. Other input that arrives later proves
//! nothing: it may already have been on its way.
//!
//! Publications are numbered in one order over all topics. So one number per session suffices: everything published to
//! it up to that number was received. It is stored periodically and when the session is released; when the session is
//! resumed, everything newer is sent again. A client may therefore get publications again that it has received, if that
//! was not proven or not stored before its connection or its node was lost: a publication is repeated rather than lost.
//! Clients recognise repeated ones by their ids, and clients that name the last one they have seen get no repeats.

use super::{Action, State, Waiting};
use crate::clock::ms;

/// Milliseconds after which a ping without an answer is given up: a client may answer only the newest ping.
const AGAIN: i64 = 30_000;

/// What was sent, and how much of it was received.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The newest number that this session was given, or from which on it listens: everything published to it up to
    /// there was given to it.
    heard: i64,
    /// The client has received everything up to this number.
    received: i64,
    /// How often publications were sent, and how many of these sends the client has received.
    sent: u64,
    proven: u64,
    candidate: Option<Candidate>,
    /// The number of the last ping.
    pings: u64,
    /// When the next ping may be sent.
    ping_at: i64,
    /// What was reported last, and when the next report may follow.
    reported: Option<(i64, bool)>,
    report_at: i64,
}

/// A position whose proof is pending.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    position: i64,
    sent: u64,
    /// A message with a higher sequence number follows it.
    seq: i64,
    /// The ping that follows it, and when that was sent.
    ping: Option<(u64, i64)>,
}

impl Position {
    pub(super) fn heard(&mut self, number: i64) {
        self.heard = self.heard.max(number);
    }

    /// The session listens to more topics, from this number on. The registry does not take it for up to date any more.
    pub(super) fn subscribed(&mut self, horizon: i64) {
        self.heard(horizon);
        self.reported = None;
    }

    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }

    fn prove(&mut self, candidate: Candidate) {
        self.received = self.received.max(candidate.position);
        self.proven = candidate.sent;
        self.candidate = None;
    }

    /// The client has received this ping.
    fn pong(&mut self, number: u64) {
        let candidate = self.candidate;
        let proves = |it: &Candidate| it.ping.is_some_and(|(ping, _)| ping <= number);
        if let Some(candidate) = candidate.filter(proves).filter(|_| number <= self.pings) {
            self.prove(candidate);
        }
    }

    /// The client has received the message with this sequence number.
    fn acknowledged(&mut self, seq: i64) {
        if let Some(candidate) = self.candidate.filter(|it| seq > it.seq) {
            self.prove(candidate);
        }
    }

    /// When the next step is due.
    pub(super) fn deadline(&self) -> Option<i64> {
        let answer = self.candidate.and_then(|it| it.ping);
        let unasked = self.sent > self.proven && answer.is_none();
        let unreported = self.reported.is_some_and(|it| it.0 < self.received);
        let ping = unasked.then_some(self.ping_at);
        let report = (unreported && self.candidate.is_none()).then_some(self.report_at);
        let again = answer.map(|(_, at)| at.saturating_add(AGAIN));
        [ping, report, again].into_iter().flatten().min()
    }

    /// Whether it can be dropped: no ping was sent, so no pong can arrive for it.
    pub(super) fn is_unused(&self) -> bool {
        self.pings == 0
    }
}

impl State {
    /// Up to which number everything was sent to the client. `None`: it is not known what must still be read for it.
    fn sent_up_to(&self) -> Option<i64> {
        let is_subscribing = matches!(
            self.waiting,
            Waiting::TopicAuthorization(_) | Waiting::TopicSubscription(_)
        );
        if is_subscribing || self.topics.is_resuming() {
            return None;
        }
        let more = self.topics.peek_more()?;
        let behind = more.behind.iter().filter_map(|topic| {
            let unsent = self.topics.topics.get(topic)?.unsent()?;
            Some(unsent.first - 1)
        });
        let waiting = more.waiting.iter().map(|it| it.publication.id - 1);
        let unsent = behind.chain(waiting).min();
        Some(unsent.map_or(more.position.heard, |it| it.min(more.position.heard)))
    }

    /// Requests proof for what was sent, and reports what is proven.
    pub(super) fn settle_position(&mut self) {
        let Some(up_to) = self.sent_up_to() else {
            return;
        };
        let (now, seq) = (self.environment.now, self.window.newest_known());
        let interval = ms(self.config.position_interval);
        let Some(more) = self.topics.if_more() else {
            return;
        };
        let position = &mut more.position;
        if position.sent == position.proven {
            // Nothing has been sent since, so there is nothing to prove.
            position.received = position.received.max(up_to);
        }
        let is_late = |at: i64| at.saturating_add(AGAIN) <= now;
        let candidate = position
            .candidate
            .filter(|it| it.ping.is_none_or(|(_, at)| !is_late(at)));
        let mut candidate = candidate.or((position.sent > position.proven).then_some(Candidate {
            position: up_to,
            sent: position.sent,
            seq,
            ping: None,
        }));
        if let Some(it) = &mut candidate
            && it.ping.is_none()
            && position.ping_at <= now
        {
            position.pings += 1;
            position.ping_at = now.saturating_add(interval);
            (it.position, it.sent, it.seq) = (up_to, position.sent, seq);
            it.ping = Some((position.pings, now));
            self.actions.push(Action::Ping(position.pings));
        }
        position.candidate = candidate;
        let is_all = position.sent == position.proven && up_to == position.heard;
        let report = (position.received, is_all);
        let is_due = candidate.is_none() && position.report_at <= now;
        if is_due && position.reported != Some(report) {
            position.reported = Some(report);
            position.report_at = now.saturating_add(interval);
            self.actions.push(Action::ReportPosition {
                position: position.received,
                is_all,
            });
        }
    }

    pub(super) fn pong(&mut self, number: u64) {
        if let Some(more) = self.topics.if_more() {
            more.position.pong(number);
        }
    }

    /// The client acknowledges messages, up to this sequence number.
    pub(super) fn proves_position(&mut self, seq: i64) {
        if let Some(more) = self.topics.if_more() {
            more.position.acknowledged(seq);
        }
    }

    /// The number up to which the client has received everything published to this session. `None`: not known.
    pub(in crate::session) fn received(&self) -> Option<i64> {
        let received = self.topics.peek_more()?.position.received;
        (received > 0).then_some(received)
    }
}
