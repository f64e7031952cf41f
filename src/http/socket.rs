//! Accepted sockets: their options, and their end.

use std::any::Any;
use std::io;
use std::net::{Shutdown, TcpListener, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::SockRef;

/// How long sent bytes may stay unacknowledged, or a client's window closed, before the kernel ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many clients may wait to be accepted; the system may let fewer.
const BACKLOG: i32 = 4096;

/// A socket for [`HttpServer::listen`](actix_web::HttpServer::listen) at which thousands of clients may wait to be
/// accepted, as they do when another node has died. At one of the standard library's 128 may; whoever finds no place tries
/// again after a second, then after three. ([`HttpServer::bind`](actix_web::HttpServer::bind) sees to it by itself.)
///
/// # Errors
/// The address is taken, not one of this machine's, or none.
pub fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect): lets the server end a WebSocket's socket itself.
///
/// - A closed WebSocket's TCP connection ends at once. Without it, too, but only by way of an error in actix-web's
///   eyes, which it logs for every WebSocket.
/// - A client that takes nothing loses its socket when it is given up, and (on Linux) by the kernel after 30 s in any
///   case. Without it such a client keeps its socket, though not its session, until it goes away.
/// - Small messages leave at once (`TCP_NODELAY`).
///
/// Costs a second file descriptor per connection. For connections other than plain TCP it does nothing.
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
    // A socket that refuses an option works without it.
    if let Err(error) = socket.set_tcp_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(USER_TIMEOUT)) {
        log::debug!("TCP_USER_TIMEOUT: {error}");
    }
    match socket.try_clone() {
        Ok(socket) => {
            extensions.insert(Socket(Rc::new(socket)));
        }
        Err(error) => log::debug!("second handle of a socket: {error}"),
    }
}

/// A handle of an accepted socket beside that of actix-web.
#[derive(Clone)]
pub(super) struct Socket(Rc<socket2::Socket>);

impl Socket {
    /// Ends TCP in good order: what was sent still arrives, what the client still sends is read.
    pub(super) fn end(&self) {
        self.shut(Shutdown::Write);
    }

    /// Ends TCP also for who waits to write or read.
    pub(super) fn give_up(&self) {
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        // Fails when the connection has ended already.
        if let Err(error) = self.0.shutdown(how) {
            log::trace!("shutdown: {error}");
        }
    }
}
