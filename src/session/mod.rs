//! Sessions: one actor per registration of a session, and the pure decisions that it carries out.

pub(crate) mod line;
