//! Reviews in, verdicts out.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::kinds;
use crate::resources::Kind;
use crate::settings::Settings;

/// A cluster, and how it is judged.
struct Hall {
    resources: Resources,
    lent: Resources,
    settings: Settings,
    rules: Rules,
}

fn decode(kind: Kind, value: &Value) -> crate::resources::Object {
    (kinds::entry(kind).decode)(value).map(|(object, _)| object).unwrap_or_else(|error| panic!("{error}"))
}

impl Hall {
    /// With the class `nginx`, a Service `web`, and these Ingresses, the first of them the oldest.
    fn new(ingresses: &[Value]) -> Self {
        let mut hall = Self {
            resources: Resources::default(),
            lent: Resources::default(),
            settings: Settings::default(),
            rules: Rules { watch_namespace: None, deep_inspect: true },
        };
        hall.add(
            Kind::IngressClass,
            json!({"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}),
        );
        hall.add(Kind::IngressClass, json!({"metadata": {"name": "other"}, "spec": {"controller": "other/other"}}));
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 80}]});
        hall.add(Kind::Service, json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec}));
        for (age, ingress) in ingresses.iter().enumerate() {
            let mut ingress = ingress.clone();
            ingress["metadata"]["creationTimestamp"] = json!(format!("2020-01-01T00:00:{age:02}Z"));
            hall.add(Kind::Ingress, ingress);
        }
        hall
    }

    fn add(&mut self, kind: Kind, value: Value) {
        self.resources.apply(decode(kind, &value));
    }

    fn config(&mut self, data: Value) {
        self.settings.config_map = Some(crate::resources::NamespacedName::new("system", "config"));
        self.add(Kind::ConfigMap, json!({"metadata": {"namespace": "system", "name": "config"}, "data": data}));
    }

    fn judge(&self, operation: &str, object: Value) -> Judgement {
        let control = Control::new(self.settings.clone(), &self.resources);
        let review = Review::read(review(operation, object).to_string().as_bytes()).unwrap();
        judge(View { control: &control, resources: &self.resources, lent: &self.lent, rules: &self.rules }, &review)
    }

    fn create(&self, mut object: Value) -> Verdict {
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        self.judge("CREATE", object).verdict
    }

    /// Judges, and wants this in the message.
    fn refuses(&self, object: Value, part: &str) {
        let verdict = self.create(object);
        assert!(!verdict.allowed, "{verdict:?}");
        assert!(verdict.message.contains(part), "{verdict:?}");
    }

    /// Judges, and wants this in one warning.
    fn warns(&self, object: Value, part: &str) {
        let verdict = self.create(object);
        assert!(verdict.allowed, "{verdict:?}");
        assert!(verdict.warnings.iter().any(|warning| warning.contains(part)), "{verdict:?}");
    }

    /// Judges, and wants nothing to be said.
    fn passes(&self, object: Value) {
        assert_eq!(self.create(object), Verdict { allowed: true, ..Verdict::default() });
    }
}

fn review(operation: &str, object: Value) -> Value {
    let resource = json!({"group": "networking.k8s.io", "version": "v1", "resource": "ingresses"});
    let request = json!({
        "uid": "u-1",
        "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
        "resource": resource,
        "operation": operation,
        "namespace": "default",
        "name": "a",
        "object": object,
        "dryRun": false,
    });
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})
}

/// An Ingress of class `nginx` with one path to `web`.
fn ingress(name: &str, host: &str, path: &str, annotations: &[(&str, &str)]) -> Value {
    let prefixed = annotations.iter().map(|(key, value)| (format!("{DEFAULT_PREFIX}/{key}"), *value));
    let annotations: BTreeMap<_, _> = prefixed.collect();
    let backend = json!({"service": {"name": "web", "port": {"number": 80}}});
    let paths = json!([{"path": path, "pathType": "Prefix", "backend": backend}]);
    json!({
        "metadata": {"namespace": "default", "name": name, "annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": paths}}]},
    })
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    object
}

#[test]
fn what_is_right_passes_in_silence() {
    Hall::new(&[]).passes(ingress("a", "a.test", "/", &[("proxy-body-size", "8m")]));
}

#[test]
fn a_value_that_no_annotation_takes_is_refused() {
    let hall = Hall::new(&[]);
    hall.refuses(ingress("a", "a.test", "/", &[("proxy-body-size", "banana")]), "proxy-body-size: \"banana\"");
    hall.refuses(ingress("a", "a.test", "/", &[("whitelist-source-range", "10.0.0.0/99")]), "10.0.0.0/99");
    // Without a value it says nothing, for ingress-nginx; that it does so is worth a word.
    hall.warns(ingress("a", "a.test", "/", &[("proxy-body-size", "")]), "is empty");
    hall.warns(ingress("a", "a.test", "/", &[("whitelist-source-range", "")]), "is empty");
}

