//! What is written: addresses of Ingresses, Events; by whom, and what is left alone.

use genkan_e2e::manifests;

use crate::site::{Site, echoes, leads, status};

#[test]
fn addresses_are_published_only_where_they_differ_and_taken_away_at_the_end() {
    let site = Site::new("publish");
    site.namespace
        .apply(&(site.ingress("ours", "web.test", "web", &[]) + &site.ingress("other", "o.test", "web", &[])));
    let patch = r#"{"spec": {"ingressClassName": "elsewhere"}}"#;
    site.namespace.kubectl(&["patch", "ingress", "other", "--patch", patch]);
    let mut genkan = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4,lb.test"]);
    genkan.wait_until("it is published", || site.published("ours") == "1.2.3.4 lb.test");
    assert_eq!(site.published("other"), "");
    // A second one finds nothing to write.
    let version = || site.namespace.get("ingress/ours").unwrap()["metadata"]["resourceVersion"].clone();
    let before = version();
    genkan.kill();
    let mut genkan = site.control_as("genkan-0", &["--publish-status-address=lb.test,1.2.3.4", "--election-ttl=2s"]);
    genkan.wait_until("it leads", || leads(&genkan));
    site.namespace.apply(&site.ingress("later", "later.test", "web", &[]));
    genkan.wait_until("a later one is published", || site.published("later") == "1.2.3.4 lb.test");
    assert_eq!(version(), before);
    // Two addresses stay, as with ingress-nginx: another installation may share them.
    genkan.terminate();
    assert!(genkan.wait().success());
    assert_eq!(site.published("ours"), "1.2.3.4 lb.test");

    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: genkan-0, labels: {app: genkan}}, spec: {containers: \
               [{name: main, image: host, command: [sleep, '600']}]}}";
    site.namespace.apply(pod);
    let mut genkan = site.control_as("genkan-0", &["--publish-status-address=5.6.7.8", "--election-ttl=2s"]);
    genkan.wait_until("one address", || site.published("ours") == "5.6.7.8" && site.published("later") == "5.6.7.8");
    genkan.terminate();
    assert!(genkan.wait().success(), "{}", genkan.errors());
    assert_eq!((site.published("ours"), site.published("later")), (String::new(), String::new()));
}

#[test]
fn addresses_stay_while_another_replica_runs() {
    let site = Site::new("siblings");
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    let pod = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: genkan}}}}, spec: {{containers: \
             [{{name: main, image: host, command: [sleep, '600']}}]}}}}"
        )
    };
    for name in ["genkan-0", "genkan-1"] {
        site.namespace.apply(&pod(name));
        site.namespace.kubectl(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=120s"]);
    }
    let mut genkan = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4"]);
    genkan.wait_until("it is published", || site.published("web") == "1.2.3.4");
    genkan.terminate();
    assert!(genkan.wait().success());
    let pods = || site.namespace.kubectl(&["get", "pods", "--output", "wide", "--show-labels"]);
    assert_eq!(site.published("web"), "1.2.3.4", "{}\n{}", pods(), genkan.errors());
}

#[test]
fn the_addresses_of_a_service_are_followed() {
    let site = Site::new("publish-service");
    let name = site.namespace.name().to_owned();
    let service = |spec: &str| {
        site.namespace.apply(&format!("{{apiVersion: v1, kind: Service, metadata: {{name: front}}, spec: {spec}}}"));
    };
    service("{type: ExternalName, externalName: front.test}");
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    let genkan = site.control_as("genkan-0", &[&format!("--publish-service={name}/front")]);
    genkan.wait_until("the name", || site.published("web") == "front.test");
    site.namespace.kubectl(&["delete", "service", "front"]);
    service("{type: LoadBalancer, ports: [{port: 80}]}");
    let balancer = || {
        let service = site.namespace.get("service/front").unwrap();
        service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
    };
    site.namespace.wait_until("the load balancer's address", || {
        balancer().is_some_and(|address| site.published("web") == address)
    });
}

#[test]
fn a_service_that_a_flag_names_must_exist() {
    let site = Site::new("no-service");
    for flag in ["--publish-service", "--default-backend-service"] {
        let argument = format!("{flag}={}/none", site.namespace.name());
        let mut options = site.options("genkan-0", &[&argument]);
        options.unready = true;
        let mut genkan = genkan_e2e::Genkan::control(&site.kubeconfig(), options);
        assert!(!genkan.wait().success());
        assert!(genkan.errors().contains("there is no such Service"), "{}", genkan.errors());
    }
}

#[test]
fn addresses_of_the_nodes_of_our_pods_are_published_without_either() {
    let site = Site::new("nodes");
    site.namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: genkan-0, labels: {app: genkan}}, spec: {containers: [{name: main, \
         image: host, command: [sleep, '600']}]}}",
    );
    site.namespace.kubectl(&["wait", "--for=condition=Ready", "pod/genkan-0", "--timeout=120s"]);
    let host = site.namespace.get("pod/genkan-0").unwrap()["status"]["hostIP"].as_str().unwrap().to_owned();
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    // These nodes have no external address: then the internal one is published, asked for or not.
    let mut asked = site.control_as("genkan-0", &["--report-node-internal-ip-address"]);
    asked.wait_until("the node's address", || site.published("web") == host);
    asked.terminate();
    assert!(asked.wait().success(), "{}", asked.errors());
    assert_eq!(site.published("web"), "");
    let genkan = site.control_as("genkan-0", &[]);
    genkan.wait_until("the node's address", || site.published("web") == host);
}

