//! Listeners of a Gateway or ListenerSet: each read by itself, then held against its siblings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_api::apis::experimental::gateways::{
    GatewayListeners, GatewayListenersTlsCertificateRefs, GatewayListenersTlsMode,
};
use genkan_routing::model::Certificate;
use genkan_routing::name::HostPattern;

use super::allowed::{AllowedNamespaces, AllowedRoutes};
use super::client_auth::Frontend;
use super::findings::Findings;
use super::gateways::{GatewayListener, Verdict};
use super::grant::{GATEWAY_GROUP, GrantFrom, GrantTo, permits};
use super::hostname;
use super::parent::ParentKey;
use super::protocol::{ListenerProtocol, TlsMode};
use super::reason::{
    HOSTNAME_CONFLICT, INVALID, INVALID_CERTIFICATE_REF, PROTOCOL_CONFLICT, REF_NOT_PERMITTED, UNSUPPORTED_PROTOCOL,
    UNSUPPORTED_VALUE,
};
use crate::resources::NamespacedName;
use crate::translate::reader::Reader;

/// Reads every listener of a Gateway or ListenerSet by itself. `frontend`: what clients are asked for.
pub(crate) fn read_all(
    owner: &ParentKey,
    specs: &[GatewayListeners],
    frontend: &Frontend,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Vec<GatewayListener> {
    let mut names = BTreeSet::new();
    let mut listeners = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let mut listener = read(index, spec, findings);
        if !names.insert(&spec.name) {
            let message = format!("another listener is named {}; this one is not served", spec.name);
            refuse(&mut listener, "name", INVALID, message, "give every listener its own name", findings);
            // Routes that name it mean the other one, and are not for its hostname.
            listener.allowed = AllowedRoutes { kinds: Vec::new(), namespaces: AllowedNamespaces::Nobody };
        }
        if listener.protocol.is_some_and(ListenerProtocol::opens_tls) && listener.verdict.claims() {
            read_tls(&mut listener, spec, owner, reader, findings);
            // What was refused stays so, and its port free.
            if listener.verdict.claims() {
                frontend.apply(&mut listener, findings);
            }
        }
        listeners.push(listener);
    }
    listeners
}

fn read(index: usize, spec: &GatewayListeners, findings: &mut Findings) -> GatewayListener {
    let field = format!("spec.listeners[{index}]");
    let protocol = protocol(spec);
    let (allowed, resolved_refs) = match protocol {
        Some(protocol) => {
            let field = format!("{field}.allowedRoutes");
            AllowedRoutes::parse(spec.allowed_routes.as_ref(), protocol.route_kinds(), &field, findings)
        }
        // What it would take is of no interest, and no kind that is listed is wrong.
        None => (AllowedRoutes { kinds: Vec::new(), namespaces: AllowedNamespaces::Nobody }, None),
    };
    let mut listener = GatewayListener {
        name: spec.name.as_str().into(),
        field,
        port: u16::try_from(spec.port).unwrap_or_default(),
        protocol,
        hostname: HostPattern::Any,
        allowed,
        verdict: Verdict { resolved_refs, ..Verdict::default() },
        certificates: Vec::new(),
        client_auth: None,
        asked_by: None,
    };
    if listener.protocol.is_none() {
        let message = format!("the protocol {} is not supported; the listener is not served", spec.protocol);
        refuse(&mut listener, "protocol", UNSUPPORTED_PROTOCOL, message, "use HTTP, HTTPS, TLS, TCP or UDP", findings);
    }
    if listener.port == 0 {
        let message = format!("{} is no port; the listener is not served", spec.port);
        refuse(&mut listener, "port", INVALID, message, "write a port from 1 to 65535", findings);
    }
    // Of connections and datagrams as they are no name is known; the API wants it passed over.
    let named = !matches!(listener.protocol, Some(ListenerProtocol::Tcp | ListenerProtocol::Udp));
    match spec.hostname.as_deref().filter(|text| named && !text.is_empty()).map(hostname::parse) {
        None => {}
        Some(Ok(hostname)) => listener.hostname = hostname,
        Some(Err(error)) => {
            let message = format!("{error}; the listener is not served");
            refuse(&mut listener, "hostname", INVALID, message, "", findings);
        }
    }
    // The API forbids it, and whoever wrote it believes the port to be encrypted.
    let plain =
        matches!(listener.protocol, Some(ListenerProtocol::Http | ListenerProtocol::Tcp | ListenerProtocol::Udp));
    if plain && spec.tls.is_some() {
        let message = format!("a listener with protocol {} can't have tls; it is not served", spec.protocol);
        refuse(&mut listener, "tls", INVALID, message, "set protocol: HTTPS or TLS, or remove tls", findings);
    }
    check_idle_fields(&listener, spec, findings);
    listener
}

