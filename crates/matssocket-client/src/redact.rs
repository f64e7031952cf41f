//! Keeps credentials out of displayed text.

/// The URL in a form safe to display: without user name, password and the values of its query, any of which may be a
/// credential.
pub(super) fn without_credentials(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let rest = &url[authority..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    let hidden = if host > 0 { "…@" } else { "" };
    let path = &rest[host..];
    let (path, query) = match path.find(['?', '#']) {
        Some(at) => (&path[..at], "?…"),
        None => (path, ""),
    };
    format!("{}{hidden}{path}{query}", &url[..authority])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_credentials() {
        for (url, expected) in [
            ("ws://node:8080/path", "ws://node:8080/path"),
            ("ws://me:secret@node/path", "ws://…@node/path"),
            ("wss://me:p@ss@node", "wss://…@node"),
            ("ws://node/path?token=secret#x", "ws://node/path?…"),
            ("ws://node?token=a@b/c", "ws://node?…"),
            ("ws://node/a@b", "ws://node/a@b"),
            ("me:secret@node/path", "…@node/path"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(url), expected);
        }
    }
}
