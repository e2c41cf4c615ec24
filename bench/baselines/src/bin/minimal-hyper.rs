//! The smallest proxy on hyper: one single-threaded runtime per thread, each with its own accept queue and its own pool
//! of connections to one address. Usage: minimal-hyper LISTEN BACKEND THREADS

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Body = BoxBody<Bytes, hyper::Error>;

/// Idle connections of one thread. A connection returns when the response's head is there and it is ready again.
type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

async fn connection(pool: &Pool, backend: SocketAddr) -> Option<SendRequest<Incoming>> {
    loop {
        let idle = pool.borrow_mut().pop();
        match idle {
            Some(sender) if sender.is_closed() => continue,
            Some(sender) => return Some(sender),
            None => break,
        }
    }
    let stream = TcpStream::connect(backend).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::task::spawn_local(connection);
    Some(sender)
}

async fn forward(request: Request<Incoming>, pool: Pool, backend: SocketAddr) -> Result<Response<Body>, Infallible> {
    let failed = || {
        let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    };
    let Some(mut sender) = connection(&pool, backend).await else { return Ok(failed()) };
    let Ok(response) = sender.send_request(request).await else { return Ok(failed()) };
    tokio::task::spawn_local(async move {
        if sender.ready().await.is_ok() {
            pool.borrow_mut().push(sender);
        }
    });
    Ok(response.map(|body| body.boxed()))
}

async fn serve(listen: SocketAddr, backend: SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::for_address(listen), socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&listen.into()).unwrap();
    socket.listen(4096).unwrap();
    let listener = TcpListener::from_std(socket.into()).unwrap();
    let pool = Pool::default();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let pool = pool.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| forward(request, pool.clone(), backend));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, backend, threads] = arguments.as_slice() else {
        panic!("usage: minimal-hyper LISTEN BACKEND THREADS");
    };
    let listen: SocketAddr = listen.parse().expect("LISTEN is an address");
    let backend: SocketAddr = backend.parse().expect("BACKEND is an address");
    let threads: usize = threads.parse().expect("THREADS is a number");
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                tokio::task::LocalSet::new().block_on(&runtime, serve(listen, backend));
            })
        })
        .collect();
    for worker in workers {
        let _ = worker.join();
    }
}
