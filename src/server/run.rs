//! Mounts the server in an actix-web application, and runs and stops the two together.

use std::fmt;
use std::io;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::HttpServer;
use actix_web::dev::AppConfig;
use actix_web::web::ServiceConfig;

use super::MatsSocketServer;
use crate::logging;

impl MatsSocketServer {
    /// Mounts the WebSocket, and the HTTP resources below it, at a path, for `App::configure`.
    ///
    /// ```no_run
    /// # use actix_web::App;
    /// # fn example(server: matssocket::MatsSocketServer) {
    /// let app = App::new().configure(server.mount("/matssocket"));
    /// # let _ = app; }
    /// ```
    pub fn mount(&self, path: &str) -> impl FnOnce(&mut ServiceConfig) + Clone + use<> {
        crate::http::mount(self.edge.clone(), path)
    }

    /// Runs an HTTP server until SIGINT or SIGTERM, goes on for [`Config::stop_delay`](crate::Config::stop_delay), then
    /// [stops](MatsSocketServer::stop) this server, then the HTTP server. (actix-web's own signal handling would drop WebSockets without a Close.)
    ///
    /// Call it within a tokio runtime, as `bind` and the rest of actix-web.
    ///
    /// # Errors
    /// The HTTP server's.
    pub fn run<F, I, S, B>(
        &self,
        http: HttpServer<F, I, S, B>,
    ) -> impl Future<Output = io::Result<()>> + use<F, I, S, B>
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
        // Signals are handled from now on, not from the first poll, so a process that gets one right after it has
        // started also stops gracefully.
        let signal = shutdown_signal();
        let http = http.disable_signals().run();
        let handle = http.handle();
        let server = self.clone();
        async move {
            tokio::pin!(http);
            tokio::select! {
                result = &mut http => {
                    server.stop().await;
                    return result;
                }
                signal = signal => logging::info!("{signal}: stopping"),
            }
            // The HTTP server must keep running while the sockets are closed.
            let stopping = async {
                tokio::select! {
                    () = server.prepare_to_stop() => {}
                    signal = shutdown_signal() => logging::info!("{signal} again: stopping without delay"),
                }
                server.stop().await;
                handle.stop(true).await;
            };
            let (result, ()) = tokio::join!(http, stopping);
            result
        }
    }
}

#[cfg(unix)]
fn shutdown_signal() -> impl Future<Output = &'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut heard = [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ]
    .map(|(kind, name)| (signal(kind), name));
    async move {
        let heard = heard.iter_mut().map(|(signal, name)| {
            Box::pin(async move {
                match signal {
                    Ok(signal) => drop(signal.recv().await),
                    Err(error) => {
                        logging::error!("cannot listen for {name}: {error}");
                        std::future::pending::<()>().await;
                    }
                }
                *name
            })
        });
        futures_util::future::select_all(heard).await.0
    }
}

#[cfg(not(unix))]
async fn shutdown_signal() -> &'static str {
    let _ = tokio::signal::ctrl_c().await;
    "Ctrl-C"
}
