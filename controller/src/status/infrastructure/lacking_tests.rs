use proptest::prelude::*;
use serde_json::json;

use super::super::slices::SERVICE_NAME;
use super::super::slices::tests::{own, viewed};
use super::*;
use crate::resources::SLICE_KEEPER;

/// One change of what is wanted or seen.
#[derive(Clone, Debug)]
enum Step {
    View(u8, Option<u16>),
    Ours(Option<Vec<u8>>),
    Present(u8, Option<(u8, u16)>),
    Unknown,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..3, prop::option::of(0u16..2)).prop_map(|(service, port)| Step::View(service, port)),
        prop::option::of(prop::collection::vec(0u8..2, 0..2)).prop_map(Step::Ours),
        (0u8..4, prop::option::of((0u8..3, 0u16..2))).prop_map(|(slice, of)| Step::Present(slice, of)),
        Just(Step::Unknown),
    ]
}

fn service(number: u8) -> NamespacedName {
    NamespacedName::new("web", format!("edge-{number}"))
}

fn slice(name: &NamespacedName, service: u8, port: u16) -> Arc<EndpointSlice> {
    let labels = json!({SERVICE_NAME: format!("edge-{service}"), SLICE_KEEPER.0: SLICE_KEEPER.1});
    let metadata = json!({"namespace": name.namespace, "name": name.name, "uid": "u", "labels": labels});
    Arc::new(
        serde_json::from_value(json!({"metadata": metadata, "addressType": "IPv4", "endpoints": [],
            "ports": [{"port": port}]}))
        .unwrap(),
    )
}

fn all(lacking: &Lacking) -> Vec<(Object, Act)> {
    lacking.all().cloned().collect()
}

proptest! {
    #[test]
    fn what_lacks_is_the_same_as_if_everything_were_looked_at_anew(steps in prop::collection::vec(step(), 1..30)) {
        let (mut view, mut ours, mut present) = (View::new(), None, None);
        let mut followed = Lacking::default();
        for step in steps {
            match step {
                Step::View(number, Some(port)) => {
                    drop(view.insert(service(number), viewed(&[(80, 20000 + port)])));
                }
                Step::View(number, None) => drop(view.remove(&service(number))),
                Step::Ours(names) => {
                    let own = |name: &u8| own(&name.to_string(), &["10.1.0.1"]);
                    ours = names.map(|names| names.iter().map(own).collect::<Slices>());
                }
                Step::Present(number, of) => {
                    let name = NamespacedName::new("web", format!("s{number}"));
                    let present: &mut Slices = present.get_or_insert_default();
                    match of {
                        Some((service, port)) => drop(present.insert(name.clone(), slice(&name, service, port))),
                        None => drop(present.remove(&name)),
                    }
                }
                Step::Unknown => present = None,
            }
            followed.update(&view, ours.as_ref(), present.as_ref());
            let mut anew = Lacking::default();
            anew.update(&view, ours.as_ref(), present.as_ref());
            prop_assert_eq!(all(&followed), all(&anew));
        }
    }
}

#[test]
fn without_any_pod_of_ours_it_is_told_that_services_lead_nowhere() {
    let mut lacking = Lacking::default();
    let view = View::from([(service(0), viewed(&[(80, 20000)]))]);
    let (none, present) = (Slices::new(), Slices::new());
    lacking.update(&View::new(), Some(&none), Some(&present));
    assert!(!lacking.leads_nowhere(), "nobody needs it");
    lacking.update(&view, None, Some(&present));
    assert!(!lacking.leads_nowhere(), "it is not known yet");
    lacking.update(&view, Some(&none), Some(&present));
    assert!(lacking.leads_nowhere());
    lacking.update(&view, Some(&Slices::from([own("a", &["10.1.0.1"])])), Some(&present));
    assert!(!lacking.leads_nowhere());
}
