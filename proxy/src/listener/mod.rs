//! Listeners: sockets, PROXY protocol, TLS by SNI, client streams with deadlines.
