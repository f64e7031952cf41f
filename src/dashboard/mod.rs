//! Administration over HTTP: the admin API in JSON, and the dashboard that uses it.
//!
//! A request enters through `gate`, which asks the application's guard (`access`) who is asking, and checks what protects
//! against other sites' pages. Then `routes` finds the operation in its one table; `cluster`, `sessions`, `dead_letters` and
//! `topics` run it by the server's public methods. `pages` has the files of the dashboard.

mod access;
mod call;
mod cluster;
mod dead_letters;
mod gate;
mod pages;
mod routes;
mod sessions;
#[cfg(test)]
mod tests;
mod topics;

use actix_web::{HttpRequest, web};

pub use access::AdminAccess;
use access::Guard;
use gate::Gate;

use crate::server::MatsSocketServer;

impl MatsSocketServer {
    /// Mounts the dashboard at a path, such as `/admin`, and the admin API below it, at `/admin/api`. The dashboard shows the
    /// cluster, its sessions, services, topics and dead letters, and lets operators close sessions, revoke authorizations,
    /// and redrive or drop dead letters. It needs neither a build step nor the internet.
    ///
    /// The guard decides who may see it. It is asked for each request, before anything else is looked at; see
    /// [`AdminAccess`] for what it answers. The dashboard shows user ids, payloads of dead letters and of publications, but
    /// never authorization values.
    ///
    /// ```
    /// use actix_web::{App, HttpRequest, HttpServer};
    /// use matssocket::{AdminAccess, MatsSocketServer};
    ///
    /// # fn run(server: MatsSocketServer, token: String) -> std::io::Result<()> {
    /// // A browser asks for a user name, which is what the log calls the operator, and a password, which is the token.
    /// let dashboard = server.dashboard("/admin", async move |request: &HttpRequest| {
    ///     AdminAccess::by_token(request, &token)
    /// });
    /// let http = HttpServer::new(move || {
    ///     App::new().configure(server.mount("/matssocket")).configure(dashboard.clone())
    /// });
    /// # drop(http);
    /// # Ok(())
    /// # }
    /// ```
    pub fn dashboard<G>(
        &self,
        path: &str,
        guard: G,
    ) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<G>
    where
        G: AsyncFn(&HttpRequest) -> AdminAccess + Send + Sync + 'static,
    {
        Gate::mount(self.clone(), path, Guard::new(guard), true)
    }

    /// Mounts the admin API alone, below `<path>/api`: what [`dashboard`](Self::dashboard) mounts without its pages. The
    /// command line `matssocket --server https://shop.example/admin` uses it, and so do scripts. It describes itself as an
    /// OpenAPI document, at `<path>/api/openapi.json`.
    ///
    /// ```
    /// use actix_web::{App, HttpRequest, HttpServer};
    /// use matssocket::{AdminAccess, MatsSocketServer};
    ///
    /// # fn run(server: MatsSocketServer, token: String) -> std::io::Result<()> {
    /// // A port of its own, which only this machine can reach; and nobody may change anything. The token is needed all the
    /// // same: a foreign page can make a browser on this machine ask (DNS rebinding), unless `allowed_hosts` is set.
    /// let admin = server.admin_api("/admin", async move |request: &HttpRequest| {
    ///     AdminAccess::by_token(request, &token).read_only()
    /// });
    /// let http = HttpServer::new(move || App::new().configure(admin.clone()));
    /// let http = http.workers(1).disable_signals().bind("127.0.0.1:9465")?;
    /// # drop(http);
    /// # Ok(())
    /// # }
    /// ```
    pub fn admin_api<G>(
        &self,
        path: &str,
        guard: G,
    ) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<G>
    where
        G: AsyncFn(&HttpRequest) -> AdminAccess + Send + Sync + 'static,
    {
        Gate::mount(self.clone(), path, Guard::new(guard), false)
    }
}
