//! Mounting into an actix-web application, running and stopping with it.

use std::fmt;
use std::io;
use std::sync::Arc;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::HttpServer;
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;

use super::MatsSocketServer;
use crate::node::Node;

impl MatsSocketServer {
    /// Mounts the WebSocket (and what stands beside it) at a path, for `App::configure`.
    ///
    /// ```no_run
    /// # use actix_web::App;
    /// # fn example(server: matssocket::MatsSocketServer) {
    /// let app = App::new().configure(server.mount("/matssocket"));
    /// # let _ = app; }
    /// ```
    pub fn mount(&self, path: &str) -> impl FnOnce(&mut ServiceConfig) + Clone + use<> {
        crate::http::mount(Arc::new(crate::node::Edge(self.node.clone())), path)
    }

    /// Runs an HTTP server until SIGINT or SIGTERM, then [stops](MatsSocketServer::stop) this server and the HTTP
    /// server behind it. (actix-web's own signal handling would drop WebSockets without a Close.)
    ///
    /// # Errors
    /// The HTTP server's.
    pub async fn run<F, I, S, B>(&self, http: HttpServer<F, I, S, B>) -> io::Result<()>
    where
        F: Fn() -> I + Send + Clone + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        <S::Service as Service<Request>>::Future: 'static,
        S::Service: 'static,
        B: MessageBody + 'static,
    {
        let http = http.disable_signals().run();
        let handle = http.handle();
        tokio::pin!(http);
        tokio::select! {
            result = &mut http => {
                self.stop().await;
                return result;
            }
            signal = shutdown_signal() => log::info!("{signal}: stopping"),
        }
        // The HTTP server must go on turning while the sockets are closed.
        let stopping = async {
            self.stop().await;
            handle.stop(true).await;
        };
        let (result, ()) = tokio::join!(http, stopping);
        result
    }
}

async fn shutdown_signal() -> &'static str {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = tokio::signal::ctrl_c() => "SIGINT",
            };
        }
    }
    let _ = tokio::signal::ctrl_c().await;
    "SIGINT"
}

pub(super) async fn stop(node: &Arc<Node>) {
    node.stop().await;
}