#[test]
fn snippets_blocked_words_and_risks_are_refused() {
    let mut hall = Hall::new(&[]);
    hall.refuses(ingress("a", "a.test", "/", &[("server-snippet", "x")]), "server-snippet is raw nginx configuration");
    hall.refuses(ingress("a", "a.test", "/", &[("new-snippet", "x")]), "new-snippet is raw nginx configuration");
    hall.config(json!({"annotation-value-word-blocklist": "evil", "annotations-risk-level": "Low"}));
    hall.refuses(ingress("a", "a.test", "/", &[("upstream-vhost", "evil.test")]), "which the ConfigMap blocks");
    hall.refuses(ingress("a", "a.test", "/", &[("rewrite-target", "/")]), "risk, more than the ConfigMap allows");
    hall.refuses(ingress("a", "a.test", "/", &[("rewrite-target", "")]), "risk, more than the ConfigMap allows");
}

#[test]
fn a_strict_path_type_is_refused_only_while_it_is_strict() {
    let mut hall = Hall::new(&[]);
    hall.refuses(ingress("a", "a.test", "/a(.*)", &[]), "strict-validate-path-type");
    hall.config(json!({"strict-validate-path-type": "false"}));
    hall.passes(ingress("a", "a.test", "/a(.*)", &[("use-regex", "true")]));
}

#[test]
fn a_path_that_is_no_regular_expression_is_refused_where_it_must_be_one() {
    let bad =
        with(ingress("b", "a.test", "/(", &[]), "/spec/rules/0/http/paths/0/pathType", json!("ImplementationSpecific"));
    Hall::new(&[]).passes(bad.clone());
    Hall::new(&[ingress("a", "a.test", "/", &[("use-regex", "true")])]).refuses(bad, "regular expressions");
}

#[test]
fn that_others_are_no_longer_served_is_told() {
    let odd =
        with(ingress("a", "a.test", "/(", &[]), "/spec/rules/0/http/paths/0/pathType", json!("ImplementationSpecific"));
    let hall = Hall::new(&[odd]);
    hall.warns(
        ingress("b", "a.test", "/b", &[("use-regex", "true")]),
        "Ingress default/a: spec.rules[0].http.paths[0].path",
    );
    hall.passes(ingress("b", "b.test", "/b", &[("use-regex", "true")]));
}

#[test]
fn what_is_wrong_with_others_already_is_not_told() {
    let mut other = ingress("a", "a.test", "/", &[("use-regex", "true")]);
    other["spec"]["tls"] = json!([{"hosts": ["a.test"], "secretName": "gone"}]);
    let odd =
        with(ingress("c", "a.test", "/(", &[]), "/spec/rules/0/http/paths/0/pathType", json!("ImplementationSpecific"));
    Hall::new(&[other, odd]).passes(ingress("b", "a.test", "/b", &[]));
}

#[test]
fn a_catch_all_is_refused_where_it_is_turned_off() {
    let mut hall = Hall::new(&[]);
    let mut catch_all = ingress("a", "a.test", "/", &[]);
    catch_all["spec"]["defaultBackend"] = json!({"service": {"name": "web", "port": {"number": 80}}});
    hall.passes(catch_all.clone());
    hall.settings.disable_catch_all = true;
    hall.refuses(catch_all, "--disable-catch-all");
}

#[test]
fn texts_that_would_attack_nginx_are_refused_unless_nobody_looks() {
    let mut hall = Hall::new(&[]);
    let object =
        with(ingress("a", "a.test", "/etc/passwd", &[]), "/spec/rules/0/http/paths/0/pathType", json!("Exact"));
    hall.refuses(object.clone(), "spec.rules[0].http.paths[0].path: \"/etc/passwd\" has no place there");
    hall.rules.deep_inspect = false;
    hall.passes(object);
}

#[test]
fn the_common_prefix_is_refused_where_another_is_used() {
    let mut hall = Hall::new(&[]);
    hall.settings.annotations_prefix = "ingress.example.com".to_owned();
    hall.refuses(
        ingress("a", "a.test", "/", &[("use-regex", "true")]),
        "the prefix of annotations is ingress.example.com",
    );
    hall.passes(ingress("a", "a.test", "/", &[]));
}

