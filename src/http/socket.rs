//! Options of accepted sockets.

use std::any::Any;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::SockRef;

/// How long sent bytes may stay unacknowledged, or a client's window closed, before the kernel ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// For [`HttpServer::on_connect`](actix_web::HttpServer::on_connect): small messages leave at once, and (on Linux) the
/// kernel ends the connection of a client that takes nothing for 30 s.
///
/// Without it a client that never reads keeps its socket, though not its session, until it goes away.
///
/// ```
/// # use actix_web::{App, HttpServer};
/// HttpServer::new(App::new).on_connect(matssocket::on_connect);
/// ```
pub fn on_connect(connection: &dyn Any, _: &mut Extensions) {
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
}
