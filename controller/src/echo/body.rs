//! The bodies of the echo backend's answers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

static ZEROES: [u8; 64 << 10] = [b'0'; 64 << 10];

/// A body of one of several kinds.
pub(super) struct EchoBody(Kind);

enum Kind {
    /// One piece.
    Text(Option<Bytes>),
    /// This many bytes.
    Zeroes(u64),
    /// Server-sent events.
    Events { next: u64, count: Option<u64>, interval: Duration, timer: Pin<Box<Sleep>> },
    /// What comes in, then trailers.
    Grpc(Option<Incoming>),
}

impl EchoBody {
    pub(super) fn empty() -> Self {
        Self(Kind::Text(None))
    }

    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self(Kind::Text(Some(text.into()).filter(|text| !text.is_empty())))
    }

    pub(super) fn zeroes(length: u64) -> Self {
        Self(Kind::Zeroes(length))
    }

    /// `count` events, or without end.
    pub(super) fn events(count: Option<u64>, interval: Duration) -> Self {
        Self(Kind::Events { next: 0, count, interval, timer: Box::pin(sleep_until(Instant::now())) })
    }

    pub(super) fn grpc(incoming: Incoming) -> Self {
        Self(Kind::Grpc(Some(incoming)))
    }
}

impl Body for EchoBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Kind::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Zeroes(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROES.len());
                *left -= length as u64;
                let piece = ZEROES.get(..length).unwrap_or_default();
                Poll::Ready((length > 0).then(|| Ok(Frame::data(Bytes::from_static(piece)))))
            }
            Kind::Events { next, count, interval, timer } => {
                if count.is_some_and(|count| *next >= count) {
                    return Poll::Ready(None);
                }
                ready!(timer.as_mut().poll(cx));
                let event = format!("id: {next}\ndata: event {next}\n\n");
                *next += 1;
                timer.as_mut().reset(Instant::now() + *interval);
                Poll::Ready(Some(Ok(Frame::data(event.into()))))
            }
            Kind::Grpc(incoming) => poll_grpc(incoming, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Text(None) | Kind::Zeroes(0))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Zeroes(left) => SizeHint::with_exact(*left),
            Kind::Events { .. } | Kind::Grpc(_) => SizeHint::default(),
        }
    }
}

/// Messages are length-prefixed (gRPC over HTTP/2, "Length-Prefixed-Message"), so echoing the bytes echoes messages.
fn poll_grpc(
    incoming: &mut Option<Incoming>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let Some(body) = incoming else { return Poll::Ready(None) };
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => return Poll::Ready(Some(Ok(frame))),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                *incoming = None;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                *incoming = None;
                let trailers = HeaderMap::from_iter([
                    (http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0")),
                    (http::HeaderName::from_static("grpc-message"), HeaderValue::from_static("")),
                ]);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
        }
    }
}
