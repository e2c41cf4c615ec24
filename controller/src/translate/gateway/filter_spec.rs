//! Filter specs: one view of the filters that the API declares separately for rules and for backends, of HTTPRoutes and of
//! GRPCRoutes.
//!
//! The generated types of these places have the same fields and nothing in common; this module is the only one that
//! knows all. It judges nothing.

use gateway_api::apis::experimental::{grpcroutes as grpc, httproutes as api};

use super::backend::Reference;

/// A filter as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FilterSpec<'a> {
    /// `RequestHeaderModifier`.
    RequestHeaders(HeaderSpec<'a>),
    /// `ResponseHeaderModifier`.
    ResponseHeaders(HeaderSpec<'a>),
    /// `RequestRedirect`.
    Redirect(RedirectSpec<'a>),
    /// `URLRewrite`.
    Rewrite(RewriteSpec<'a>),
    /// `CORS`.
    Cors(CorsSpec<'a>),
    /// `RequestMirror`.
    Mirror(MirrorSpec<'a>),
    /// `ExternalAuth`.
    ExternalAuth(AuthSpec<'a>),
    /// `ExtensionRef`.
    Extension(ExtensionSpec<'a>),
    /// The field that belongs to the type is missing.
    Incomplete(&'static str),
}

/// `HTTPHeaderFilter`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HeaderSpec<'a> {
    pub(crate) set: Vec<(&'a str, &'a str)>,
    pub(crate) add: Vec<(&'a str, &'a str)>,
    pub(crate) remove: &'a [String],
}

/// `HTTPRequestRedirectFilter`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RedirectSpec<'a> {
    pub(crate) https: Option<bool>,
    pub(crate) hostname: Option<&'a str>,
    pub(crate) path: Option<PathSpec<'a>>,
    pub(crate) port: Option<i32>,
    pub(crate) status: Option<i64>,
}

/// `HTTPURLRewriteFilter`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RewriteSpec<'a> {
    pub(crate) hostname: Option<&'a str>,
    pub(crate) path: Option<PathSpec<'a>>,
}

/// `HTTPPathModifier`; `None` inside when the type's field is missing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathSpec<'a> {
    /// `ReplaceFullPath`.
    Full(Option<&'a str>),
    /// `ReplacePrefixMatch`.
    Prefix(Option<&'a str>),
}

/// `HTTPCORSFilter`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CorsSpec<'a> {
    pub(crate) credentials: bool,
    pub(crate) origins: &'a [String],
    pub(crate) methods: &'a [String],
    pub(crate) headers: &'a [String],
    pub(crate) expose: &'a [String],
    pub(crate) max_age: Option<i32>,
}

/// `HTTPRequestMirrorFilter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MirrorSpec<'a> {
    pub(crate) backend: Reference<'a>,
    pub(crate) percent: Option<i32>,
    /// Numerator and denominator.
    pub(crate) fraction: Option<(i32, Option<i32>)>,
}

/// `HTTPExternalAuthFilter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AuthSpec<'a> {
    pub(crate) backend: Reference<'a>,
    /// `GRPC`, not `HTTP`.
    pub(crate) grpc: bool,
    pub(crate) path: Option<&'a str>,
    pub(crate) request_headers: &'a [String],
    pub(crate) response_headers: &'a [String],
    pub(crate) max_body: Option<i64>,
}

/// `LocalObjectReference`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ExtensionSpec<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

impl FilterSpec<'_> {
    /// The API's name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::RequestHeaders(_) => "RequestHeaderModifier",
            Self::ResponseHeaders(_) => "ResponseHeaderModifier",
            Self::Redirect(_) => "RequestRedirect",
            Self::Rewrite(_) => "URLRewrite",
            Self::Cors(_) => "CORS",
            Self::Mirror(_) => "RequestMirror",
            Self::ExternalAuth(_) => "ExternalAuth",
            Self::Extension(_) => "ExtensionRef",
            Self::Incomplete(name) => name,
        }
    }
}

