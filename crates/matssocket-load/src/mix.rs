//! The kinds of messages, and a mix of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// The kinds of messages that a client orders from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A reply, which the endpoint returns at once.
    Requests,
    /// Messages from the server, which the client acknowledges.
    Pushes,
    /// A reply, which comes from a service that the endpoint forwards to.
    Forwards,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Requests, Kind::Pushes, Kind::Forwards];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Requests => "requests",
            Kind::Pushes => "pushes",
            Kind::Forwards => "forwards",
        }
    }

    fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One number for each kind.
pub type ByKind<T> = [T; Kind::ALL.len()];

/// The proportions of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mix {
    weights: ByKind<u64>,
    /// The kinds take turns of this length, instead of being mixed.
    pub phase: Option<Duration>,
}

impl Mix {
    /// Only messages of this kind.
    pub fn only(kind: Kind) -> Mix {
        let mut mix = Mix::default();
        mix.weights[kind as usize] = 1;
        mix
    }

    /// Reads `requests=3,pushes=1`; a kind without a number weighs 1.
    pub fn parse(text: &str) -> Result<Mix, String> {
        let mut mix = Mix::default();
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let kind = Kind::named(name.trim());
            let kind = kind.ok_or_else(|| format!("{name:?}: requests, pushes or forwards"))?;
            let weight: u32 = (weight.trim().parse())
                .map_err(|_| format!("{part:?}: {weight:?} is not a whole number"))?;
            mix.weights[kind as usize] = weight.into();
        }
        match mix.kinds().next() {
            Some(_) => Ok(mix),
            None => Err("a mix of nothing".to_owned()),
        }
    }

    /// The kinds in it.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        let weighs = |kind: &Kind| self.weights[*kind as usize] > 0;
        Kind::ALL.into_iter().filter(weighs)
    }

    /// Whether messages of several kinds are in flight at the same time.
    pub fn is_mixed(&self) -> bool {
        self.phase.is_none() && self.kinds().count() > 1
    }

    /// The kind whose turn it is after this time. `None`: they are mixed.
    pub fn turn(&self, after: Duration) -> Option<Kind> {
        let turns = after.as_nanos() / self.phase?.as_nanos().max(1);
        self.kinds()
            .nth(turns as usize % self.kinds().count().max(1))
    }

    /// The kind of the next message, after this time, if this many of each kind have been requested so far.
    pub fn next(&self, after: Duration, asked: &ByKind<u64>) -> Kind {
        let lags_behind = |one: &Kind, other: &Kind| {
            let (one, other) = (*one as usize, *other as usize);
            (asked[one] * self.weights[other]).cmp(&(asked[other] * self.weights[one]))
        };
        self.turn(after)
            .or_else(|| self.kinds().min_by(lags_behind))
            .expect("a mix has a kind")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, kind) in self.kinds().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{}={}", kind.name(), self.weights[kind as usize])?;
        }
        match self.phase {
            Some(phase) => write!(f, " in turns of {phase:?}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(mix: &Mix, messages: u64, burst: u64) -> ByKind<u64> {
        let mut asked = ByKind::default();
        while asked.iter().sum::<u64>() < messages {
            let kind = mix.next(Duration::ZERO, &asked);
            asked[kind as usize] += if kind == Kind::Pushes { burst } else { 1 };
        }
        asked
    }

    #[test]
    fn messages_are_mixed_by_their_weights_whatever_an_order_brings() {
        let mix = Mix::parse("requests=3,forwards,pushes=2").expect("it is a mix");
        assert_eq!(asked_for(&mix, 600, 1), [300, 200, 100]);
        assert_eq!(asked_for(&mix, 600, 10), [300, 200, 100]);
        assert!(mix.is_mixed());
        assert_eq!(mix.turn(Duration::from_secs(9)), None);
    }

    #[test]
    fn in_phases_the_kinds_take_turns() {
        let mut mix = Mix::parse("requests=1,pushes=0,forwards=5").expect("it is a mix");
        mix.phase = Some(Duration::from_secs(60));
        let turn = |seconds| mix.next(Duration::from_secs(seconds), &[7, 0, 0]);
        assert_eq!(turn(59), Kind::Requests);
        assert_eq!(turn(60), Kind::Forwards);
        assert_eq!(turn(120), Kind::Requests);
        assert!(!mix.is_mixed());
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for (text, contains) in [
            ("", "requests, pushes or forwards"),
            ("rain=1", "rain"),
            ("requests=-1", "-1"),
            ("requests=0", "nothing"),
        ] {
            let why = Mix::parse(text).expect_err(text);
            assert!(why.contains(contains), "{text}: {why}");
        }
    }
}
