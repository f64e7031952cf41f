//! How much of its topics the client has received.
//!
//! A client does not acknowledge publications. But whatever answers something that was sent after them proves that they
//! came: a WebSocket pong to a ping behind them, or the ACK of a message behind them. What merely comes later proves
//! nothing: it may have been on its way already.
//!
//! The numbers of publications are in one order over all topics. So one number per session says it: everything that was
//! published to it up to there was received. It is stored now and then, and when the session is let go; when the session
//! is resumed, what is newer is sent again. So a client may be sent again what it has received, if that was not proven or
//! not stored before its line or its node was lost: a publication is repeated rather than lost. Clients know repeated ones
//! by their ids, and those that name the last one they have seen are not sent any.

use super::{Action, State, Waiting};
use crate::clock::ms;

/// Milliseconds after which a ping without an answer is not waited for any more: a client may answer the newest only.
const AGAIN: i64 = 30_000;

/// What was sent, and what of it was received.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The newest number that this session was given, or from which on it listens: what it was not given up to there was
    /// not published to it.
    heard: i64,
    /// The client has received everything up to this number.
    received: i64,
    /// How often something was sent of a topic, and which of these the client has received.
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

/// A position that something is going to prove.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    position: i64,
    sent: u64,
    /// A message with a higher sequence number is behind it.
    seq: i64,
    /// The ping behind it, and when it was sent.
    ping: Option<(u64, i64)>,
}

impl Position {
    pub(super) fn heard(&mut self, number: i64) {
        self.heard = self.heard.max(number);
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

    /// When something is to be done.
    pub(super) fn deadline(&self) -> Option<i64> {
        let answer = self.candidate.and_then(|it| it.ping);
        let unasked = self.sent > self.proven && answer.is_none();
        let unreported = self.reported.is_some_and(|it| it.0 < self.received);
        let ping = unasked.then_some(self.ping_at);
        let report = (unreported && self.candidate.is_none()).then_some(self.report_at);
        let again = answer.map(|(_, at)| at.saturating_add(AGAIN));
        [ping, report, again].into_iter().flatten().min()
    }

    /// Whether it may be forgotten: no ping of it is on its way.
    pub(super) fn is_unused(&self) -> bool {
        self.pings == 0
    }
}

impl State {
    /// Up to which number the client was sent everything; `None`: what has yet to be read for it is not known.
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

    /// Has what was sent proven, and reports what was.
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
            // Nothing was sent since: so there is nothing to be received.
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

    /// The client has received everything that was published to this session up to this number. `None`: nothing is known.
    pub(in crate::session) fn received(&self) -> Option<i64> {
        let received = self.topics.peek_more()?.position.received;
        (received > 0).then_some(received)
    }
}
