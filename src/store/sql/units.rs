//! Units: everything is checked first, then everything is written.

use std::collections::HashMap;

use diesel::prelude::*;

use super::Transaction;
use super::schema::{correlation, sent_key};
use crate::fault_injection::{Broken, is_broken};
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    pub fn unit(&mut self, unit: &Unit) -> DbResult<UnitOutcome> {
        if let Some(refusal) = self.check_cause(unit)? {
            return Ok(refusal);
        }
        if let Some(full) = self.full_outbox(&unit.effects)? {
            return self.refuse(unit, UnitOutcome::OutboxFull(full));
        }
        if let Some(limit) = self.too_much_forwarded(unit)? {
            return self.refuse(unit, UnitOutcome::TooMuchForwarded(limit));
        }
        if let Some(refusal) = self.settle(&unit.cause)? {
            return Ok(refusal);
        }
        let mut outcomes = Vec::with_capacity(unit.effects.len());
        for effect in &unit.effects {
            outcomes.push(self.bring_about(effect)?);
        }
        Ok(UnitOutcome::Committed(outcomes))
    }

    /// The reason why the unit must not be committed, if any. Writes nothing.
    fn check_cause(&mut self, unit: &Unit) -> DbResult<Option<UnitOutcome>> {
        match &unit.cause {
            Cause::Incoming {
                holder,
                cmid,
                settles,
                ..
            } => {
                if !self.holds(*holder)? {
                    return Ok(Some(UnitOutcome::FencedOff));
                }
                let known = match settles {
                    Some(_) => self.answer(holder.session, cmid)?,
                    // Nothing else can be refused; inserting the inbox row will reveal a duplicate.
                    None if unit.effects.is_empty() => None,
                    None => self.known_answer(holder.session, cmid)?,
                };
                if let Some(answer) = known {
                    return Ok(Some(UnitOutcome::Duplicate(answer)));
                }
                match settles {
                    Some(seq) => {
                        self.unless(|it| Ok(it.correlation_row(holder.session, *seq)?.is_some()))
                    }
                    None => Ok(None),
                }
            }
            Cause::Forwarded { id, proof } => self.unless(|it| it.may_settle(*id, proof)),
            Cause::Postponed { back, .. } => {
                self.unless(|it| it.may_settle(back.id, &Proof::Epoch(back.epoch)))
            }
            Cause::EndedCorrelation { session, seq } => {
                self.unless(|it| Ok(it.correlation_row(*session, *seq)?.is_some()))
            }
            Cause::Call {
                idempotency_key: None,
            } => Ok(None),
            Cause::Call {
                idempotency_key: Some(key),
            } => {
                let known: Option<i64> = sent_key::table
                    .find(key)
                    .select(sent_key::created)
                    .get_result(self.raw_conn())
                    .optional()?;
                Ok(known.map(|_| UnitOutcome::Repeated))
            }
        }
    }

    /// A repeated message gets its original answer, however full everything is by now.
    fn refuse(&mut self, unit: &Unit, refusal: UnitOutcome) -> DbResult<UnitOutcome> {
        let known = match &unit.cause {
            Cause::Incoming { holder, cmid, .. } => self.answer(holder.session, cmid)?,
            _ => None,
        };
        Ok(known.map_or(refusal, UnitOutcome::Duplicate))
    }

    fn unless(
        &mut self,
        is_open: impl FnOnce(&mut Self) -> DbResult<bool>,
    ) -> DbResult<Option<UnitOutcome>> {
        Ok((!is_open(self)?).then_some(UnitOutcome::AlreadySettled))
    }

    fn may_settle(&mut self, id: i64, proof: &Proof) -> DbResult<bool> {
        let Some((epoch, node, secret)) = self.claim_of_forwarded(id)? else {
            return Ok(false);
        };
        Ok(match proof {
            Proof::Epoch(_) if is_broken(Broken::Fencing) => true,
            Proof::Epoch(claim) => *claim == epoch && node.as_deref() == Some(&*self.by),
            Proof::Token(token) => *token == secret,
        })
    }

    /// A session whose outbox cannot take everything that the unit has for it, if any.
    fn full_outbox(&mut self, effects: &[Effect]) -> DbResult<Option<FullOutbox>> {
        // The most frequent cases need no counting.
        if let []
        | [
            Effect::ToUser { .. }
            | Effect::Publish { .. }
            | Effect::Forward(_)
            | Effect::Cancel { .. }
            | Effect::EndRequest { .. },
        ] = effects
        {
            return Ok(None);
        }
        if let [Effect::Message { sid, message }] = effects {
            return self.full_of(sid, 1, message.bytes());
        }
        let mut counts: HashMap<&str, (i64, i64)> = HashMap::new();
        for effect in effects {
            if let Effect::Message { sid, message } = effect {
                let (messages, bytes) = counts.entry(sid).or_default();
                *messages += 1;
                *bytes += message.bytes();
            }
        }
        for (sid, (messages, bytes)) in counts {
            if let Some(full) = self.full_of(sid, messages, bytes)? {
                return Ok(Some(full));
            }
        }
        Ok(None)
    }

    /// Reports a session's outbox as full if it cannot take this number of messages or bytes.
    fn full_of(&mut self, sid: &str, messages: i64, bytes: i64) -> DbResult<Option<FullOutbox>> {
        let Some(key) = self.key_of(sid)? else {
            return Ok(None);
        };
        let full = self.full(key, messages, bytes)?;
        Ok(full.map(|cap| FullOutbox {
            session_id: sid.to_owned(),
            cap,
        }))
    }

    /// Writes whatever prevents the unit from being committed twice.
    fn settle(&mut self, cause: &Cause) -> DbResult<Option<UnitOutcome>> {
        match cause {
            Cause::Incoming {
                holder,
                cmid,
                answer,
                settles,
            } => {
                let new = self.note_incoming(holder.session, cmid, answer.as_deref())?;
                if !new && !is_broken(Broken::Deduplication) {
                    let before = self.answer(holder.session, cmid)?.flatten();
                    return Ok(Some(UnitOutcome::Duplicate(before)));
                }
                if let Some(seq) = settles {
                    self.take_correlation(holder.session, *seq)?;
                }
            }
            Cause::Forwarded { id, .. } => {
                self.delete_forwarded(*id)?;
            }
            Cause::Postponed {
                back,
                idempotency_key,
            } => {
                self.postpone_forwarded(back)?;
                if let Some(key) = idempotency_key {
                    self.note_key(key)?;
                }
            }
            Cause::EndedCorrelation { session, seq } => self.take_correlation(*session, *seq)?,
            Cause::Call {
                idempotency_key: None,
            } => {}
            Cause::Call {
                idempotency_key: Some(key),
            } => self.note_key(key)?,
        }
        Ok(None)
    }

    fn note_key(&mut self, key: &str) -> DbResult<()> {
        let now = self.now;
        diesel::insert_into(sent_key::table)
            .values((sent_key::key.eq(key), sent_key::created.eq(now)))
            .execute(self.raw_conn())?;
        Ok(())
    }

    fn take_correlation(&mut self, session: SessionKey, seq: i64) -> DbResult<()> {
        diesel::delete(correlation::table.find((session.0, seq))).execute(self.raw_conn())?;
        Ok(())
    }

    fn bring_about(&mut self, effect: &Effect) -> DbResult<EffectOutcome> {
        match effect {
            Effect::Message { sid, message } => {
                let Some(key) = self.key_of(sid)? else {
                    return Ok(EffectOutcome::NoSession);
                };
                let seq = self.store_message(key, message)?;
                Ok(seq.map_or(EffectOutcome::NoSession, EffectOutcome::Stored))
            }
            Effect::ToUser {
                user_id,
                message,
                keep,
            } => {
                let stored = self.store_for_user(user_id, message, *keep)?;
                Ok(EffectOutcome::StoredForUser(stored))
            }
            Effect::Publish {
                topic,
                tid,
                msg,
                value_of,
            } => {
                let number = self.publish(topic, tid, msg.get())?;
                if let Some(key) = value_of {
                    self.note_value(topic, key, number, tid, msg.get())?;
                }
                Ok(EffectOutcome::Published(number))
            }
            Effect::Forward(work) => self.forward(work),
            Effect::Cancel { service, key } => {
                Ok(EffectOutcome::Cancelled(self.cancel(service, key)?))
            }
            Effect::EndRequest {
                session,
                seq,
                reason,
            } => {
                self.end_request(*session, *seq, reason)?;
                Ok(EffectOutcome::Ended)
            }
        }
    }
}
