//! WebSocket (RFC 6455), as much as an echo needs: the handshake over HTTP/1.1 and over HTTP/2 (RFC 8441), frames back
//! as they came, pings and closing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::EchoBody;
use super::reply::plain;

/// Larger frames close the connection with 1009: 16 MiB.
const MAX_FRAME: u64 = 16 << 20;

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Close codes of RFC 6455, section 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// Whether a request asks for a WebSocket.
pub(super) fn is_handshake(request: &Request<Incoming>) -> bool {
    let extended = request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let upgrade = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    match *request.method() {
        Method::CONNECT => extended,
        Method::GET => upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")),
        _ => false,
    }
}

/// Answers the handshake and echoes in the background until either side closes.
pub(super) fn accept(mut request: Request<Incoming>) -> Response<EchoBody> {
    let headers = request.headers();
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = plain(StatusCode::UPGRADE_REQUIRED, "only WebSocket version 13 is spoken\n");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let mut response = Response::new(EchoBody::empty());
    if request.method() != Method::CONNECT {
        let Some(answer) = headers.get(header::SEC_WEBSOCKET_KEY).and_then(answer_to) else {
            return plain(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing\n");
        };
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend([
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, answer),
        ]);
    }
    if let Some(protocol) = first_protocol(headers) {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // The request holds the stream of HTTP/2 open.
        let _request = request;
        let result = match upgrade.await {
            Ok(stream) => echo(TokioIo::new(stream)).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "WebSocket ended");
        }
    });
    response
}

fn answer_to(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    HeaderValue::from_str(&STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))).ok()
}

fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}

struct Frame {
    is_final: bool,
    opcode: u8,
    payload: Vec<u8>,
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let frame = match read(&mut stream).await? {
            Ok(frame) => frame,
            Err(code) => {
                write(&mut stream, true, CLOSE, &code.to_be_bytes()).await?;
                return stream.shutdown().await;
            }
        };
        match frame.opcode {
            CLOSE => {
                write(&mut stream, true, CLOSE, &frame.payload).await?;
                return stream.shutdown().await;
            }
            PING => write(&mut stream, true, PONG, &frame.payload).await?,
            PONG => {}
            opcode => write(&mut stream, frame.is_final, opcode, &frame.payload).await?,
        }
    }
}

/// A frame of a client (RFC 6455, section 5.2), or the code to close with.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Result<Frame, u16>> {
    let [first, second] = stream.read_u16().await?.to_be_bytes();
    let (is_final, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0f);
    let length = match second & 0x7f {
        126 => stream.read_u16().await?.into(),
        127 => stream.read_u64().await?,
        length => length.into(),
    };
    let control_is_bad = opcode >= CLOSE && (!is_final || length > 125);
    let known = matches!(opcode, CONTINUATION..=BINARY | CLOSE..=PONG);
    let masked = second & 0x80 != 0;
    if reserved != 0 || !known || control_is_bad || !masked {
        return Ok(Err(PROTOCOL_ERROR));
    }
    let Some(length) = Some(length).filter(|length| *length <= MAX_FRAME).and_then(|n| usize::try_from(n).ok()) else {
        return Ok(Err(TOO_BIG));
    };
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Ok(Frame { is_final, opcode, payload }))
}

async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    is_final: bool,
    opcode: u8,
    payload: &[u8],
) -> std::io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(if is_final { 0x80 | opcode } else { opcode });
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length < 126 => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's frame, masked.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let length = u8::try_from(payload.len()).unwrap();
        let mut frame = vec![first, 0x80 | length];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    async fn answers(sent: &[Vec<u8>]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let echo = tokio::spawn(echo(server));
        client.write_all(&sent.concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        // It ends with an error if the client left without closing.
        let _ = echo.await.unwrap();
        received
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(answer_to(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_come_back_unmasked_and_pings_are_answered() {
        let received =
            answers(&[frame(0x01, b"ab"), frame(0x80, b"c"), frame(0x89, b"p"), frame(0x88, &[3, 232])]).await;
        assert_eq!(received, [&[0x01, 2][..], b"ab", &[0x80, 1], b"c", &[0x8a, 1], b"p", &[0x88, 2, 3, 232]].concat());
    }

    #[tokio::test]
    async fn frames_against_the_protocol_close_the_connection() {
        let unmasked = vec![0x81, 1, b'a'];
        let fragmented_ping = frame(0x09, b"");
        let (reserved, unknown) = (frame(0xc1, b"a"), frame(0x83, b"a"));
        for sent in [unmasked, fragmented_ping, reserved, unknown] {
            assert_eq!(answers(&[sent]).await, [0x88, 2, 3, 234]);
        }
        let huge = [&[0x82, 0xff][..], &(MAX_FRAME + 1).to_be_bytes()].concat();
        assert_eq!(answers(&[huge]).await, [0x88, 2, 3, 241]);
    }

    #[tokio::test]
    async fn long_payloads_have_long_lengths() {
        for (length, head) in [(125, 2), (126, 4), (65_536, 10)] {
            let mut written = Vec::new();
            write(&mut written, true, BINARY, &vec![7; length]).await.unwrap();
            assert_eq!(written.len(), length + head);
        }
    }
}
