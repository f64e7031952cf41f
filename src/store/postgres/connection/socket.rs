//! Finds the socket of one of Diesel's connections, which does not expose it, so that a thread waiting on it can be
//! woken.
//!
//! The socket is identified by a mark: libpq sets a timeout on it that no other socket of this process has. Where that
//! is not possible (a Unix-domain socket, or a system other than Linux), the connection cannot be cut.

#![allow(unsafe_code)] // borrows a file descriptor that belongs to libpq

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The user timeout of an unmarked connection, in milliseconds: data not acknowledged for this long counts as lost.
const USER_TIMEOUT: u32 = 10_000;
/// Difference between marks in milliseconds, since some kernels round.
const STEP: u32 = 10;
/// Number of distinct marks.
const MARKS: u32 = 500;

/// A mark that identifies one connection.
pub struct Mark(Duration);

impl Mark {
    pub fn new() -> Mark {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % MARKS;
        Mark(Duration::from_millis(u64::from(
            USER_TIMEOUT + number * STEP,
        )))
    }

    /// The URL parameter that marks a connection.
    pub fn parameter(&self) -> (&'static str, String) {
        ("tcp_user_timeout", self.0.as_millis().to_string())
    }
}

/// A duplicated handle of a socket.
pub struct Socket(#[cfg(target_os = "linux")] socket2::Socket);

#[cfg(target_os = "linux")]
impl Socket {
    /// The socket with this mark, if there is exactly one.
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
            // SAFETY: it was open a moment ago. If it refers to another file by now, reading its options does no harm,
            // and the mark is checked on the copy below.
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

    /// Wakes whoever waits on the socket, who then finds the connection lost.
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
