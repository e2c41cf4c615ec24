//! Logs: the formats of the access log, compiled: those of the whole proxy, and of listeners with settings of their own.

use std::sync::Arc;

use genkan_routing::model::{Listener, ListenerSettings, Model};
use genkan_routing::policy::access_log::{AccessLog, DEFAULT_FORMAT, DEFAULT_STREAM_FORMAT};
use rustc_hash::FxHashMap;

use crate::access_log::{Format, StreamFormat};

/// The formats that a table needs.
#[derive(Debug)]
pub(crate) struct Logs {
    global: LogFormats,
    /// By the address of the settings, which the table's snapshot keeps alive; the same map while all listeners stay.
    own: Arc<FxHashMap<usize, Arc<LogFormats>>>,
}

/// How something is logged.
#[derive(Debug)]
pub(crate) struct LogFormats {
    /// Requests; `None` when they are not.
    pub(crate) http: Option<Format>,
    /// TCP connections and UDP sessions; `None` when they are not.
    pub(crate) stream: Option<StreamFormat>,
}

impl Logs {
    /// The formats of a model, sharing with those of the previous one what is made of settings that are the same allocation.
    pub(super) fn build(model: &Model, previous: Option<(&Model, &Self)>) -> Self {
        let global = LogFormats::compile(&model.settings.access_log);
        if let Some((_, logs)) = previous.filter(|(old, _)| has_same_listeners(old, model)) {
            return Self { global, own: Arc::clone(&logs.own) };
        }
        let mut own = FxHashMap::default();
        for settings in model.listeners.values().flat_map(|listener| settings(listener)) {
            let known = previous.and_then(|(_, logs)| logs.own.get(&address(settings)));
            let compile = || known.map_or_else(|| Arc::new(LogFormats::compile(&settings.access_log)), Arc::clone);
            own.entry(address(settings)).or_insert_with(compile);
        }
        Self { global, own: Arc::new(own) }
    }

    /// Whether any listener has settings of its own.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The formats of something with these settings, or else of the whole proxy. Settings that are not of this table
    /// count as none.
    pub(crate) fn of(&self, settings: Option<&Arc<ListenerSettings>>) -> &LogFormats {
        settings.and_then(|settings| self.own.get(&address(settings))).map_or(&self.global, |formats| formats)
    }

    /// The formats of something with these settings, to keep; `None` for those of the whole proxy.
    pub(crate) fn own(&self, settings: Option<&Arc<ListenerSettings>>) -> Option<Arc<LogFormats>> {
        self.own.get(&address(settings?)).cloned()
    }
}

/// Whether the listeners of both are the same allocations. They are few, and what they pass on may be much.
fn has_same_listeners(old: &Model, new: &Model) -> bool {
    let mut pairs = old.listeners.values().zip(new.listeners.values());
    old.listeners.len() == new.listeners.len() && pairs.all(|(old, new)| Arc::ptr_eq(old, new))
}

/// The settings of a listener's own, with repetitions.
fn settings(listener: &Listener) -> impl Iterator<Item = &Arc<ListenerSettings>> {
    let Listener { sections, stream, passthrough, terminated, .. } = listener;
    let terminated = terminated.values().map(|terminated| &terminated.stream);
    let streams = stream.iter().chain(passthrough.values()).chain(terminated);
    let streams = streams.filter_map(|stream| stream.settings.as_ref());
    sections.iter().filter_map(|section| section.settings.as_ref()).chain(streams)
}

fn address(settings: &Arc<ListenerSettings>) -> usize {
    Arc::as_ptr(settings).addr()
}

impl LogFormats {
    /// The translation checks formats, so an unknown one is of a model that was made otherwise: the default is used.
    fn compile(log: &AccessLog) -> Self {
        let or_default = |error| tracing::error!(%error, "a format of the access log is unknown; the default is used");
        let http = || {
            let compiled = Format::compile(&log.format, log.escape).map_err(or_default);
            compiled.ok().or_else(|| Format::compile(DEFAULT_FORMAT, log.escape).ok())
        };
        let stream = || {
            let compiled = StreamFormat::compile(&log.stream.format, log.escape).map_err(or_default);
            compiled.ok().or_else(|| StreamFormat::compile(DEFAULT_STREAM_FORMAT, log.escape).ok())
        };
        Self { http: log.enabled.then(http).flatten(), stream: log.stream.enabled.then(stream).flatten() }
    }
}

#[cfg(test)]
mod tests {
    use genkan_routing::model::{Protocol, Section, SharedMap};
    use genkan_routing::name::{HostPattern, TableId};

    use super::*;
    use crate::listener::tests::support::listener;

    #[test]
    fn formats_are_kept_while_their_settings_are_and_all_of_them_while_listeners_are() {
        let settings = Arc::new(ListenerSettings::default());
        let with = |id: &str| {
            let section =
                Section { hostname: HostPattern::Any, table: TableId::new("t"), settings: Some(Arc::clone(&settings)) };
            let listener = Listener { sections: vec![section], ..listener(id, Protocol::Http) };
            (listener.id.clone(), Arc::new(listener))
        };
        let mut model = Model { listeners: [with("a")].into(), ..Model::default() };
        let first = Logs::build(&model, None);
        let other = Model { rules: SharedMap::default(), ..model.clone() };
        let second = Logs::build(&other, Some((&model, &first)));
        assert!(Arc::ptr_eq(&first.own, &second.own));
        model.listeners.extend([with("a"), with("b")]);
        let third = Logs::build(&model, Some((&other, &second)));
        assert!(!Arc::ptr_eq(&second.own, &third.own));
        let formats = |logs: &Logs| logs.own(Some(&settings)).unwrap();
        assert!(Arc::ptr_eq(&formats(&first), &formats(&third)));
        let none = Logs::build(&Model::default(), Some((&model, &third)));
        assert!(!none.has_own());
    }
}
