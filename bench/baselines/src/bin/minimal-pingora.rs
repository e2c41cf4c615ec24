//! The smallest proxy on pingora: every request goes to one address. Usage: minimal-pingora LISTEN BACKEND THREADS

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::prelude::*;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Plain {
    backend: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Plain {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        // Without this, pingora keeps the connection but without any idle limit: the same as a real proxy would set.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(75));
        }
        Ok(Box::new(HttpPeer::new(self.backend, false, String::new())))
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, backend, threads] = arguments.as_slice() else {
        panic!("usage: minimal-pingora LISTEN BACKEND THREADS");
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let configuration = ServerConf { threads: threads.parse().expect("THREADS is a number"), ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let plain = Plain { backend: backend.parse().expect("BACKEND is an address") };
    let mut service = http_proxy_service(&server.configuration, plain);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}