#[test]
fn a_path_of_another_ingress_is_refused_whatever_its_type() {
    let hall = Hall::new(&[ingress("first", "a.test", "/a", &[])]);
    let message = "host \"a.test\" and path \"/a\" is already defined in ingress default/first";
    hall.refuses(ingress("second", "a.test", "/a", &[]), message);
    let exact = with(ingress("second", "a.test", "/a", &[]), "/spec/rules/0/http/paths/0/pathType", json!("Exact"));
    hall.refuses(exact, message);
    hall.passes(ingress("second", "a.test", "/b", &[]));
    hall.passes(ingress("second", "b.test", "/a", &[]));
    // Its own, when it is written again.
    hall.passes(ingress("first", "a.test", "/a", &[("use-regex", "true")]));
    let hall = Hall::new(&[ingress("first", "", "/", &[])]);
    hall.refuses(ingress("second", "", "/", &[]), "host \"_\" and path \"/\" is already defined");
}

#[test]
fn an_older_ingress_may_not_take_a_path_either() {
    let hall = Hall::new(&[ingress("old", "a.test", "/old", &[]), ingress("young", "a.test", "/young", &[])]);
    let mut grown = ingress("old", "a.test", "/young", &[]);
    grown["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    hall.refuses(grown, "is already defined in ingress default/young");
}

#[test]
fn whoever_has_a_path_keeps_it_when_two_wanted_it() {
    let hall = Hall::new(&[ingress("first", "a.test", "/a", &[]), ingress("second", "a.test", "/a", &[])]);
    let mut first = ingress("first", "a.test", "/a", &[("use-regex", "true")]);
    first["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    assert!(hall.create(first).allowed);
    hall.refuses(ingress("second", "a.test", "/a", &[]), "is already defined in ingress default/first");
}

#[test]
fn a_canary_shares_a_path_with_what_is_none_and_not_with_another() {
    let canary = |name| ingress(name, "a.test", "/a", &[("canary", "true"), ("canary-weight", "10")]);
    let mut of_another = Hall::new(&[ingress("main", "a.test", "/a", &[])]);
    of_another.warns(canary("canary"), "the canary's Service is the primary's");
    of_another.add(Kind::Ingress, canary("canary"));
    of_another.refuses(canary("canary2"), "is already defined in ingress default/canary");
    assert!(Hall::new(&[canary("canary")]).create(ingress("main", "a.test", "/a", &[])).allowed);
}

#[test]
fn canary_false_escapes_and_the_conflict_is_told() {
    let hall = Hall::new(&[ingress("first", "a.test", "/a", &[])]);
    hall.warns(ingress("second", "a.test", "/a", &[("canary", "false")]), "belongs to Ingress default/first");
    let hall = Hall::new(&[ingress("first", "a.test", "/a", &[("canary", "false")])]);
    hall.warns(ingress("second", "a.test", "/a", &[]), "belongs to Ingress default/first");
}

#[test]
fn a_slip_is_a_warning_with_what_was_meant() {
    let hall = Hall::new(&[]);
    hall.warns(ingress("a", "a.test", "/", &[("proxy-bdy-size", "8m")]), "did you mean proxy-body-size?");
}

#[test]
fn what_may_come_later_is_never_refused() {
    let hall = Hall::new(&[]);
    let pointer = "/spec/rules/0/http/paths/0/backend/service/name";
    hall.warns(with(ingress("a", "a.test", "/", &[]), pointer, json!("gone")), "Service default/gone does not exist");
    let mut tls = ingress("a", "a.test", "/", &[]);
    tls["spec"]["tls"] = json!([{"hosts": ["a.test"], "secretName": "gone"}]);
    hall.warns(tls.clone(), "Secret default/gone");
    let missing = hall.judge("CREATE", tls).missing;
    assert_eq!(missing.into_iter().collect::<Vec<_>>(), [Key::new(Kind::Secret, "default", "gone")]);
    let canary = ingress("a", "a.test", "/", &[("canary", "true")]);
    hall.warns(canary, "the canary has nothing to stand beside");
}

#[test]
fn what_is_lent_counts_as_there() {
    let mut hall = Hall::new(&[]);
    let made = rcgen::generate_simple_self_signed(vec!["b.test".to_owned()]).unwrap();
    let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
    let secret = json!({"metadata": {"namespace": "default", "name": "lent"}, "stringData": data});
    hall.lent.apply(decode(Kind::Secret, &secret));
    let mut tls = ingress("a", "a.test", "/", &[]);
    tls["spec"]["tls"] = json!([{"hosts": ["a.test"], "secretName": "lent"}]);
    hall.warns(tls.clone(), "the certificate in Secret default/lent is for b.test, not for a.test");
    assert!(hall.judge("CREATE", tls).missing.is_empty());
}

#[test]
fn others_ingresses_are_no_concern() {
    let mut hall = Hall::new(&[]);
    let bad = || ingress("a", "a.test", "/etc/passwd", &[("server-snippet", "x")]);
    hall.passes(with(bad(), "/spec/ingressClassName", json!("other")));
    hall.passes(with(bad(), "/spec/ingressClassName", Value::Null));
    hall.refuses(bad(), "server-snippet");
    hall.rules.watch_namespace = Some("elsewhere".to_owned());
    hall.passes(bad());
    hall.rules.watch_namespace = None;
    hall.settings.namespace_selector = Some("team=web".parse().unwrap());
    hall.passes(bad());
    hall.add(Kind::Namespace, json!({"metadata": {"name": "default", "labels": {"team": "web"}}}));
    hall.refuses(bad(), "server-snippet");
}

#[test]
fn a_class_of_our_name_that_is_missing_is_told() {
    let mut hall = Hall::new(&[]);
    hall.resources.ingress_classes.clear();
    hall.warns(ingress("a", "a.test", "/", &[("server-snippet", "x")]), "IngressClass nginx does not exist");
}

#[test]
fn what_is_deleted_passes() {
    let hall = Hall::new(&[]);
    let bad = || ingress("a", "a.test", "/", &[("server-snippet", "x")]);
    let mut deleting = bad();
    deleting["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert!(hall.judge("UPDATE", deleting).verdict.allowed);
    assert!(hall.judge("DELETE", Value::Null).verdict.allowed);
    assert!(!hall.judge("UPDATE", bad()).verdict.allowed);
}

#[test]
fn the_answer_repeats_the_question_and_gives_a_reason() {
    let hall = Hall::new(&[]);
    let body = review("CREATE", ingress("a", "a.test", "/", &[("server-snippet", "x"), ("proxy-bdy-size", "1")]));
    let asked = Review::read(body.to_string().as_bytes()).unwrap();
    let control = Control::new(hall.settings.clone(), &hall.resources);
    let view = View { control: &control, resources: &hall.resources, lent: &hall.lent, rules: &hall.rules };
    let answer = asked.answer(&judge(view, &asked).verdict);
    let warnings = json!(["unknown annotation nginx.ingress.kubernetes.io/proxy-bdy-size on Ingress default/a: \
        did you mean proxy-body-size?"]);
    assert_eq!(
        answer,
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": "u-1",
                "allowed": false,
                "status": {
                    "status": "Failure",
                    "reason": "BadRequest",
                    "code": 400,
                    "message": "server-snippet is raw nginx configuration, which is never run: the Ingress is not used; \
                        say it with other annotations and remove this one",
                },
                "warnings": warnings,
            },
        })
    );
}

