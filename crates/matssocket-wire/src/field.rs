//! The keys of an envelope.

use super::value::string;

/// The keys of an envelope.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    T,
    Smid,
    Cmid,
    X,
    Ids,
    Tid,
    Auth,
    Clv,
    An,
    Av,
    Sid,
    Keep,
    Rd,
    Eid,
    To,
    Desc,
    Msg,
    Debug,
    Unknown,
}

impl Field {
    /// The keys in the order in which they are printed.
    const NAMES: [(Field, &'static str); 18] = [
        (Field::T, "t"),
        (Field::Smid, "smid"),
        (Field::Cmid, "cmid"),
        (Field::X, "x"),
        (Field::Ids, "ids"),
        (Field::Tid, "tid"),
        (Field::Auth, "auth"),
        (Field::Clv, "clv"),
        (Field::An, "an"),
        (Field::Av, "av"),
        (Field::Sid, "sid"),
        (Field::Keep, "keep"),
        (Field::Rd, "rd"),
        (Field::Eid, "eid"),
        (Field::To, "to"),
        (Field::Desc, "desc"),
        (Field::Msg, "msg"),
        (Field::Debug, "debug"),
    ];

    /// The field of a key, given as JSON.
    pub(super) fn of(key: &str) -> Field {
        let known = |name: &str| {
            let mut names = Field::NAMES.iter();
            names
                .find(|(_, known)| *known == name)
                .map_or(Field::Unknown, |(field, _)| *field)
        };
        match key.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
            Some(name) if !name.contains('\\') => known(name),
            Some(_) | None => string(key).map_or(Field::Unknown, |name| known(&name)),
        }
    }

    pub(super) fn name(self) -> &'static str {
        Field::NAMES
            .iter()
            .find(|(field, _)| *field == self)
            .map_or("?", |(_, name)| name)
    }
}
