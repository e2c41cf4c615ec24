//! ClientHellos, from which a certificate is chosen.
//!
//! The first byte says in how large pieces the rest arrives.
//!
//! - In pieces or at once, the server name and the protocols are the same, or it is refused both ways.
//! - A server name is one that a table can be asked for: it has a canonical form, which keeps it.
//! - A refusal is one alert, as a record (RFC 8446, section 6), or nothing.
#![no_main]

use genkan_proxy::fuzzing::client_hello;
use genkan_routing::request::canonical_host;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, bytes)) = input.split_first() else { return };
    let whole = client_hello(bytes, usize::MAX);
    let pieces = client_hello(bytes, usize::from(piece).max(1));
    match (&whole, &pieces) {
        (Err(one), Err(other)) => assert_eq!(one.is_none(), other.is_none(), "TLS or not TLS"),
        _ => assert_eq!(whole, pieces, "in pieces of {piece}"),
    }
    match whole {
        Ok(Some(hello)) => {
            let Some(name) = hello.server_name else { return };
            let canonical = canonical_host(&name).unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
            assert_eq!(canonical, name.trim_end_matches('.').to_ascii_lowercase(), "another name");
        }
        Ok(None) => {}
        Err(None) => assert_ne!(bytes.first(), Some(&22), "a handshake record is TLS"),
        Err(Some(alert)) => {
            assert!(matches!(*alert, [] | [21, 3, _, 0, 2, _, _]), "no alert: {alert:?}");
        }
    }
});
