//! `genkan echo`: a backend that tells what it received.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// Serve a backend that answers with what it received
///
/// It speaks HTTP/1.1, HTTP/2 without TLS, WebSocket (/ws) and gRPC. Paths to try: /status/404, /delay/100 (ms),
/// /bytes/1000, /sse?count=3. SIGTERM lets open requests be answered, and ends it.
#[derive(Args, Debug)]
pub(super) struct Echo {
    /// Address and port to listen on; port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,

    /// Name to give in answers
    #[arg(long, default_value = "echo")]
    name: String,
}

impl Echo {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(self.listen)
                .await
                .with_context(|| format!("cannot listen on {}", self.listen))?;
            eprintln!("genkan: echo {} on {}", self.name, listener.local_addr()?);
            // In a container this is process 1, which no signal ends that it does not handle.
            let mut terminate = signal(SignalKind::terminate())?;
            let stop = async move {
                terminate.recv().await;
            };
            tokio::select! {
                () = crate::echo::serve_until(listener, self.name.clone(), stop) => {}
                result = tokio::signal::ctrl_c() => result?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}
