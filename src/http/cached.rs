//! Files that are part of this build, which browsers may keep while they are current.

use actix_web::HttpRequest;
use actix_web::http::header::{EntityTag, Header, IfNoneMatch};

/// Whether a client already has the content with this tag.
pub(crate) fn is_current(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|theirs| theirs.weak_eq(tag)),
        Err(_) => false,
    }
}

/// A hash of the content (FNV-1a), the same in every build of the same files. It is weak, because a middleware of the
/// application may compress the response.
pub(crate) fn tag(content: &str) -> EntityTag {
    let hash = content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    EntityTag::new_weak(format!("{hash:016x}"))
}
