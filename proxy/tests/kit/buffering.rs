//! Buffering: rules that ask for it, and what is held.

use std::net::SocketAddr;

use genkan_routing::policy::buffering::{Otherwise, RequestBuffering, ResponseBuffering};

use super::client::PATIENCE;
use super::model::{RuleBuilder, Site, rule};
use super::running::Running;

pub const MIB: usize = 1 << 20;

pub fn requests(max_size: usize, otherwise: Otherwise) -> impl FnOnce(RuleBuilder) -> RuleBuilder {
    let request = Some(RequestBuffering { max_size: max_size as u64, otherwise });
    move |rule| rule.forward(|forward| forward.buffering.get_or_insert_default().request = request)
}

pub fn responses(max_size: usize) -> impl FnOnce(RuleBuilder) -> RuleBuilder {
    let response = Some(ResponseBuffering { max_size: max_size as u64 });
    move |rule| rule.forward(|forward| forward.buffering.get_or_insert_default().response = response)
}

pub fn site(endpoints: &[SocketAddr], change: impl FnOnce(RuleBuilder) -> RuleBuilder) -> Site {
    Site::new().cluster("a", endpoints).rule(change(rule("/").to("a")))
}

/// Bytes that tell their place.
pub fn bytes(length: usize) -> Vec<u8> {
    let cycle: Vec<u8> = (0..7 * 251).map(|at| (at / 7) as u8).collect();
    let mut bytes = cycle.repeat(length / cycle.len() + 1);
    bytes.truncate(length);
    bytes
}

/// Waits until nothing is held.
pub async fn until_free(running: &Running) {
    let free = async {
        while running.proxy.metrics().buffering.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, free).await.expect("memory is given back");
}

pub async fn until_held(running: &Running, bytes: usize) {
    let held = async {
        while running.proxy.metrics().buffering.held() < bytes {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("it is held");
}
