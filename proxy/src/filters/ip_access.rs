//! IP access: 403 for clients that may not come in.

use std::net::IpAddr;
use std::ops::ControlFlow;

use genkan_routing::policy::ip_access::IpAccess;
use http::StatusCode;
use ipnet::IpNet;

use crate::exchange::context::RequestContext;
use crate::reply::Reply;

/// Refuses clients on the deny list, and those that are not on a non-empty allow list.
pub(super) fn request(ctx: &RequestContext<'_>, access: &IpAccess) -> ControlFlow<Reply> {
    let client = ctx.client.to_canonical();
    let refused = covers(&access.deny, client) || (!access.allow.is_empty() && !covers(&access.allow, client));
    if refused { ControlFlow::Break(Reply::refuse(ctx, StatusCode::FORBIDDEN)) } else { ControlFlow::Continue(()) }
}

/// Whether one of the networks holds the address. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
pub(crate) fn covers(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filters::testing::Request;

    fn refused(client: &str, deny: &[&str], allow: &[&str]) -> bool {
        let parse = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        let access = IpAccess { deny: parse(deny), allow: parse(allow) };
        match Request::get("/").client(client).with(|ctx| request(ctx, &access)) {
            ControlFlow::Break(reply) => {
                assert_eq!(reply.status, 403);
                true
            }
            ControlFlow::Continue(()) => false,
        }
    }

    #[test]
    fn the_deny_list_is_judged_before_the_allow_list() {
        assert!(refused("10.0.0.1", &["10.0.0.0/24"], &["10.0.0.0/8"]));
        assert!(!refused("10.1.0.1", &["10.0.0.0/24"], &["10.0.0.0/8"]));
    }

    #[test]
    fn with_an_allow_list_everyone_else_is_refused() {
        assert!(refused("192.0.2.1", &[], &["10.0.0.0/8", "2001:db8::/32"]));
        assert!(!refused("2001:db8::1", &[], &["10.0.0.0/8", "2001:db8::/32"]));
        assert!(!refused("192.0.2.1", &["10.0.0.0/8"], &[]));
    }

    #[test]
    fn an_ipv4_address_inside_ipv6_counts_as_ipv4() {
        assert!(refused("::ffff:10.0.0.1", &["10.0.0.0/8"], &[]));
    }
}
