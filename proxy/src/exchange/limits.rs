//! Limits of a request's head on HTTP/2, and methods that are nobody's.
//!
//! On HTTP/1 the listener has judged the bytes before; HTTP/2 heads arrive decoded, with only their whole size limited
//! by the engine.

use genkan_routing::policy::client::ClientSettings;
use http::{Method, StatusCode, Version};

/// The status with which a head is refused; lengths are those of its HTTP/1 form.
pub(super) fn refusal(settings: &ClientSettings, head: &http::request::Parts) -> Option<StatusCode> {
    if head.version != Version::HTTP_2 {
        return None;
    }
    if head.method == Method::TRACE || head.method == Method::CONNECT {
        return Some(StatusCode::METHOD_NOT_ALLOWED);
    }
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target > settings.max_request_line as usize {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let (mut count, mut size) = (0, 0);
    for (name, value) in &head.headers {
        let line = name.as_str().len() + value.len() + ": ".len();
        if line > settings.max_header_line as usize {
            return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        count += 1;
        size += line + "\r\n".len();
    }
    let too_large = count > usize::from(settings.max_headers) || size > settings.max_head as usize;
    too_large.then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: Version, method: &str, path: &str, fields: usize, value: usize) -> Option<u16> {
        let settings = ClientSettings {
            max_request_line: 50,
            max_header_line: 60,
            max_head: 600,
            max_headers: 10,
            ..ClientSettings::default()
        };
        let mut request = http::Request::builder().version(version).method(method).uri(path);
        for n in 0..fields {
            request = request.header(format!("x-{n}"), "v".repeat(value));
        }
        refusal(&settings, &request.body(()).unwrap().into_parts().0).map(|status| status.as_u16())
    }

    #[test]
    fn every_limit_has_its_status() {
        let refused = |method, path: &str, fields, value| refused(Version::HTTP_2, method, path, fields, value);
        assert_eq!(refused("GET", "/", 10, 10), None);
        assert_eq!(refused("GET", "/", 11, 10), Some(431));
        assert_eq!(refused("GET", "/", 1, 56), Some(431), "one line");
        assert_eq!(refused("GET", "/", 9, 55), None);
        assert_eq!(refused("GET", "/", 10, 55), Some(431), "the whole");
        assert_eq!(refused("GET", &format!("/{}", "a".repeat(50)), 0, 0), Some(414));
        assert_eq!(refused("TRACE", "/", 0, 0), Some(405));
    }

    #[test]
    fn http1_was_judged_before() {
        assert_eq!(refused(Version::HTTP_11, "GET", "/", 99, 99), None);
    }
}
