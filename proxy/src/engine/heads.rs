//! Heads between pingora's types and plain ones.
//!
//! pingora keeps the spelling of field names beside a head. A head that Genkan wrote has none: names go out in the
//! usual capitals on HTTP/1 and in lower case on HTTP/2.

use http::StatusCode;
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::reply::Reply;

/// Changes a request's head as plain parts.
pub(super) fn edit_request<T>(head: &mut RequestHeader, edit: impl FnOnce(&mut http::request::Parts) -> T) -> T {
    // Neither of the placeholders allocates or parses anything, unlike those that pingora builds.
    let placeholder = RequestHeader::from(http::Request::new(()).into_parts().0);
    let mut parts = http::request::Parts::from(std::mem::replace(head, placeholder));
    let result = edit(&mut parts);
    *head = RequestHeader::from(parts);
    result
}

/// Changes a response's head as plain parts; an uncommon reason phrase is kept.
pub(super) fn edit_response<T>(
    head: &mut ResponseHeader,
    edit: impl FnOnce(&mut http::response::Parts) -> T,
) -> Result<T> {
    let reason = uncommon_reason(head);
    let status = head.status;
    let placeholder = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = http::response::Parts::from(std::mem::replace(head, placeholder));
    let result = edit(&mut parts);
    let changed = parts.status != status;
    *head = ResponseHeader::from(parts);
    if let Some(reason) = reason.filter(|_| !changed) {
        head.set_reason_phrase(Some(&reason))?;
    }
    Ok(result)
}

/// The head of a reply of ours, with its `Content-Length`.
pub(super) fn of_reply(reply: Reply) -> Result<(Box<ResponseHeader>, bytes::Bytes)> {
    let mut head = ResponseHeader::build_no_case(reply.status, Some(0))?;
    let length = reply.body.len();
    edit_response(&mut head, |parts| {
        parts.status = reply.status;
        parts.headers = reply.headers;
        if !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            parts.headers.insert(http::header::CONTENT_LENGTH, length.into());
        }
    })?;
    Ok((Box::new(head), reply.body))
}

fn uncommon_reason(head: &ResponseHeader) -> Option<String> {
    let reason = head.get_reason_phrase()?;
    (head.status.canonical_reason() != Some(reason)).then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommon_reason_survives_an_edit_unless_the_status_changes() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.set_reason_phrase(Some("Fine")).unwrap();
        edit_response(&mut head, |parts| parts.headers.clear()).unwrap();
        assert_eq!(head.get_reason_phrase(), Some("Fine"));
        edit_response(&mut head, |parts| parts.status = StatusCode::NOT_FOUND).unwrap();
        assert_eq!(head.get_reason_phrase(), Some("Not Found"));
    }

    #[test]
    fn a_reply_carries_its_length_where_it_may_have_a_body() {
        let reply = |status| Reply { status, headers: http::HeaderMap::new(), body: bytes::Bytes::from_static(b"abc") };
        let (head, _) = of_reply(reply(StatusCode::NOT_FOUND)).unwrap();
        assert_eq!(head.headers[http::header::CONTENT_LENGTH], "3");
        let (head, _) = of_reply(reply(StatusCode::NO_CONTENT)).unwrap();
        assert!(head.headers.is_empty());
    }
}
