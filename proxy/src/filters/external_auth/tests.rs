use std::time::Duration;

use ::http::Version;
use genkan_routing::name::ClusterId;
use genkan_routing::policy::external_auth::{GrpcAuth, HttpAuth};
use proptest::prelude::*;

use super::protobuf::{Fields, Message, Value};
use super::*;
use crate::filters::testing::Request;

fn policy(call: AuthCall) -> ExternalAuth {
    ExternalAuth { target: ClusterId::new("auth"), call, body_limit: 100, timeout: Duration::from_secs(5) }
}

fn over_http(change: impl FnOnce(&mut HttpAuth)) -> ExternalAuth {
    let mut http = HttpAuth::default();
    change(&mut http);
    policy(AuthCall::Http(http))
}

fn over_grpc(request_headers: Option<Vec<HeaderName>>) -> ExternalAuth {
    policy(AuthCall::Grpc(GrpcAuth { request_headers }))
}

fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}

fn answer(status: u16, fields: &[(&'static str, &str)], body: &'static str) -> Answer {
    let mut builder = ::http::Response::builder().status(status);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    Answer { head, body: Bytes::from_static(body.as_bytes()), trailers: HeaderMap::new() }
}

fn asked(request: &Request, policy: &ExternalAuth, body: &'static [u8]) -> Option<Question> {
    request.with(|ctx| {
        let fields = ctx.head.headers.clone();
        question(ctx, &Forwarded::default(), fields, policy, "auth.default", &Bytes::from_static(body))
    })
}

fn judged(policy: &ExternalAuth, answer: Answer) -> Result<Verdict, AnswerError> {
    Request::get("/").with(|ctx| verdict(ctx, policy, answer))
}

fn permitted(policy: &ExternalAuth, answer: Answer) -> Permit {
    match judged(policy, answer) {
        Ok(Verdict::Permit(permit)) => permit,
        other => panic!("{other:?}"),
    }
}

fn refused(policy: &ExternalAuth, answer: Answer) -> Reply {
    match judged(policy, answer) {
        Ok(Verdict::Refuse(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// The head that a backend sees of one that has these fields.
fn changed(permit: Permit, fields: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    let mut admitted = Admitted::default();
    permit.note(&mut admitted);
    super::super::headers::apply(&admitted.identity, &mut headers);
    let mut all: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    all.sort();
    all
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_service_sees_the_host_the_credentials_and_what_is_listed() {
    let request = Request::post("/a?b=c")
        .header("host", "example.com")
        .header("authorization", "Bearer x")
        .header("x-listed", "1")
        .header("x-listed", "2")
        .header("x-other", "3")
        .header("content-length", "99");
    let policy = over_http(|http| {
        http.prefix = "/check".to_owned();
        http.request_headers = vec![name("x-listed"), name("content-length"), name("authorization")];
    });
    let asked = asked(&request, &policy, b"body").unwrap();
    assert_eq!((asked.head.method.as_str(), asked.head.uri.to_string().as_str()), ("POST", "/check/a?b=c"));
    let mut fields: Vec<_> =
        asked.head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    fields.sort_unstable();
    let expected = [
        ("authorization", "Bearer x"),
        ("content-length", "4"),
        ("host", "example.com"),
        ("x-genkan-asked", "1"),
        ("x-listed", "1"),
        ("x-listed", "2"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(asked.body, "body");
}

#[test]
fn a_service_judges_the_path_that_was_routed() {
    for (path, shown) in [
        ("/a/b", "/a/b"),
        ("/public/../admin?x=%20", "/admin?x=%20"),
        ("/public/%2e%2e/admin", "/admin"),
        ("//admin", "/admin"),
        ("/a%20b", "/a%20b"),
        ("/%61", "/a"),
        ("/a%3Fb", "/a%3Fb"),
        ("/admin/..%2fpublic/x", "/public/x"),
        ("/caf%e9", "/caf%E9"),
        ("/a%20%2541", "/a%20%2541"),
    ] {
        let (target, kept) = Request::get(path).with(|ctx| {
            let mut admitted = Admitted::default();
            assert!(super::super::keep_judged(ctx, &mut admitted).is_continue());
            (routed_target(ctx).into_owned(), admitted.target)
        });
        assert_eq!(target, shown, "{path}");
        // What the backend gets.
        assert_eq!(kept.map_or_else(|| path.to_owned(), |kept| kept.to_string()), shown, "{path}");
    }
}

#[test]
fn what_the_client_says_of_itself_is_not_shown_and_the_host_is_the_routed_one() {
    let forged = ["x-forwarded-for", "x-forwarded-proto", "x-real-ip", "x-scheme"];
    let request = forged.iter().fold(Request::get("/"), |request, name| request.header(name, "10.0.0.1"));
    let request =
        request.header("x-original-uri", "/forged").header("host", "routed.example").authority("public.example");
    let policy = over_http(|http| http.request_headers = forged.map(name).to_vec());
    let asked_now = asked(&request, &policy, b"").unwrap();
    let field = |name: &str| asked_now.head.headers[name].to_str().unwrap();
    assert_eq!(forged.map(field), ["192.0.2.1", "http", "192.0.2.1", "http"]);
    assert_eq!(field("host"), "routed.example");
    let asked_now = asked(&request, &over_grpc(None), b"").unwrap();
    let message = String::from_utf8_lossy(&asked_now.body);
    assert_eq!(inside(&asked_now.body[5..], &[1, 4, 2, 5]), [Value::Bytes(b"routed.example")]);
    let real = Message::default().text(1, "x-real-ip").text(2, "192.0.2.1").into_bytes();
    let host = Message::default().text(1, "host").text(2, "routed.example").into_bytes();
    let fields = inside(&asked_now.body[5..], &[1, 4, 2, 3]);
    assert!(!message.contains("/forged"), "{message}");
    assert!(fields.contains(&Value::Bytes(&real)) && fields.contains(&Value::Bytes(&host)), "{message}");
}

#[test]
fn a_target_that_is_too_long_is_not_asked_about_as_another() {
    let long = format!("/{}", "a".repeat(65_500));
    let policy = over_http(|http| http.prefix = format!("/{}", "b".repeat(50)));
    assert!(asked(&Request::get(&long), &policy, b"").is_none());
    assert!(asked(&Request::get(&long), &over_http(|_| {}), b"").is_some());
    // Encoded as it was routed it does not fit.
    let request = Request::get(&format!("//{}", "|".repeat(30_000)));
    let kept = request.with(|ctx| super::super::keep_judged(ctx, &mut Admitted::default()));
    assert_eq!(kept.break_value().unwrap().status, 503);
}

#[test]
fn only_200_lets_a_request_pass_and_trouble_is_no_answer() {
    let policy = over_http(|_| {});
    assert_eq!(permitted(&policy, answer(200, &[], "")), Permit::default());
    for (status, expected) in [(201, 403), (204, 403), (302, 302), (401, 401), (403, 403), (404, 404), (429, 429)] {
        assert_eq!(refused(&policy, answer(status, &[], "")).status, expected, "{status}");
    }
    for status in [500, 502, 503] {
        let wrong = StatusCode::from_u16(status).unwrap();
        assert_eq!(judged(&policy, answer(status, &[], "")).unwrap_err(), AnswerError::Status(wrong));
    }
}

#[test]
fn a_refusal_is_the_services_own_but_for_its_framing() {
    let fields = [
        ("location", "https://login.example"),
        ("set-cookie", "a=b"),
        ("content-length", "7"),
        ("connection", "close"),
    ];
    let reply = refused(&over_http(|_| {}), answer(302, &fields, "go away"));
    assert_eq!(reply.status, StatusCode::FOUND);
    assert_eq!(reply.headers["location"], "https://login.example");
    assert_eq!((reply.headers.len(), reply.body), (2, Bytes::from("go away")));
}

#[test]
fn listed_fields_are_the_services_alone_also_when_it_writes_none() {
    let policy = over_http(|http| http.response_headers = Some(vec![name("x-user"), name("x-role")]));
    let permit = permitted(&policy, answer(200, &[("x-user", "ada"), ("x-user", "eve"), ("x-other", "1")], ""));
    let client = [("x-user", "root"), ("x-role", "admin"), ("x-own", "1")];
    assert_eq!(changed(permit, &client), pairs(&[("x-own", "1"), ("x-user", "ada"), ("x-user", "eve")]));
}

#[test]
fn all_fields_are_those_that_say_something_about_the_client() {
    let fields =
        [("x-user", "ada"), ("content-type", "text/html"), ("content-length", "0"), ("date", "now"), ("host", "x")];
    let permit = permitted(&over_http(|_| {}), answer(200, &fields, ""));
    let client = [("x-user", "root"), ("content-type", "text/plain"), ("content-length", "5")];
    let expected = [("content-length", "5"), ("content-type", "text/plain"), ("x-user", "ada")];
    assert_eq!(changed(permit, &client), pairs(&expected));
}

/// Field numbers of a message inside of messages.
fn inside<'a>(mut message: &'a [u8], path: &[u64]) -> Vec<Value<'a>> {
    let (last, path) = path.split_last().unwrap();
    for wanted in path {
        let found = Fields::of(message).map(Result::unwrap).find_map(|(number, value)| match value {
            Value::Bytes(inner) if number == *wanted => Some(inner),
            _ => None,
        });
        message = found.unwrap();
    }
    Fields::of(message).map(Result::unwrap).filter(|(number, _)| number == last).map(|(_, value)| value).collect()
}

#[test]
fn a_check_request_tells_the_request() {
    let request = Request::post("/a?b=c").version(Version::HTTP_2).header("host", "example.com");
    let request = request.header("x-a", "1").header("x-a", "2").tls();
    let shown = |policy: &ExternalAuth, body: &'static [u8]| asked(&request, policy, body).unwrap();
    let asked = shown(&over_grpc(None), b"text");
    assert_eq!(asked.head.uri, "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(
        (&asked.head.headers["host"], &asked.head.headers["grpc-timeout"]),
        (&"auth.default".parse().unwrap(), &"5000m".parse().unwrap())
    );
    let (frame, message) = asked.body.split_at(5);
    assert_eq!(frame, [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat());
    let http = |field| inside(message, &[1, 4, 2, field]);
    assert_eq!(http(2), [Value::Bytes(b"POST")]);
    assert_eq!(http(4), [Value::Bytes(b"/a?b=c")]);
    assert_eq!((http(5), http(6)), (vec![Value::Bytes(b"example.com")], vec![Value::Bytes(b"https")]));
    assert_eq!((http(9), http(10)), (vec![Value::Number(4)], vec![Value::Bytes(b"HTTP/2")]));
    assert_eq!((http(11), http(12)), (vec![Value::Bytes(b"text")], vec![]));
    let field = Message::default().text(1, "x-a").text(2, "1,2").into_bytes();
    assert!(http(3).contains(&Value::Bytes(&field)));
    assert_eq!(inside(message, &[1, 1, 1, 1, 2]), [Value::Bytes(b"192.0.2.1")]);
    // Bytes that are no text, and fields that are not allowed.
    let asked = shown(&over_grpc(Some(vec![name("x-b")])), b"\xff");
    let http = |field| inside(&asked.body[5..], &[1, 4, 2, field]);
    assert_eq!((http(3), http(11), http(12)), (vec![], vec![], vec![Value::Bytes(b"\xff")]));
}

fn framed(message: Message) -> Answer {
    let message = message.into_bytes();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let mut answer = answer(200, &[], "");
    answer.body = [&[0][..], &length, &message].concat().into();
    answer.trailers.insert("grpc-status", HeaderValue::from_static("0"));
    answer
}

fn option(name: &str, value: &str) -> Message {
    Message::default().message(1, Message::default().text(1, name).text(2, value))
}

fn append(option: Message) -> Message {
    option.message(2, Message::default().number(1, 1))
}

#[test]
fn a_check_response_changes_heads() {
    let ok = Message::default()
        .message(2, option("x-user", "ada"))
        .message(2, append(option("x-more", "2")))
        .message(2, option("x-absent", "new").number(3, 1))
        .message(2, option("x-there", "new").number(3, 1))
        .message(2, option("x-nowhere", "new").number(3, 3))
        .text(5, "x-secret")
        .message(6, option("set-cookie", "a=b"));
    let answer = framed(Message::default().message(1, Message::default()).message(3, ok));
    let client = [("x-user", "root"), ("x-more", "1"), ("x-there", "old"), ("x-secret", "s")];
    let request = client.iter().fold(Request::get("/"), |request, (name, value)| request.header(name, value));
    let verdict = request.with(|ctx| verdict(ctx, &over_grpc(None), answer));
    let Ok(Verdict::Permit(permit)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(permit.response.add, [(name("set-cookie"), HeaderValue::from_static("a=b"))]);
    let expected = [("x-absent", "new"), ("x-more", "1"), ("x-more", "2"), ("x-there", "old"), ("x-user", "ada")];
    assert_eq!(changed(permit, &client), pairs(&expected));
}

#[test]
fn an_answer_has_a_bounded_number_of_changes() {
    let changes = |message: Message, field, count| {
        (0..count).fold(message, |message, _| match field {
            5 => message.text(5, "x-a"),
            _ => message.message(field, option("x-a", "b")),
        })
    };
    // Of the request, of what is taken out of it, of the response; and of a refusal.
    for (answer, field) in [(3, 2), (3, 5), (3, 6), (2, 2)] {
        let judged = |count| {
            let change = changes(Message::default(), field, count);
            judged(&over_grpc(None), framed(Message::default().message(answer, change)))
        };
        assert!(judged(128).is_ok());
        assert_eq!(judged(129).unwrap_err(), AnswerError::Malformed("more than 128 changes of headers"));
    }
    // Together.
    let mixed = [2, 5, 6].iter().fold(Message::default(), |message, field| changes(message, *field, 43));
    assert!(judged(&over_grpc(None), framed(Message::default().message(3, mixed))).is_err());
}

#[test]
fn a_refusing_check_response_is_the_reply() {
    let denied = Message::default()
        .message(1, Message::default().number(1, 401))
        .message(2, option("www-authenticate", "Bearer"))
        .text(3, "who are you?");
    let status = Message::default().number(1, 16);
    let reply = refused(&over_grpc(None), framed(Message::default().message(1, status).message(2, denied)));
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (401, &b"who are you?"[..]));
    assert_eq!(reply.headers["www-authenticate"], "Bearer");
    // Without a status of HTTP, with one that is none of a refusal, and with a refusal beside an OK.
    let reply = refused(&over_grpc(None), framed(Message::default().message(1, Message::default().number(1, 7))));
    assert_eq!(reply.status, 403);
    let success = Message::default().message(1, Message::default().number(1, 200));
    assert_eq!(refused(&over_grpc(None), framed(Message::default().message(2, success))).status, 403);
}

#[test]
fn what_is_no_answer_of_a_call_lets_nobody_pass() {
    let policy = over_grpc(None);
    let without = |change: fn(&mut Answer)| {
        let mut answer = framed(Message::default());
        change(&mut answer);
        judged(&policy, answer).is_err()
    };
    assert!(!without(|_| {}), "an empty answer is OK by its default");
    assert!(without(|answer| answer.trailers = HeaderMap::new()));
    assert!(without(|answer| drop(answer.trailers.insert("grpc-status", HeaderValue::from_static("14")))));
    assert!(without(|answer| answer.head.status = StatusCode::BAD_GATEWAY));
    assert!(without(|answer| answer.body = Bytes::new()));
    assert!(without(|answer| answer.body = Bytes::from_static(&[1, 0, 0, 0, 0])));
    assert!(without(|answer| answer.body = Bytes::from_static(&[0, 0, 0, 0, 9])));
    let query = Message::default().message(3, Message::default().text(8, "token"));
    assert!(judged(&policy, framed(query)).is_err(), "what can't be done");
    for option in [option("no name", "x"), option("host", "elsewhere"), option(":path", "/admin")] {
        let change = Message::default().message(3, Message::default().message(2, option));
        assert!(judged(&policy, framed(change)).is_err());
    }
}

#[test]
fn a_known_field_of_another_type_is_no_answer() {
    let policy = over_grpc(None);
    let refusal = || Message::default().number(1, 7);
    let header = |message: Message| Message::default().message(3, Message::default().message(2, message));
    for message in [
        Message::default().number(1, 7),
        Message::default().number(2, 1),
        Message::default().message(1, Message::default().number(1, 0).text(1, "7")),
        Message::default().message(3, Message::default().number(2, 1)),
        Message::default()
            .message(1, refusal())
            .message(2, Message::default().message(1, Message::default().text(1, "200"))),
        Message::default().message(1, refusal()).message(2, Message::default().number(3, 1)),
        header(option("x-user", "ada").number(2, 1)),
        header(option("x-user", "ada").text(3, "1")),
        header(Message::default().message(1, Message::default().text(1, "x-user").number(2, 1))),
    ] {
        assert!(judged(&policy, framed(message)).is_err());
    }
    // Of fields that nobody knows here nothing is known.
    assert!(judged(&policy, framed(Message::default().number(4, 1))).is_ok());
}

proptest! {
    /// Rubbish is never a panic, and a message that is cut short is never a yes.
    #[test]
    fn rubbish_is_no_permission(bytes in prop::collection::vec(any::<u8>(), 0..120), cut in 1_usize..30) {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let mut answer = framed(Message::default());
        answer.body = [&[0][..], &length, &bytes].concat().into();
        let malformed = Fields::of(&bytes).any(|field| field.is_err());
        let judged_now = judged(&over_grpc(None), answer);
        prop_assert!(!malformed || judged_now.is_err());

        let whole = framed(Message::default().message(3, Message::default().message(2, option("x-user", "ada")))).body;
        let short = whole.slice(..whole.len().saturating_sub(cut));
        let mut answer = framed(Message::default());
        answer.body = short;
        prop_assert!(judged(&over_grpc(None), answer).is_err());
    }
}