fn texts(texts: &Option<Vec<String>>) -> &[String] {
    texts.as_deref().unwrap_or_default()
}

/// `name` and `value` of a list of header fields, whatever its generated type.
macro_rules! fields {
    ($list:expr) => {
        $list.iter().flatten().map(|field| (field.name.as_str(), field.value.as_str())).collect()
    };
}

macro_rules! header_spec {
    ($modifier:expr) => {
        HeaderSpec { set: fields!($modifier.set), add: fields!($modifier.add), remove: texts(&$modifier.remove) }
    };
}

macro_rules! path_spec {
    ($path:expr, $kind:ident) => {
        $path.as_ref().map(|path| match path.r#type {
            api::$kind::ReplaceFullPath => PathSpec::Full(path.replace_full_path.as_deref()),
            api::$kind::ReplacePrefixMatch => PathSpec::Prefix(path.replace_prefix_match.as_deref()),
        })
    };
}

macro_rules! mirror_spec {
    ($mirror:expr) => {
        $mirror
            .as_ref()
            .map(|mirror| {
                FilterSpec::Mirror(MirrorSpec {
                    backend: Reference {
                        group: mirror.backend_ref.group.as_deref(),
                        kind: mirror.backend_ref.kind.as_deref(),
                        namespace: mirror.backend_ref.namespace.as_deref(),
                        name: &mirror.backend_ref.name,
                        port: mirror.backend_ref.port,
                    },
                    percent: mirror.percent,
                    fraction: mirror.fraction.as_ref().map(|fraction| (fraction.numerator, fraction.denominator)),
                })
            })
            .ok_or("requestMirror")
    };
}

macro_rules! auth_spec {
    ($auth:expr, $protocol:ident) => {
        $auth
            .as_ref()
            .map(|auth| {
                let grpc = auth.protocol == api::$protocol::Grpc;
                let (http, call) = (auth.http.as_ref().filter(|_| !grpc), auth.grpc.as_ref().filter(|_| grpc));
                let of_http = http.and_then(|http| http.allowed_headers.as_deref());
                let of_grpc = call.and_then(|call| call.allowed_headers.as_deref());
                FilterSpec::ExternalAuth(AuthSpec {
                    backend: Reference {
                        group: auth.backend_ref.group.as_deref(),
                        kind: auth.backend_ref.kind.as_deref(),
                        namespace: auth.backend_ref.namespace.as_deref(),
                        name: &auth.backend_ref.name,
                        port: auth.backend_ref.port,
                    },
                    grpc,
                    path: http.and_then(|http| http.path.as_deref()),
                    request_headers: of_http.or(of_grpc).unwrap_or_default(),
                    response_headers: http.map_or(&[], |http| texts(&http.allowed_response_headers)),
                    max_body: auth.forward_body.as_ref().and_then(|body| body.max_size),
                })
            })
            .ok_or("externalAuth")
    };
}

macro_rules! extension_spec {
    ($reference:expr) => {
        $reference
            .as_ref()
            .map(|reference| {
                FilterSpec::Extension(ExtensionSpec {
                    group: &reference.group,
                    kind: &reference.kind,
                    name: &reference.name,
                })
            })
            .ok_or("extensionRef")
    };
}

