//! The socket of a connection of Diesel's, which does not show it: so that a thread that waits on it can be woken.
//!
//! It is known by a mark: libpq is told to set a time-out on it that no other socket of this process has. Where that
//! cannot be found (a Unix-domain socket, another system than Linux), the connection cannot be cut.

#![allow(unsafe_code)] // a file descriptor of libpq's is looked at

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The time-out of a connection that is not marked, in milliseconds: what is not acknowledged for so long is lost.
const USER_TIMEOUT: u32 = 10_000;
/// Marks differ by so much, since some kernels round.
const STEP: u32 = 10;
/// So many are different.
const MARKS: u32 = 500;

/// A mark that no other connection has.
pub struct Mark(Duration);

impl Mark {
    pub fn new() -> Mark {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % MARKS;
        Mark(Duration::from_millis(u64::from(
            USER_TIMEOUT + number * STEP,
        )))
    }

    /// What the URL must say for a connection to have it.
    pub fn parameter(&self) -> (&'static str, String) {
        ("tcp_user_timeout", self.0.as_millis().to_string())
    }
}

/// A handle on a socket.
pub struct Socket(#[cfg(target_os = "linux")] socket2::Socket);

#[cfg(target_os = "linux")]
impl Socket {
    /// The one socket with this mark.
    pub fn with(mark: &Mark) -> Option<Socket> {
        use std::os::fd::{BorrowedFd, RawFd};

        let all = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
        let sockets = all.filter_map(|entry| {
            let name = std::fs::read_link(entry.path()).ok()?;
            let is_socket = name.to_str()?.starts_with("socket:");
            let fd: RawFd = entry.file_name().to_str()?.parse().ok()?;
            is_socket.then_some(fd)
        });
        let marked = sockets.filter_map(|fd| {
            // SAFETY: it was open just now. Should it be another file by now, asking does it no harm, and the copy is
            // looked at below.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            let copy = socket2::SockRef::from(&borrowed).try_clone().ok()?;
            let timeout = copy.tcp_user_timeout().ok()??;
            (timeout == mark.0).then_some(Socket(copy))
        });
        let mut marked = marked.fuse();
        match (marked.next(), marked.next()) {
            (Some(socket), None) => Some(socket),
            _ => None,
        }
    }

    /// Whoever waits on it is woken, and finds the connection lost.
    pub fn cut(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

#[cfg(not(target_os = "linux"))]
impl Socket {
    pub fn with(_: &Mark) -> Option<Socket> {
        None
    }

    pub fn cut(&self) {}
}
