//! Accepted sockets: their options, and how they are ended.

use std::any::Any;
use std::io;
use std::net::{Shutdown, TcpListener, ToSocketAddrs};
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::SockRef;

use crate::logging;

/// How long sent bytes may stay unacknowledged, or a client's window closed, before the kernel ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many clients may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4096;

/// A socket for [`HttpServer::listen`](actix_web::HttpServer::listen) with a backlog of thousands of clients waiting to
/// be accepted, as happens when another node has failed. A socket of the standard library has a backlog of 128; clients
/// that find it full retry after a second, then after three. ([`HttpServer::bind`](actix_web::HttpServer::bind) already
/// sets a larger backlog.)
///
/// # Errors
/// The address cannot be resolved, is in use, or does not belong to this machine.
pub fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect): lets the server end a WebSocket's socket itself.
///
/// - A closed WebSocket's TCP connection ends at once. Without this it also does, but only by means of an error that
///   actix-web logs for every WebSocket.
/// - A client that reads nothing loses its socket when the server gives up on it, and (on Linux) in any case after 30
///   s, by the kernel. Without this, such a client keeps its socket, but not its session, until it disconnects.
/// - Small messages are sent at once (`TCP_NODELAY`).
///
/// On Linux it costs nothing; elsewhere, a second file descriptor per connection. For connections other than plain TCP it
/// does nothing.
///
/// ```
/// # use actix_web::{App, HttpServer};
/// HttpServer::new(App::new).on_connect(matssocket::on_connect);
/// ```
pub fn on_connect(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else {
        return;
    };
    let socket = SockRef::from(stream);
    // A socket that rejects an option works without it.
    if let Err(error) = socket.set_tcp_nodelay(true) {
        logging::debug!("TCP_NODELAY: {error}");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(USER_TIMEOUT)) {
        logging::debug!("TCP_USER_TIMEOUT: {error}");
    }
    match Socket::of(&socket) {
        Ok(socket) => {
            extensions.insert(socket);
        }
        Err(error) => logging::debug!("cannot duplicate a socket's handle: {error}"),
    }
}

/// A handle to an accepted socket, in addition to that of actix-web.
#[derive(Clone)]
pub(super) enum Socket {
    /// The file descriptor of actix-web itself, which closes it together with the connection's response body, and the
    /// socket's cookie, a number that the kernel gives to no other socket.
    #[cfg(target_os = "linux")]
    Shared(RawFd, u64),
    /// A separate file descriptor, on systems where sockets have no such number.
    Own(Rc<socket2::Socket>),
}

impl Socket {
    fn of(socket: &SockRef<'_>) -> io::Result<Socket> {
        #[cfg(target_os = "linux")]
        if let Ok(cookie) = socket.cookie() {
            return Ok(Socket::Shared(socket.as_raw_fd(), cookie));
        }
        Ok(Socket::Own(Rc::new(socket.try_clone()?)))
    }

    /// Ends TCP gracefully: what was sent still arrives, and what the client still sends is read.
    pub(super) fn end(&self) {
        self.shut(Shutdown::Write);
    }

    /// Ends TCP at once, also for pending writes and reads.
    pub(super) fn give_up(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        let shut = match self {
            #[cfg(target_os = "linux")]
            Socket::Shared(fd, cookie) => shut_shared(*fd, *cookie, how),
            Socket::Own(socket) => socket.shutdown(how),
        };
        // This fails if the connection has already ended.
        if let Err(error) = shut {
            logging::trace!("shutdown: {error}");
        }
    }
}

/// Shuts a socket down by a file descriptor that others own. Callers have seen that the response body still exists, so
/// the descriptor is open. If a middleware kept the body for longer than the connection, the cookie shows that it is
/// another socket.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn shut_shared(fd: RawFd, cookie: u64, how: Shutdown) -> io::Result<()> {
    // SAFETY: nothing is read, written or closed by it, and a descriptor that is not open, or not this socket's, is left
    // alone: `cookie` fails, or gives another number. It does not outlive this call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let socket = SockRef::from(&fd);
    match socket.cookie()? == cookie {
        true => socket.shutdown(how),
        false => Err(io::ErrorKind::NotConnected.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// The server's end and the client's end.
    fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address = listener.local_addr().expect("it listens");
        let client = TcpStream::connect(address).expect("there is room");
        (listener.accept().expect("it is connected").0, client)
    }

    #[test]
    fn a_socket_is_ended_and_another_one_in_its_place_is_not() {
        let listener = listen("127.0.0.1:0").expect("a port is free");
        let (server, mut client) = connected(&listener);
        let socket = Socket::of(&SockRef::from(&server)).expect("it is open");
        socket.end();
        assert_eq!(client.read(&mut [0]).expect("it has ended in order"), 0);
        drop(server);
        // The first of them is likely to have the same file descriptor.
        let mut others: Vec<_> = (0..8).map(|_| connected(&listener)).collect();
        socket.give_up();
        for (server, client) in &mut others {
            server.write_all(b"x").expect("it was not shut down");
            client.read_exact(&mut [0]).expect("it was not shut down");
        }
    }
}
