//! Topology: which endpoints are meant for clients of our node or zone, by the hints of their EndpointSlices.
//!
//! The control plane writes hints where a Service asks for them (`trafficDistribution`, or the annotation
//! `service.kubernetes.io/topology-mode`). As in kube-proxy they are followed only when they say something of every
//! ready endpoint and leave some for us; otherwise all endpoints are used, so that hints never cost availability.

use crate::resources::{Endpoint, Hints, Place, State};

/// Whether an endpoint is meant for clients here.
pub(super) struct Choice<'p> {
    wanted: &'p str,
    of: fn(&Hints) -> &[Box<str>],
}

impl<'p> Choice<'p> {
    /// How to choose among these endpoints from a place; `None` uses all. A node says more than a zone.
    pub(super) fn among<'e>(endpoints: impl Iterator<Item = &'e Endpoint> + Clone, place: &'p Place) -> Option<Self> {
        let node = place.node.as_deref().map(|wanted| Self { wanted, of: |hints| &hints.nodes });
        let zone = place.zone.as_deref().map(|wanted| Self { wanted, of: |hints| &hints.zones });
        [node, zone].into_iter().flatten().find(|choice| {
            let mut ready = endpoints.clone().filter(|endpoint| endpoint.state == State::Ready).peekable();
            let any = ready.clone().any(|endpoint| choice.takes(endpoint));
            any && ready.all(|endpoint| !choice.names(endpoint).is_empty())
        })
    }

    /// Whether an endpoint is meant for clients here.
    pub(super) fn takes(&self, endpoint: &Endpoint) -> bool {
        self.names(endpoint).iter().any(|name| **name == *self.wanted)
    }

    fn names<'e>(&self, endpoint: &'e Endpoint) -> &'e [Box<str>] {
        endpoint.hints.as_deref().map(self.of).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8, zones: &[&str], nodes: &[&str], state: State) -> Endpoint {
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let hints = Hints { zones: names(zones), nodes: names(nodes) };
        Endpoint { address: [10, 0, 0, last].into(), state, hints: Some(Box::new(hints)) }
    }

    fn chosen(endpoints: &[Endpoint], node: Option<&str>, zone: Option<&str>) -> Vec<u8> {
        let place = Place { node: node.map(Into::into), zone: zone.map(Into::into) };
        let choice = Choice::among(endpoints.iter(), &place);
        let taken = endpoints.iter().filter(|endpoint| choice.as_ref().is_none_or(|choice| choice.takes(endpoint)));
        taken
            .map(|endpoint| {
                u8::try_from(endpoint.address.to_string().rsplit('.').next().unwrap().parse::<u32>().unwrap()).unwrap()
            })
            .collect()
    }

    #[test]
    fn hints_choose_when_every_ready_endpoint_has_them_and_one_is_for_us() {
        let ready = State::Ready;
        let (one, two) = (endpoint(1, &["a"], &[], ready), endpoint(2, &["b", "c"], &[], ready));
        let (without, away) = (endpoint(3, &[], &[], ready), endpoint(4, &[], &[], State::Away));
        let both = [one.clone(), two.clone()];
        assert_eq!(chosen(&both, None, Some("a")), [1]);
        assert_eq!(chosen(&both, None, Some("c")), [2]);
        assert_eq!(chosen(&both, None, Some("d")), [1, 2], "none is for us");
        assert_eq!(chosen(&both, None, None), [1, 2], "our zone is not known");
        assert_eq!(chosen(&[one.clone(), without], None, Some("a")), [1, 3], "one has no hint");
        assert_eq!(chosen(&[one, away], None, Some("a")), [1], "only ready ones need hints");
    }

    #[test]
    fn a_node_counts_before_a_zone_and_a_zone_where_no_node_fits() {
        let ready = State::Ready;
        let endpoints = [
            endpoint(1, &["a"], &["n1"], ready),
            endpoint(2, &["a"], &["n2"], ready),
            endpoint(3, &["b"], &["n3"], ready),
        ];
        assert_eq!(chosen(&endpoints, Some("n2"), Some("a")), [2]);
        assert_eq!(chosen(&endpoints, Some("n9"), Some("a")), [1, 2]);
        assert_eq!(chosen(&endpoints, Some("n9"), Some("z")), [1, 2, 3]);
    }
}