/// Tells what the API has passed over for this protocol and mode.
fn check_idle_fields(listener: &GatewayListener, spec: &GatewayListeners, findings: &mut Findings) {
    let mut warn = |part: &str, message: &str| {
        findings.warning(format!("{}.{part}", listener.field), UNSUPPORTED_VALUE, message, "remove it");
    };
    let has_hostname = spec.hostname.as_deref().is_some_and(|text| !text.is_empty());
    if has_hostname && matches!(listener.protocol, Some(ListenerProtocol::Tcp | ListenerProtocol::Udp)) {
        warn("hostname", "of TCP and UDP no name is known; the hostname has no effect");
    }
    let passed_on = listener.protocol == Some(ListenerProtocol::Tls(TlsMode::Passthrough));
    let Some(tls) = spec.tls.as_ref().filter(|_| passed_on) else { return };
    if tls.certificate_refs.as_ref().is_some_and(|references| !references.is_empty()) {
        warn("tls.certificateRefs", "TLS is passed through; no certificate of ours is shown");
    }
    for option in tls.options.iter().flatten().map(|(option, _)| option) {
        warn(&format!("tls.options[{option}]"), "TLS is passed through; the option has no effect");
    }
}

fn protocol(spec: &GatewayListeners) -> Option<ListenerProtocol> {
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_ref());
    match spec.protocol.as_str() {
        "HTTP" => Some(ListenerProtocol::Http),
        "HTTPS" => Some(ListenerProtocol::Https),
        "TLS" if mode == Some(&GatewayListenersTlsMode::Passthrough) => {
            Some(ListenerProtocol::Tls(TlsMode::Passthrough))
        }
        "TLS" => Some(ListenerProtocol::Tls(TlsMode::Terminate)),
        "TCP" => Some(ListenerProtocol::Tcp),
        "UDP" => Some(ListenerProtocol::Udp),
        _ => None,
    }
}

fn refuse(
    listener: &mut GatewayListener,
    field: &str,
    reason: &'static str,
    message: impl Into<String>,
    mend: &str,
    findings: &mut Findings,
) {
    findings.error(format!("{}.{field}", listener.field), reason, message, mend);
    listener.verdict.accepted = Some(reason);
}

fn read_tls(
    listener: &mut GatewayListener,
    spec: &GatewayListeners,
    owner: &ParentKey,
    reader: &Reader<'_>,
    findings: &mut Findings,
) {
    let Some(tls) = &spec.tls else {
        let message = format!("a listener with protocol {} needs tls; it is not served", spec.protocol);
        return refuse(listener, "tls", INVALID, message, "add tls.certificateRefs", findings);
    };
    if tls.mode == Some(GatewayListenersTlsMode::Passthrough) {
        let message = "HTTPS with mode Passthrough is not supported; the listener is not served";
        return refuse(listener, "tls.mode", UNSUPPORTED_VALUE, message, "use mode: Terminate", findings);
    }
    for option in tls.options.iter().flatten().map(|(key, _)| key) {
        let message = format!("the option {option} is not known and has no effect");
        findings.warning(format!("{}.tls.options[{option}]", listener.field), UNSUPPORTED_VALUE, message, "");
    }
    let references = tls.certificate_refs.as_deref().unwrap_or_default();
    if references.is_empty() {
        let message = "there is no certificate; the listener is not served";
        let mend = "name a Secret of type kubernetes.io/tls";
        findings.error(format!("{}.tls.certificateRefs", listener.field), INVALID_CERTIFICATE_REF, message, mend);
        listener.verdict.resolved_refs = Some(INVALID_CERTIFICATE_REF);
    }
    for (index, reference) in references.iter().enumerate() {
        let field = format!("{}.tls.certificateRefs[{index}]", listener.field);
        match certificate(reference, owner, &field, reader, findings) {
            Ok(certificate) => listener.certificates.push(certificate),
            Err(reason) => listener.verdict.resolved_refs = Some(reason),
        }
    }
    listener.verdict.unusable = listener.certificates.is_empty();
}

