//! The ceiling: an echo through a connection actor and a session actor on the same thread.

use actix::{Actor, Addr, Context, Handler, Message, StreamHandler};
use actix_web::{App, HttpRequest, HttpServer, web};
use actix_web_actors::ws;

struct Connection {
    session: Option<Addr<Session>>,
}

struct Session {
    connection: Addr<Connection>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Text(bytestring::ByteString);

impl Actor for Connection {
    type Context = ws::WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let connection = actix::AsyncContext::address(ctx);
        self.session = Some(Session { connection }.start());
    }
}

impl Actor for Session {
    type Context = Context<Self>;
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Connection {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, _: &mut Self::Context) {
        if let (Ok(ws::Message::Text(text)), Some(session)) = (message, &self.session) {
            session.do_send(Text(text));
        }
    }
}

impl Handler<Text> for Session {
    type Result = ();

    fn handle(&mut self, text: Text, _: &mut Context<Self>) {
        self.connection.do_send(text);
    }
}

impl Handler<Text> for Connection {
    type Result = ();

    fn handle(&mut self, Text(text): Text, ctx: &mut Self::Context) {
        ctx.text(text);
    }
}

/// Serves it until the parent is gone; says its port.
pub fn serve() {
    actix_web::rt::System::new().block_on(async {
        let echo = async |request: HttpRequest, payload: web::Payload| {
            ws::start(Connection { session: None }, &request, payload)
        };
        let http = HttpServer::new(move || App::new().route("/", web::get().to(echo)))
            .bind(("127.0.0.1", 0))
            .expect("a port is free");
        println!("{}", http.addrs()[0].port());
        http.run().await.expect("the server runs");
    });
}