#[test]
fn an_address_that_another_wrote_before_is_taken_away_at_the_end() {
    let site = Site::new("taken-over");
    site.namespace.apply(&site.ingress("web", "web.test", "web", &[]));
    site.namespace.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: genkan-0, labels: {app: genkan}}, spec: {containers: [{name: main, \
         image: host, command: [sleep, '600']}]}}",
    );
    let status = r#"{"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}"#;
    let patch = ["patch", "ingress", "web", "--subresource=status", "--type=merge", "--field-manager=ingress-nginx"];
    site.namespace.kubectl(&[&patch[..], &["--patch", status]].concat());
    let mut genkan = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4"]);
    genkan.wait_until("it leads", || leads(&genkan));
    genkan.terminate();
    assert!(genkan.wait().success(), "{}", genkan.errors());
    assert_eq!(site.published("web"), "", "{}", genkan.errors());
}

#[test]
fn controllers_of_two_classes_share_no_ingress_when_one_is_our_own() {
    let (own, other) = (Site::new("own"), Site::new("beside"));
    let class = format!("{}-ours", own.class());
    own.namespace.apply(&format!(
        "{{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {{name: {class}}}, spec: {{controller: \
         genkan.dev/ingress-controller}}}}"
    ));
    let of_class = |name: &str| {
        let ingress = own.ingress(name, &format!("{name}.test"), "web", &[]);
        ingress.replace(&format!("ingressClassName: {}", own.class()), &format!("ingressClassName: {class}"))
    };
    own.namespace.apply(&of_class("mine"));
    let mut options = own.options("own-0", &["--publish-status-address=1.1.1.1"]);
    options.arguments[0] = "--controller-class=genkan.dev/ingress-controller".to_owned();
    let first = genkan_e2e::Genkan::control(&own.kubeconfig(), options);
    own.namespace.apply(&own.ingress("theirs", "theirs.test", "web", &[]).replace(own.class(), other.class()));
    let second = other.control_as("other-0", &["--publish-status-address=2.2.2.2"]);
    first.wait_until("both are published", || {
        own.published("mine") == "1.1.1.1" && own.published("theirs") == "2.2.2.2"
    });
    let served = |genkan: &genkan_e2e::Genkan| {
        let snapshot = genkan.admin_get("/snapshot").1;
        (snapshot.contains("mine.test"), snapshot.contains("theirs.test"))
    };
    assert_eq!((served(&first), served(&second)), ((true, false), (false, true)));
    own.namespace.kubectl(&["delete", "ingressclass", &class]);
}

#[test]
fn two_controllers_of_different_classes_leave_each_other_alone() {
    let (one, other) = (Site::new("one"), Site::new("other"));
    one.namespace.apply(&one.ingress("mine", "mine.test", "web", &[]));
    one.namespace.apply(&other.ingress("theirs", "theirs.test", "web", &[]));
    let first = one.control_as("one-0", &["--publish-status-address=1.1.1.1"]);
    let second = other.control_as("other-0", &["--publish-status-address=2.2.2.2"]);
    first.wait_until("both are published", || {
        one.published("mine") == "1.1.1.1" && one.published("theirs") == "2.2.2.2"
    });
    // An Ingress that changes hands is written by its new controller and no longer by the old one.
    let patch = format!(r#"{{"spec": {{"ingressClassName": "{}"}}}}"#, other.class());
    one.namespace.kubectl(&["patch", "ingress", "mine", "--patch", &patch]);
    second.wait_until("it changed hands", || one.published("mine") == "2.2.2.2");
    let writes = |controller: &genkan_e2e::Genkan| controller.errors().matches("is not written").count();
    assert_eq!((writes(&first), writes(&second)), (0, 0));
}

#[test]
fn problems_and_syncs_are_events_at_their_objects() {
    let site = Site::new("events");
    let mistyped = [("rate-limit-rps", "5")];
    site.namespace.apply(&(echoes("web", 1) + &site.ingress("web", "web.test", "web", &mistyped)));
    site.namespace.wait_rolled_out("deployment/web");
    let genkan = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4"]);
    genkan.wait_until("the problem is an Event", || site.events("web").contains(&"UnknownAnnotation".to_owned()));
    let described = site.namespace.kubectl(&["describe", "ingress", "web"]);
    assert!(described.contains("did you mean limit-rps?"), "{described}");
    assert!(!site.events("web").contains(&"Sync".to_owned()), "what was there before is no news");
    site.namespace.apply(&site.ingress("web", "other.test", "web", &mistyped));
    genkan.wait_until("the change is an Event", || site.events("web").contains(&"Sync".to_owned()));
    genkan.wait_until("the change is served", || status(&genkan, "other.test") == 200);
    // Said again by a second controller, it is not written again.
    let count = || site.namespace.kubectl(&["get", "events", "--output", "name"]).lines().count();
    drop(genkan);
    let before = count();
    let again = site.control_as("genkan-0", &["--publish-status-address=1.2.3.4", "--election-ttl=2s"]);
    again.wait_until("it leads", || leads(&again));
    site.namespace.apply(&manifests::secret("unrelated", "a", "b"));
    site.namespace.apply(&site.ingress("web", "third.test", "web", &mistyped));
    again.wait_until("it serves", || status(&again, "third.test") == 200);
    assert_eq!(count(), before);
}
