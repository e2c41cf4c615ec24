//! Reasons of problems: the words of Gateway API's conditions, so that a status says what the report says.

/// `Accepted` is true.
pub(crate) const ACCEPTED: &str = "Accepted";
/// `Programmed` is true.
pub(crate) const PROGRAMMED: &str = "Programmed";
/// `ResolvedRefs` is true.
pub(crate) const RESOLVED_REFS: &str = "ResolvedRefs";
/// Listener `Conflicted` is false.
pub(crate) const NO_CONFLICTS: &str = "NoConflicts";
/// GatewayClass `SupportedVersion` is true.
pub(crate) const SUPPORTED_VERSION: &str = "SupportedVersion";
/// Gateway `Accepted`: some listener can't be served; true unless none can.
pub(crate) const LISTENERS_NOT_VALID: &str = "ListenersNotValid";
/// Gateway `ResolvedRefs`: the one of a listener is false.
pub(crate) const LISTENERS_NOT_RESOLVED: &str = "ListenersNotResolved";
/// Gateway `InsecureFrontendValidationMode` is true.
pub(crate) const CONFIGURATION_CHANGED: &str = "ConfigurationChanged";
/// Route `Accepted`: the parent is not accepted itself.
pub(crate) const PENDING: &str = "Pending";

/// ListenerSet `Accepted`: the Gateway does not take it.
pub(crate) const NOT_ALLOWED: &str = "NotAllowed";
/// ListenerSet `Accepted`: the Gateway is not accepted itself.
pub(crate) const PARENT_NOT_ACCEPTED: &str = "ParentNotAccepted";
/// ListenerSet `Programmed`: the Gateway is not programmed itself.
pub(crate) const PARENT_NOT_PROGRAMMED: &str = "ParentNotProgrammed";
/// Listener `Accepted`, route `ResolvedRefs`: the protocol is not served, or not spoken.
pub(crate) const UNSUPPORTED_PROTOCOL: &str = "UnsupportedProtocol";
/// Listener `Conflicted`: another listener has the port with another protocol.
pub(crate) const PROTOCOL_CONFLICT: &str = "ProtocolConflict";
/// Listener `Conflicted`: another listener has the port with the same hostname.
pub(crate) const HOSTNAME_CONFLICT: &str = "HostnameConflict";
/// Listener `Accepted`: the port can't be used.
pub(crate) const PORT_UNAVAILABLE: &str = "PortUnavailable";
/// Listener `ResolvedRefs`: a certificate is missing or broken.
pub(crate) const INVALID_CERTIFICATE_REF: &str = "InvalidCertificateRef";
/// Listener `Accepted`: clients must show certificates, and there is no authority for them.
pub(crate) const NO_VALID_CA_CERTIFICATE: &str = "NoValidCACertificate";
/// Listener and BackendTLSPolicy `ResolvedRefs`: an authority is missing or broken.
pub(crate) const INVALID_CA_CERTIFICATE_REF: &str = "InvalidCACertificateRef";
/// Listener `ResolvedRefs`: what is named as an authority of client certificates is something else.
pub(crate) const INVALID_CA_CERTIFICATE_KIND: &str = "InvalidCACertificateKind";
/// Listener `ResolvedRefs`: a kind in `allowedRoutes` can't be served by the listener.
pub(crate) const INVALID_ROUTE_KINDS: &str = "InvalidRouteKinds";
/// Listener `Programmed`: a field has no usable value.
pub(crate) const INVALID: &str = "Invalid";
/// Gateway and GatewayClass `Accepted`: `parametersRef` can't be used.
pub(crate) const INVALID_PARAMETERS: &str = "InvalidParameters";
/// Gateway `Accepted`: `addresses` can't be honoured.
pub(crate) const UNSUPPORTED_ADDRESS: &str = "UnsupportedAddress";
/// Gateway `Programmed`: an address that it asks for can't be had.
pub(crate) const ADDRESS_NOT_USABLE: &str = "AddressNotUsable";
/// Gateway `Programmed`: there is nothing left to serve it with.
pub(crate) const NO_RESOURCES: &str = "NoResources";
/// Gateway `DefaultGateway` is true (the API has no word for why).
pub(crate) const DEFAULT_SCOPE: &str = "DefaultScope";
/// Gateway: the ports of our Pods that its Service leads to are told (our own word).
pub(crate) const ASSIGNED: &str = "Assigned";
/// Gateway `Programmed`: it has no address.
pub(crate) const ADDRESS_NOT_ASSIGNED: &str = "AddressNotAssigned";
/// Gateway `ResolvedRefs`: the certificate for backends is missing or broken.
pub(crate) const INVALID_CLIENT_CERTIFICATE_REF: &str = "InvalidClientCertificateRef";
/// Gateway: the class does not exist (the API has no word for it).
pub(crate) const GATEWAY_CLASS_NOT_FOUND: &str = "GatewayClassNotFound";

/// `ResolvedRefs`: no ReferenceGrant allows the reference.
pub(crate) const REF_NOT_PERMITTED: &str = "RefNotPermitted";

/// Route `Accepted`: `allowedRoutes` of the listeners refuses the route.
pub(crate) const NOT_ALLOWED_BY_LISTENERS: &str = "NotAllowedByListeners";
/// Route `Accepted`: no hostname in common with the listeners.
pub(crate) const NO_MATCHING_LISTENER_HOSTNAME: &str = "NoMatchingListenerHostname";
/// Route `Accepted`: the Gateway, its listener or its port does not exist.
pub(crate) const NO_MATCHING_PARENT: &str = "NoMatchingParent";
/// Route `Accepted`: a field has a value that is not understood or not supported.
pub(crate) const UNSUPPORTED_VALUE: &str = "UnsupportedValue";
/// Route `Accepted`: filters that can't be combined.
pub(crate) const INCOMPATIBLE_FILTERS: &str = "IncompatibleFilters";
/// Route `ResolvedRefs`: a reference to a kind that is not supported.
pub(crate) const INVALID_KIND: &str = "InvalidKind";
/// Route `ResolvedRefs`: a backend does not exist.
pub(crate) const BACKEND_NOT_FOUND: &str = "BackendNotFound";

/// Route and policy: clients may write headers that a service is to write (our own word).
pub(crate) const UNGUARDED_HEADERS: &str = "UnguardedHeaders";
/// Policy `ResolvedRefs`: a Secret of users is missing or broken.
pub(crate) const INVALID_SECRET_REF: &str = "InvalidSecretRef";
/// Policy `Accepted`: an older policy has the target.
pub(crate) const CONFLICTED: &str = "Conflicted";
/// ListenerPolicy `Accepted`: what it says of a port would change what others there get.
pub(crate) const PORT_SHARED: &str = "PortShared";
/// Policy `Accepted`: there is no such target.
pub(crate) const TARGET_NOT_FOUND: &str = "TargetNotFound";