macro_rules! filter_spec {
    ($filter:ident, $kind:ident, $scheme:ident, $redirect_path:ident, $rewrite_path:ident, $auth:ident) => {
        impl<'a> From<&'a api::$filter> for FilterSpec<'a> {
            fn from(filter: &'a api::$filter) -> Self {
                let spec = match filter.r#type {
                    api::$kind::RequestHeaderModifier => filter
                        .request_header_modifier
                        .as_ref()
                        .map(|modifier| FilterSpec::RequestHeaders(header_spec!(modifier)))
                        .ok_or("requestHeaderModifier"),
                    api::$kind::ResponseHeaderModifier => filter
                        .response_header_modifier
                        .as_ref()
                        .map(|modifier| FilterSpec::ResponseHeaders(header_spec!(modifier)))
                        .ok_or("responseHeaderModifier"),
                    api::$kind::RequestRedirect => filter
                        .request_redirect
                        .as_ref()
                        .map(|redirect| {
                            FilterSpec::Redirect(RedirectSpec {
                                https: redirect.scheme.as_ref().map(|scheme| *scheme == api::$scheme::Https),
                                hostname: redirect.hostname.as_deref(),
                                path: path_spec!(redirect.path, $redirect_path),
                                port: redirect.port,
                                status: redirect.status_code,
                            })
                        })
                        .ok_or("requestRedirect"),
                    api::$kind::UrlRewrite => filter
                        .url_rewrite
                        .as_ref()
                        .map(|rewrite| {
                            FilterSpec::Rewrite(RewriteSpec {
                                hostname: rewrite.hostname.as_deref(),
                                path: path_spec!(rewrite.path, $rewrite_path),
                            })
                        })
                        .ok_or("urlRewrite"),
                    api::$kind::Cors => filter
                        .cors
                        .as_ref()
                        .map(|cors| {
                            FilterSpec::Cors(CorsSpec {
                                credentials: cors.allow_credentials.unwrap_or_default(),
                                origins: texts(&cors.allow_origins),
                                methods: texts(&cors.allow_methods),
                                headers: texts(&cors.allow_headers),
                                expose: texts(&cors.expose_headers),
                                max_age: cors.max_age,
                            })
                        })
                        .ok_or("cors"),
                    api::$kind::RequestMirror => mirror_spec!(filter.request_mirror),
                    api::$kind::ExtensionRef => extension_spec!(filter.extension_ref),
                    api::$kind::ExternalAuth => auth_spec!(filter.external_auth, $auth),
                };
                spec.unwrap_or_else(FilterSpec::Incomplete)
            }
        }
    };
}

filter_spec!(
    HttpRouteRulesFilters,
    HttpRouteRulesFiltersType,
    HttpRouteRulesFiltersRequestRedirectScheme,
    HttpRouteRulesFiltersRequestRedirectPathType,
    HttpRouteRulesFiltersUrlRewritePathType,
    HttpRouteRulesFiltersExternalAuthProtocol
);
filter_spec!(
    HttpRouteRulesBackendRefsFilters,
    HttpRouteRulesBackendRefsFiltersType,
    HttpRouteRulesBackendRefsFiltersRequestRedirectScheme,
    HttpRouteRulesBackendRefsFiltersRequestRedirectPathType,
    HttpRouteRulesBackendRefsFiltersUrlRewritePathType,
    HttpRouteRulesBackendRefsFiltersExternalAuthProtocol
);

/// The filters of GRPCRoutes are some of those.
macro_rules! grpc_filter_spec {
    ($filter:ident, $kind:ident) => {
        impl<'a> From<&'a grpc::$filter> for FilterSpec<'a> {
            fn from(filter: &'a grpc::$filter) -> Self {
                let spec = match filter.r#type {
                    grpc::$kind::RequestHeaderModifier => filter
                        .request_header_modifier
                        .as_ref()
                        .map(|modifier| FilterSpec::RequestHeaders(header_spec!(modifier)))
                        .ok_or("requestHeaderModifier"),
                    grpc::$kind::ResponseHeaderModifier => filter
                        .response_header_modifier
                        .as_ref()
                        .map(|modifier| FilterSpec::ResponseHeaders(header_spec!(modifier)))
                        .ok_or("responseHeaderModifier"),
                    grpc::$kind::RequestMirror => mirror_spec!(filter.request_mirror),
                    grpc::$kind::ExtensionRef => extension_spec!(filter.extension_ref),
                };
                spec.unwrap_or_else(FilterSpec::Incomplete)
            }
        }
    };
}

grpc_filter_spec!(GrpcRouteRulesFilters, GrpcRouteRulesFiltersType);
grpc_filter_spec!(GrpcRouteRulesBackendRefsFilters, GrpcRouteRulesBackendRefsFiltersType);
