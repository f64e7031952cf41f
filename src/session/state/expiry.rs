//! Authorizations that name their end.

use super::State;
use crate::auth::{AuthError, Principal, Verdict};
use crate::clock::epoch_ms;

impl State {
    /// An authenticator's answer, as it counts: what has expired is not valid, whatever the authenticator says.
    pub(super) fn in_time(
        &self,
        verdict: Result<Verdict, AuthError>,
    ) -> Result<Verdict, AuthError> {
        let expired = match &verdict {
            Ok(Verdict::Authenticated(principal)) => self.is_over(principal),
            Ok(Verdict::StillValid) => self.has_expired(),
            Ok(Verdict::Invalid(_)) | Err(_) => false,
        };
        match expired {
            true => Ok(Verdict::Invalid("the authorization has expired".into())),
            false => verdict,
        }
    }

    /// Whether the accepted authorization has expired. An earlier permission to deliver ends with it.
    pub(super) fn has_expired(&self) -> bool {
        self.principal()
            .is_some_and(|principal| self.is_over(principal))
    }

    fn is_over(&self, principal: &Principal) -> bool {
        let end = principal.expires.map(epoch_ms);
        end.is_some_and(|end| end <= self.environment.wall)
    }
}
