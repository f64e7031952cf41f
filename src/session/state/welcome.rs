//! HELLO and WELCOME: how a connection opens or resumes a session.

use std::sync::Arc;

use super::pipeline::Step;
use super::{Action, Hello, Identity, State, Waiting};
use crate::auth::ClientInfo;
use crate::fault_injection::{Broken, is_broken};
use crate::store::StoreError;
use crate::store::operation::{HeldSession, Registered};
use crate::wire::{Close, CloseCode, Envelope, MessageType, check_id, shown};

impl State {
    pub(super) fn step_hello(&mut self) {
        let Some(pipeline) = &mut self.current else {
            return;
        };
        pipeline.step = Step::Dispatch;
        let Some(hello) = pipeline.hello.take() else {
            return;
        };
        if self.identity().is_some() {
            return self.close(Close::new(
                CloseCode::ViolatedPolicy,
                "HELLO a second time on one connection",
            ));
        }
        if let Some(fault) = hello.fault {
            return self.violation(format!("HELLO: {fault}"));
        }
        let missing = |field: &str| format!("HELLO without {field}");
        let (client, app_name, app_version) = match (hello.clv, hello.an, hello.av) {
            (Some(client), Some(name), Some(version)) => (client, name, version),
            (None, _, _) => return self.violation(missing("clv")),
            (_, None, _) => return self.violation(missing("an")),
            (_, _, None) => return self.violation(missing("av")),
        };
        for (what, value) in [("clv", &client), ("an", &app_name), ("av", &app_version)] {
            if value.contains('\0') || value.len() > 4 * crate::wire::MAX_ID_BYTES {
                return self.violation(format!("HELLO: {what} is too long, or contains NUL"));
            }
        }
        // Shown to people, so sanitised once, on entry.
        let [client, app_name, app_version] =
            [client, app_name, app_version].map(|it| shown(&it).into_owned());
        let trace_id = hello.tid;
        self.keep = hello.keep == Some(true);
        self.client = Some(Arc::new(ClientInfo {
            library: client.clone(),
            remote: self.remote.take().map(String::from),
            ..ClientInfo::new(app_name.clone(), app_version.clone())
        }));
        let hello = Hello {
            session: hello.sid,
            client,
            app_name,
            app_version,
        };
        if let Some(sid) = &hello.session
            && check_id("session id", sid).is_err()
        {
            return self.close(Close::new(
                CloseCode::SessionLost,
                "there is no session with this id",
            ));
        }
        self.welcome_trace = trace_id.map(String::into_boxed_str);
        self.waiting = Waiting::Registration;
        self.actions.push(Action::Register(Box::new(hello)));
    }

    pub(super) fn registered(&mut self, outcome: Result<Registered, StoreError>) {
        self.waiting = Waiting::Nothing;
        match outcome {
            Ok(Registered::Held(held)) => self.welcome(*held),
            Ok(Registered::NoSuchSession) => {
                let why = "the session is gone: it was closed, or has timed out";
                self.close(Close::new(CloseCode::SessionLost, why));
            }
            Ok(Registered::WrongUser) => {
                let why = "the user of the session does not match the one authenticated";
                self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
            Ok(Registered::TooManySessions) => {
                let most = self.config.max_sessions_per_user;
                let why = format!("too many sessions: a user may have {most}");
                self.close(Close::new(CloseCode::ViolatedPolicy, why));
            }
            Err(_) => self.store_away(),
        }
    }

    fn welcome(&mut self, held: HeldSession) {
        let resumed = !held.new;
        let identity = Identity {
            holder: held.holder,
            sid: held.sid.as_str().into(),
            smid_prefix: held.smid_prefix.into(),
            owner: None,
        };
        self.identity = Some(identity);
        self.actions.push(Action::Established);
        self.inbox.resume(held.inbox);
        let goes_again = held.has_outbox && !is_broken(Broken::Redelivery);
        self.window.resume(held.last_seq, goes_again);
        self.topics.resume(held.topics);
        if resumed {
            // There were no notices for messages stored between the registration and now.
            self.window.poke();
        }
        let desc = if resumed { "welcome back" } else { "welcome" };
        let welcome = Envelope {
            sid: Some(held.sid),
            tid: self.welcome_trace.take().map(String::from),
            desc: Some(desc.to_owned()),
            ..Envelope::new(MessageType::Welcome)
        };
        self.send_now(vec![welcome]);
        // Rumours that arrived before the registration.
        self.ask_standing();
    }
}

impl Identity {
    /// The id of a message on the wire.
    pub(in crate::session) fn smid(&self, seq: i64) -> String {
        format!("{}{seq}", self.smid_prefix)
    }

    /// The sequence number in an id, if it is one of this session's.
    pub(super) fn seq_of(&self, smid: &str) -> Option<i64> {
        smid.strip_prefix(&*self.smid_prefix)?
            .parse()
            .ok()
            .filter(|seq| *seq > 0)
    }
}
