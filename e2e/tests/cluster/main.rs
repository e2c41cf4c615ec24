//! What only a real cluster can show. All of it is one process, so that the cluster is started once.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

mod admission;
mod api_server;
mod cert_manager;
mod chart;
mod end;
mod external_dns;
mod flows;
mod gateway_edits;
mod gateway_rights;
mod gateway_status;
mod gateways;
mod leader;
mod peers;
mod pods;
mod restart;
mod roll_out;
mod security;
mod services;
mod site;
mod status;
mod volumes;