/// The certificate that a reference names, or the reason of the condition.
fn certificate(
    reference: &GatewayListenersTlsCertificateRefs,
    owner: &ParentKey,
    field: &str,
    reader: &Reader<'_>,
    findings: &mut Findings,
) -> Result<Arc<Certificate>, &'static str> {
    let (group, kind) = (reference.group.as_deref().unwrap_or_default(), reference.kind.as_deref().unwrap_or("Secret"));
    if !group.is_empty() || kind != "Secret" {
        let message = format!("a certificate can't be of kind {kind}");
        findings.error(field, INVALID_CERTIFICATE_REF, message, "name a Secret of type kubernetes.io/tls");
        return Err(INVALID_CERTIFICATE_REF);
    }
    let namespace = reference.namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace: Arc<str> = namespace.map_or_else(|| owner.name().namespace.clone(), Arc::from);
    if namespace != owner.name().namespace {
        let from = GrantFrom { group: GATEWAY_GROUP, kind: owner.kind(), namespace: &owner.name().namespace };
        let to = GrantTo { group: "", kind: "Secret", name: &reference.name };
        if !permits(reader.reference_grants_in(&namespace), from, to) {
            let message = format!(
                "no ReferenceGrant in {namespace} allows {}s of {} to use Secret {}",
                owner.kind(),
                owner.name().namespace,
                reference.name
            );
            let (kind, secret) = (owner.kind(), &reference.name);
            let mend = format!("create a ReferenceGrant in {namespace} from {kind} to Secret {secret}");
            findings.error(field, REF_NOT_PERMITTED, message, mend);
            return Err(REF_NOT_PERMITTED);
        }
    }
    reader.certificate(&NamespacedName::new(namespace, reference.name.as_str())).map_err(|error| {
        let mend = "name a Secret of type kubernetes.io/tls; without a certificate the listener is not served";
        findings.error(field, INVALID_CERTIFICATE_REF, error.to_string(), mend);
        findings.extend(error.problem());
        INVALID_CERTIFICATE_REF
    })
}

/// Marks listeners of one object that are not distinct. Of those none is served: the API forbids to pick a winner
/// inside a Gateway.
pub(crate) fn find_conflicts(listeners: &mut [GatewayListener], findings: &mut Findings) {
    let mut protocols: BTreeMap<Place, BTreeSet<ListenerProtocol>> = BTreeMap::new();
    let mut hostnames: BTreeMap<(Place, HostPattern), usize> = BTreeMap::new();
    for (listener, place, protocol) in sound(listeners) {
        protocols.entry(place).or_default().insert(protocol);
        *hostnames.entry((place, listener.hostname.clone())).or_default() += 1;
    }
    for listener in listeners.iter_mut().filter(|listener| listener.verdict.claims()) {
        let Some(place) = listener.protocol.map(|protocol| place(listener.port, protocol)) else { continue };
        let port = listener.port;
        let spoken = protocols.get(&place).filter(|spoken| !agree(spoken));
        if let Some(spoken) = spoken {
            let mut names: Vec<_> = spoken.iter().map(|protocol| protocol.as_str()).collect();
            names.dedup();
            let message =
                format!("listeners of this object use port {port} with {}; none is served", names.join(" and "));
            let mend = "give each protocol its own port";
            findings.error(format!("{}.protocol", listener.field), PROTOCOL_CONFLICT, message, mend);
            listener.verdict.conflicted = Some(PROTOCOL_CONFLICT);
        } else if hostnames.get(&(place, listener.hostname.clone())).is_some_and(|count| *count > 1) {
            let message = format!("several listeners of this object have this hostname on port {port}; none is served");
            let mend = "give each its own hostname, or join them";
            findings.error(format!("{}.hostname", listener.field), HOSTNAME_CONFLICT, message, mend);
            listener.verdict.conflicted = Some(HOSTNAME_CONFLICT);
        }
    }
}

/// A port, of TCP or (true) UDP: they have nothing to do with each other.
type Place = (u16, bool);

fn place(port: u16, protocol: ListenerProtocol) -> Place {
    (port, protocol == ListenerProtocol::Udp)
}

/// Whether protocols can share a port.
fn agree(spoken: &BTreeSet<ListenerProtocol>) -> bool {
    let mut on_port = spoken.iter().map(|protocol| protocol.on_port());
    let first = on_port.next();
    on_port.all(|other| Some(other) == first)
}

fn sound(listeners: &[GatewayListener]) -> impl Iterator<Item = (&GatewayListener, Place, ListenerProtocol)> {
    let claiming = listeners.iter().filter(|listener| listener.verdict.claims());
    claiming.filter_map(|listener| {
        let protocol = listener.protocol?;
        Some((listener, place(listener.port, protocol), protocol))
    })
}
