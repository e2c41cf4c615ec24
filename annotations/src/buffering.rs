//! Buffering: `proxy-request-buffering`, `proxy-buffering`, and how much is held of responses: `proxy-buffers-number`,
//! `proxy-buffer-size`, `proxy-max-temp-file-size`.

use genkan_routing::policy::buffering::{Buffering, MOST, Otherwise, RequestBuffering, ResponseBuffering};
use serde::Serialize;

use crate::annotation::{Annotation, set};
use crate::config_map::Key;
use crate::value::{ValueError, choice, count, size};

const SWITCH: &str = "on or off";
const SIZE: &str = "a size: 8k, 1m";
const NUMBER: &str = "a whole number";

/// What is held, in memory, of what nginx would write to a file: a request's body, or a part of a response's.
const IN_MEMORY: u64 = 1 << 20;

pub(crate) const ANNOTATIONS: &[Annotation] = &[
    Annotation::on(
        "proxy-request-buffering",
        SWITCH,
        "ConfigMap proxy-request-buffering (off)",
        |b, v| set(&mut b.settings.buffering.request, switch(v)),
        "Reads the whole request before the backend is asked, so that it can also be sent to another endpoint; a body over \
         1m, or client-body-buffer-size if that is more, is passed on as it comes",
    ),
    Annotation::on(
        "client-body-buffer-size",
        SIZE,
        "ConfigMap client-body-buffer-size (8k)",
        |b, v| set(&mut b.settings.buffering.body_size, size(v)),
        "Above 1m: how large a body proxy-request-buffering holds, 64m at most",
    ),
    Annotation::on(
        "proxy-buffering",
        SWITCH,
        "ConfigMap proxy-buffering (off)",
        |b, v| set(&mut b.settings.buffering.response, switch(v)),
        "Reads responses ahead of slow clients",
    ),
    Annotation::on(
        "proxy-buffers-number",
        NUMBER,
        "ConfigMap proxy-buffers-number (4)",
        |b, v| set(&mut b.settings.buffering.buffers, count(v)),
        "Times proxy-buffer-size is what proxy-buffering may hold, besides proxy-max-temp-file-size",
    ),
    Annotation::on(
        "proxy-buffer-size",
        SIZE,
        "ConfigMap proxy-buffer-size (4k)",
        |b, v| set(&mut b.settings.buffering.buffer_size, size(v)),
        "The size of one of proxy-buffers-number; the response's head has no limit of its own",
    ),
    Annotation::on(
        "proxy-max-temp-file-size",
        SIZE,
        "ConfigMap proxy-max-temp-file-size (1024m)",
        |b, v| set(&mut b.settings.buffering.temp_file, size(v)),
        "What proxy-buffering may hold besides, in memory and 1m at most: nothing is written to disk",
    ),
];

pub(crate) const KEYS: &[Key] = &[
    Key::on(
        "proxy-request-buffering",
        SWITCH,
        "off",
        |b, v| set(&mut b.config.buffering.request, switch(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "client-body-buffer-size",
        SIZE,
        "8k",
        |b, v| set(&mut b.config.buffering.body_size, size(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-buffering",
        SWITCH,
        "off",
        |b, v| set(&mut b.config.buffering.response, switch(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-buffers-number",
        NUMBER,
        "4",
        |b, v| set(&mut b.config.buffering.buffers, count(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-buffer-size",
        SIZE,
        "4k",
        |b, v| set(&mut b.config.buffering.buffer_size, size(v.trim())),
        "Default of the annotation",
    ),
    Key::on(
        "proxy-max-temp-file-size",
        SIZE,
        "1024m",
        |b, v| set(&mut b.config.buffering.temp_file, size(v.trim())),
        "Default of the annotation",
    ),
];

/// What annotations or keys say of buffering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BufferingSettings {
    /// `proxy-request-buffering`.
    pub request: bool,
    /// `client-body-buffer-size`.
    pub body_size: u64,
    /// `proxy-buffering`.
    pub response: bool,
    /// `proxy-buffers-number`.
    pub buffers: u32,
    /// `proxy-buffer-size`.
    pub buffer_size: u64,
    /// `proxy-max-temp-file-size`.
    pub temp_file: u64,
}

impl Default for BufferingSettings {
    /// Nothing is held. nginx holds requests: where that is not written, they are passed on as they come.
    fn default() -> Self {
        let (request, response) = (false, false);
        Self { request, body_size: 8 << 10, response, buffers: 4, buffer_size: 4 << 10, temp_file: 1 << 30 }
    }
}

impl BufferingSettings {
    /// The policy; `None` when nothing is held. Nothing is refused for its size or for want of memory, as nginx has files
    /// for it: it is passed on as it comes.
    pub fn policy(&self) -> Option<Buffering> {
        let max_size = u64::from(self.buffers).saturating_mul(self.buffer_size);
        let max_size = max_size.saturating_add(self.temp_file.min(IN_MEMORY)).min(MOST);
        let body_size = self.body_size.clamp(IN_MEMORY, MOST);
        let request = RequestBuffering { max_size: body_size, otherwise: Otherwise::Stream };
        let buffering = Buffering {
            request: self.request.then_some(request),
            response: (self.response && max_size > 0).then_some(ResponseBuffering { max_size }),
        };
        buffering.acts().then_some(buffering)
    }
}

fn switch(text: &str) -> Result<bool, ValueError> {
    choice(text, &[("on", true), ("off", false)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_held_unless_it_is_switched_on() {
        assert_eq!(BufferingSettings::default().policy(), None);
        let request = BufferingSettings { request: true, ..BufferingSettings::default() }.policy().unwrap();
        assert_eq!((request.request.unwrap().max_size, request.response), (1 << 20, None));
    }

    #[test]
    fn larger_bodies_are_held_where_that_is_said() {
        for (body_size, held) in [(0, 1 << 20), (2 << 20, 2 << 20), (1 << 40, MOST)] {
            let settings = BufferingSettings { request: true, body_size, ..BufferingSettings::default() };
            assert_eq!(settings.policy().unwrap().request.unwrap().max_size, held, "{body_size}");
        }
    }

    #[test]
    fn buffers_and_what_would_be_a_file_are_one_bounded_size() {
        let size = |buffers, buffer_size, temp_file| {
            let (request, response, body_size) = (false, true, 0);
            let settings = BufferingSettings { request, body_size, response, buffers, buffer_size, temp_file };
            settings.policy().and_then(|policy| policy.response).map(|response| response.max_size)
        };
        assert_eq!(size(4, 4096, 0), Some(16384));
        assert_eq!(size(4, 4096, 1000), Some(17384));
        assert_eq!(size(4, 4096, 1 << 30), Some(16384 + (1 << 20)));
        assert_eq!(size(u32::MAX, u64::MAX, 0), Some(MOST));
        assert_eq!(size(0, 4096, 0), None, "no room is no buffering");
    }
}
