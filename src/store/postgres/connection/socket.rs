//! The socket of a connection of Diesel's, which does not show it: so that a thread that waits on it can be woken.
//!
//! It is the one socket that was not there before the connection was opened. Should somebody else in this process open
//! one at the same moment, it is not known which of them it is, and the connection cannot be cut.

#![allow(unsafe_code)] // a file descriptor is duplicated and shut down

use std::sync::{Mutex, PoisonError};

/// A handle on a socket.
pub struct Socket(#[cfg(target_os = "linux")] std::os::fd::OwnedFd);

/// Opens something, and finds its socket.
pub fn of<T, E>(open: impl FnOnce() -> Result<T, E>) -> Result<(T, Option<Socket>), E> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = linux::sockets();
    let opened = open()?;
    let socket = before.and_then(|before| linux::new_one(&before));
    Ok((opened, socket))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::fs;
    use std::os::fd::{FromRawFd, OwnedFd, RawFd};
    use std::path::PathBuf;

    use super::Socket;

    /// All sockets of this process: what the kernel calls them, and their file descriptors.
    pub fn sockets() -> Option<HashMap<PathBuf, RawFd>> {
        let all = fs::read_dir("/proc/self/fd").ok()?.flatten();
        let named = all.filter_map(|entry| {
            let fd = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_link(entry.path()).ok()?;
            name.to_str()?.starts_with("socket:").then_some((name, fd))
        });
        Some(named.collect())
    }

    /// The only one that was not there before.
    pub fn new_one(before: &HashMap<PathBuf, RawFd>) -> Option<Socket> {
        let now = sockets()?;
        let mut new = now.iter().filter(|(name, _)| !before.contains_key(*name));
        let (Some((name, fd)), None) = (new.next(), new.next()) else {
            return None;
        };
        // SAFETY: whatever the descriptor is by now, the new one is ours alone.
        let copy = unsafe {
            let copy = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 0);
            (copy >= 0).then(|| OwnedFd::from_raw_fd(copy))
        }?;
        // It may have been closed and used again meanwhile, if it was somebody else's.
        let is_it = sockets()?.get(name) == Some(fd);
        is_it.then_some(Socket(copy))
    }

    impl Socket {
        /// Whoever waits on it is woken, and finds the connection lost.
        pub fn cut(&self) {
            use std::os::fd::AsRawFd;
            // SAFETY: the descriptor is open as long as it is owned.
            unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    use super::Socket;

    pub fn sockets() -> Option<()> {
        None
    }

    pub fn new_one(_: &()) -> Option<Socket> {
        None
    }

    impl Socket {
        pub fn cut(&self) {}
    }
}
