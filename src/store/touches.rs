//! What each operation touches, and how large it is.

use super::operation::*;
use super::statements::{Touched, Touches};

/// Operations that touch nothing shared, or do not know in advance what they touch.
macro_rules! touch_nothing {
    ($($operation:ty)*) => {
        $(impl Touches for $operation {
            fn touches(&self, _: &mut dyn FnMut(Touched<'_>)) {}
        })*
    };
}

touch_nothing! {
    CloseDue ReadStanding FindHome ListSessions CountSessions ListUsers TimeOutSessions Scavenge ReadAnswer FetchOutbox ReadCorrelation
    ClaimEndedCorrelations ClaimForwarded GiveBackForwarded PostponeForwarded BuryForwarded ReadForwarded ListDeadLetters
    RedriveDeadLetter DropDeadLetter DeadLettersBeyond ScavengeDeadLetters FetchPublications NewestPublication FindMissed ReadTopic RenewLease LeaveNode
    ListNodes MendTimes Sweep WhichExist NoteServices AllHaveSaid FindUnserved ClaimApplication RenameApplication Rotate
    ExpireMessages ExpireKept FindValues ReadValues FindConnected ListConnected ReadPresence SettlePresence LookAtPresence
    ClaimPresenceReview ReviewPresence
}

/// Operations on behalf of a connection.
macro_rules! touch_their_session {
    ($($operation:ty)*) => {
        $(impl Touches for $operation {
            fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
                see(Touched::Session(self.holder.session));
            }
        })*
    };
}

touch_their_session! { Deregister Subscribe Unsubscribe DropInbox Complete MarkRedelivery }

impl Touches for Register {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        match &self.session {
            // Serialises sessions that one user opens at the same time, so that they are counted correctly.
            NewOrResumed::New { .. } => see(Touched::User(&self.user_id)),
            NewOrResumed::Resumed { sid } => see(Touched::Resumed(sid)),
        }
    }
}

impl Touches for DropValue {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::Publications);
    }
}

impl Touches for DropKept {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::User(&self.user_id));
    }
}

impl Touches for CloseSession {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        match &self.target {
            CloseTarget::Sid(sid) => see(Touched::Sid(sid)),
            CloseTarget::Holder(holder) => see(Touched::Session(holder.session)),
        }
    }
}

impl Touches for CloseLater {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::Sid(&self.sid));
    }
}

impl Touches for Liveliness {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        for holder in &self.holders {
            see(Touched::Session(holder.session));
        }
    }
}

impl Touches for NotePositions {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        for (session, _) in &self.positions {
            see(Touched::Session(*session));
        }
    }
}

impl Touches for Unit {
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        if let Cause::Incoming { holder, .. } = &self.cause {
            see(Touched::Session(holder.session));
        }
        for effect in &self.effects {
            match effect {
                Effect::Message { sid, .. } => see(Touched::Sid(sid)),
                Effect::ToUser { user_id, .. } => see(Touched::SessionsOf(user_id)),
                Effect::Publish { .. } => see(Touched::Publications),
                Effect::Forward(_) | Effect::Cancel { .. } => {}
                Effect::EndRequest { session, .. } => see(Touched::Session(*session)),
            }
        }
        // Reported last, so that the session determines the writer: whatever goes to one session keeps its order,
        // whoever sends it.
        match &self.cause {
            Cause::Forwarded { id, .. } => see(Touched::Forwarded(*id)),
            Cause::Postponed { back, .. } => see(Touched::Forwarded(back.id)),
            Cause::Incoming { .. } | Cause::EndedCorrelation { .. } | Cause::Call { .. } => {}
        }
    }

    fn bytes(&self) -> usize {
        let answer = match &self.cause {
            Cause::Incoming { answer, .. } => answer.as_ref().map_or(0, String::len),
            _ => 0,
        };
        let effects = self.effects.iter().map(|effect| match effect {
            Effect::Message { message, .. } | Effect::ToUser { message, .. } => {
                message.msg.as_ref().map_or(0, |msg| msg.get().len())
            }
            Effect::Publish { msg, .. } => msg.get().len(),
            Effect::Forward(work) => work.bytes(),
            Effect::Cancel { .. } | Effect::EndRequest { .. } => 0,
        });
        answer + effects.sum::<usize>()
    }
}