#[test]
fn many_and_long_warnings_are_cut_between_characters() {
    let names: Vec<_> = (0..40).map(|number| format!("unknown-{number}")).collect();
    let annotations: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let verdict = Hall::new(&[]).create(ingress("a", "a.test", "/", &annotations));
    assert_eq!(verdict.warnings.len(), MOST_WARNINGS);
    assert_eq!(verdict.warnings[MOST_WARNINGS - 1], "and 26 more; `genkan check` tells them all");
    let long = cut(&"ä".repeat(300), LONGEST_WARNING);
    assert_eq!((long.chars().count(), long.chars().last()), (LONGEST_WARNING, Some('…')));
}

#[test]
fn rubbish_is_told_apart() {
    let read = |value: &Value| Review::read(value.to_string().as_bytes()).map(drop).map_err(|error| error.to_string());
    let good = review("CREATE", ingress("a", "a.test", "/", &[]));
    assert_eq!(read(&good), Ok(()));
    let wrong = |pointer: &str, value: Value| read(&with(good.clone(), pointer, value)).unwrap_err();
    assert!(Review::read(b"{").is_err());
    assert!(wrong("/apiVersion", json!("admission.k8s.io/v1beta1")).contains("v1beta1 is not understood"));
    assert!(wrong("/request", Value::Null).contains("no request"));
    assert!(wrong("/request/resource/resource", json!("pods")).contains("about pods of networking.k8s.io/v1"));
    assert!(wrong("/request/object", Value::Null).contains("no object"));
    assert!(wrong("/request/object/spec", json!(7)).contains("no AdmissionReview: invalid type"));
}

#[test]
fn work_does_not_grow_with_the_number_of_ingresses() {
    let looked_at = |others: usize| {
        let of_hosts = (0..others).map(|number| ingress(&format!("i{number}"), &format!("h{number}.test"), "/", &[]));
        let mut hall = Hall::new(&[ingress("same", "a.test", "/a", &[])]);
        of_hosts.for_each(|ingress| hall.add(Kind::Ingress, ingress));
        hall.judge("CREATE", ingress("new", "a.test", "/new", &[])).ingresses
    };
    assert_eq!([looked_at(0), looked_at(10), looked_at(1000)], [2, 2, 2]);
}
