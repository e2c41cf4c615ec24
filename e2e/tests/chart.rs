//! The Helm chart: what it makes of the values files in `charts/genkan/ci`, and which values it refuses.
//!
//! `chart/NAME.yaml` holds the objects and the notes of `ci/NAME-values.yaml`; with `GENKAN_UPDATE_GOLDEN=1` they are
//! written anew.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

#[path = "chart/typed.rs"]
mod typed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use genkan_e2e::genkan::binary;
use genkan_e2e::helm::{chart, helm, notes, printed, template};
use serde_json::Value;

const RELEASE: &str = "edge";

/// The values files: name and path.
fn cases() -> Vec<(String, String)> {
    let mut cases: Vec<_> = fs::read_dir(chart().join("ci"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            (file.strip_suffix("-values.yaml").unwrap().to_owned(), path.to_string_lossy().into_owned())
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty());
    cases
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The documents of a stream that are not empty.
fn objects(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|text| text.trim_start_matches("---\n")).map(yaml).filter(|it| !it.is_null()).collect()
}

fn rendered(arguments: &[&str]) -> Vec<Value> {
    objects(&template(RELEASE, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}")))
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}

/// The arguments of the controller's container.
fn arguments(objects: &[Value]) -> Vec<String> {
    let pods = objects.iter().filter(|object| ["Deployment", "DaemonSet"].iter().any(|kind| object["kind"] == *kind));
    let lists = pods.filter_map(|object| object["spec"]["template"]["spec"]["containers"][0]["args"].as_array());
    lists.flatten().map(|argument| argument.as_str().unwrap().to_owned()).filter(|it| it != "controller").collect()
}

/// What a set of values is refused with.
fn refusal(set: &str) -> String {
    template(RELEASE, &["--set", set]).expect_err(set)
}

#[test]
fn golden_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart");
    let update = std::env::var_os("GENKAN_UPDATE_GOLDEN").is_some();
    let mut stale = Vec::new();
    let mut expected = BTreeSet::new();
    for (name, values) in cases() {
        let objects = template(RELEASE, &["--values", &values]).unwrap();
        let told = notes(RELEASE, &["--values", &values]).unwrap();
        let told: String =
            told.trim_end().lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
        let actual = format!("{}\n---\n# NOTES\n{told}", objects.trim_end());
        let golden = folder.join(format!("{name}.yaml"));
        expected.insert(golden.clone());
        if fs::read_to_string(&golden).unwrap_or_default() == actual {
            continue;
        }
        if update {
            fs::write(&golden, actual).unwrap();
        } else {
            eprintln!("--- {}\n{actual}", golden.display());
            stale.push(golden);
        }
    }
    assert!(stale.is_empty(), "differ from what the chart gives (printed above): {stale:#?}");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<PathBuf> = files.filter(|path| path.extension().is_some_and(|it| it == "yaml")).collect();
    assert_eq!(there, expected, "a golden file without its values file");
}

#[test]
fn the_name_of_the_controller_and_ports_that_are_open_are_told() {
    let set = "controller.gatewayControllerName=a.test/b,controller.hostNetwork=true,\
               controller.extraArgs.gateway-target-ports=30000-30009";
    let told = notes(RELEASE, &["--set", set]).unwrap();
    assert!(told.contains("controllerName a.test/b are served"), "{told}");
    assert!(told.contains("ports 30000-30009 are open on the nodes"), "{told}");
    let arguments = arguments(&rendered(&["--set", set]));
    assert!(arguments.contains(&"--gateway-controller-name=a.test/b".to_owned()), "{arguments:?}");
    let usual = notes(RELEASE, &[]).unwrap();
    assert!(!usual.contains("are open on the nodes"), "{usual}");
}

#[test]
fn helm_has_no_complaint() {
    let chart = chart().to_string_lossy().into_owned();
    for (name, values) in cases() {
        let told = printed(helm(&["lint", "--strict", &chart, "--values", &values]));
        assert!(told.is_ok(), "{name}: {told:?}");
    }
}

#[test]
fn every_object_has_only_fields_of_its_type() {
    for (name, values) in cases() {
        for object in rendered(&["--values", &values]) {
            let told = typed::check(&object);
            assert_eq!(told, Ok(()), "{name}: {} {}", object["kind"], object["metadata"]["name"]);
        }
    }
}

#[test]
fn no_object_is_made_twice() {
    for (name, values) in cases() {
        let mut seen = BTreeSet::new();
        for object in rendered(&["--values", &values]) {
            let metadata = &object["metadata"];
            let key = format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"]);
            assert!(seen.insert(key.clone()), "{name}: {key}");
        }
    }
}

#[test]
fn pods_are_as_restricted_as_pod_security_admission_can_ask() {
    let objects = rendered(&[]);
    let pod = &find(&objects, "Deployment", "edge-genkan-controller").unwrap()["spec"]["template"]["spec"];
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["runAsNonRoot"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(container["capabilities"]["add"], serde_json::json!(["NET_BIND_SERVICE"]));
    assert_eq!(pod["securityContext"]["sysctls"][0]["name"], "net.ipv4.ip_unprivileged_port_start");
}

#[test]
fn a_pod_in_the_network_of_its_node_has_no_sysctl_of_the_network() {
    let objects = rendered(&["--set", "controller.hostNetwork=true"]);
    let pod = &find(&objects, "Deployment", "edge-genkan-controller").unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert!(pod["securityContext"].is_null(), "{}", pod["securityContext"]);
}

/// Roles of any kind with their rules: kind, namespace, name, rules.
fn roles(objects: &[Value]) -> impl Iterator<Item = (&Value, &Vec<Value>)> {
    let roles = objects.iter().filter(|object| ["Role", "ClusterRole"].iter().any(|kind| object["kind"] == *kind));
    roles.map(|role| (role, role["rules"].as_array().unwrap()))
}

fn has(rule: &Value, field: &str, text: &str) -> bool {
    rule[field].as_array().is_some_and(|items| items.iter().any(|item| item == text))
}

/// Whether it keeps the controller's account to Services and slices that it made itself.
fn confines_services(object: &Value) -> bool {
    let spec = &object["spec"];
    object["kind"] == "ValidatingAdmissionPolicy"
        && spec["failurePolicy"] == "Fail"
        && spec["matchConditions"][0]["expression"].as_str().is_some_and(|it| it.contains("system:serviceaccount:"))
        && spec["validations"].as_array().is_some_and(|all| all.len() == 3)
}

#[test]
fn services_are_written_only_for_gateways_and_not_when_that_is_turned_off() {
    let writes = |set: &str| {
        let objects = rendered(&["--set", set]);
        let rights = roles(&objects).any(|(_, rules)| {
            let written = |rule: &Value| has(rule, "resources", "services") && has(rule, "verbs", "create");
            rules.iter().any(written)
        });
        let flag = arguments(&objects).iter().any(|it| it.starts_with("--gateway-service="));
        assert_eq!(flag, rights, "who may not make them does not try");
        assert_eq!(objects.iter().any(confines_services), rights);
        rights
    };
    assert!(writes("controller.kind=Deployment"));
    assert!(writes("controller.scope.enabled=true"));
    assert!(!writes("rbac.gatewayServices=false"));
    // Without GatewayClasses there is no Gateway.
    assert!(!writes("controller.scope.enabled=true,rbac.scope=true"));
}

#[test]
fn no_right_is_given_for_everything() {
    for (name, values) in cases() {
        let objects = rendered(&["--values", &values]);
        for (role, rules) in roles(&objects) {
            for rule in rules {
                for field in ["apiGroups", "resources", "verbs"] {
                    assert!(!has(rule, field, "*"), "{name}: {} {rule}", role["metadata"]["name"]);
                }
                // What is written besides statuses and Events is named, or new.
                let writes = ["update", "patch", "delete"].iter().any(|verb| has(rule, "verbs", verb));
                let subresource = rule["resources"].as_array().unwrap().iter().all(|resource| {
                    resource.as_str().is_some_and(|resource| resource.ends_with("/status") || resource == "events")
                });
                // No role can say "its own Services": a policy does.
                let of_gateways =
                    [["services"], ["endpointslices"]].iter().any(|it| rule["resources"] == serde_json::json!(it));
                let confined = of_gateways && objects.iter().any(confines_services);
                assert!(!writes || subresource || confined || rule["resourceNames"].is_array(), "{name}: {rule}");
            }
        }
    }
}

#[test]
fn with_a_scope_secrets_are_read_in_its_namespace_alone() {
    let objects = rendered(&["--set", "controller.scope.enabled=true,controller.scope.namespace=team"]);
    let reading: Vec<_> = roles(&objects)
        .filter(|(_, rules)| rules.iter().any(|rule| has(rule, "resources", "secrets") && has(rule, "verbs", "list")))
        .map(|(role, _)| (role["kind"].as_str().unwrap(), role["metadata"]["namespace"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(reading, [("Role", "team")]);
    let objects = rendered(&["--set", "controller.scope.enabled=true,rbac.scope=true"]);
    let cluster: Vec<_> = roles(&objects).filter(|(role, _)| role["kind"] == "ClusterRole").collect();
    assert_eq!(cluster.len(), 1, "only the admission webhook's own: {cluster:?}");
    assert_eq!(cluster[0].1[0]["resourceNames"], serde_json::json!(["edge-genkan-admission"]));
}

#[test]
fn nodes_are_read_only_when_something_needs_them() {
    let reads_nodes = |set: &str| {
        let objects = rendered(&["--set", set]);
        roles(&objects).any(|(_, rules)| rules.iter().any(|rule| has(rule, "resources", "nodes")))
    };
    assert!(!reads_nodes("controller.kind=Deployment"));
    assert!(reads_nodes("controller.publishService.enabled=false"));
    assert!(reads_nodes("controller.enableTopologyAwareRouting=true"));
    let by_hand = "controller.publishService.enabled=false,controller.extraArgs.publish-status-address=192.0.2.1";
    assert!(!reads_nodes(by_hand));
}

#[test]
fn statuses_are_not_written_when_the_controller_is_told_not_to() {
    let objects = rendered(&["--set-string", "controller.extraArgs.update-status=false"]);
    assert!(arguments(&objects).contains(&"--update-status=false".to_owned()));
    let written =
        roles(&objects).any(|(_, rules)| rules.iter().any(|rule| rule["resources"].to_string().contains("/status")));
    assert!(!written);
}

#[test]
fn extra_arguments_take_the_place_of_the_charts_own() {
    let objects = rendered(&[
        "--set",
        "controller.extraArgs.http-port=8080,controller.extraArgs.publish-service=null,\
         controller.extraArgs.enable-ssl-passthrough=,controller.extraArgs.max-buckets=10000000",
    ]);
    let arguments = arguments(&objects);
    let with = |start: &str| arguments.iter().filter(|it| it.starts_with(start)).cloned().collect::<Vec<_>>();
    assert_eq!(with("--http-port"), ["--http-port=8080"]);
    assert_eq!(with("--publish-service"), [""; 0]);
    assert_eq!(with("--enable-ssl-passthrough"), ["--enable-ssl-passthrough"]);
    assert_eq!(with("--max-buckets"), ["--max-buckets=10000000"]);
}

#[test]
fn the_controller_has_every_flag_that_the_chart_gives() {
    let output = Command::new(binary()).args(["controller", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let known: BTreeSet<_> = help.split_whitespace().filter_map(|word| word.split(['[', '=']).next()).collect();
    let everything = "controller.metrics.enabled=true,controller.electionTTL=15s,controller.healthCheckHost=10.0.0.1,\
        controller.healthCheckPath=/health,controller.scope.namespaceSelector=a=b,controller.ingressClassByName=true,\
        controller.watchIngressWithoutClass=true,controller.disableLeaderElection=true,\
        controller.enableTopologyAwareRouting=true,defaultBackend.enabled=true,defaultBackend.image.image=errors,\
        controller.hostNetwork=true,controller.reportNodeInternalIp=true,\
        controller.extraArgs.enable-ssl-passthrough=,tcp.9000=a/b:1,udp.53=a/b:53"
        .replace(char::is_whitespace, "");
    let mut seen = BTreeSet::new();
    for more in ["", ",controller.scope.enabled=true", ",controller.admissionWebhooks.patch.enabled=false"] {
        for argument in arguments(&rendered(&["--set", &format!("{everything}{more}")])) {
            let flag = argument.split('=').next().unwrap().to_owned();
            assert!(known.contains(flag.as_str()), "{flag} is not in {known:?}");
            seen.insert(flag);
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn an_address_by_hand_takes_the_place_of_the_service() {
    let objects = rendered(&["--set", "controller.extraArgs.publish-status-address=192.0.2.1"]);
    let published: Vec<_> =
        arguments(&objects).into_iter().filter(|argument| argument.starts_with("--publish")).collect();
    assert_eq!(published, ["--publish-status-address=192.0.2.1"]);
}

#[test]
fn an_installation_of_ingress_nginx_keeps_its_names_and_selectors() {
    let objects = objects(&template("ingress-nginx", &["--set", "nameOverride=ingress-nginx"]).unwrap());
    let deployment = find(&objects, "Deployment", "ingress-nginx-controller").unwrap();
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        serde_json::json!({
            "app.kubernetes.io/name": "ingress-nginx",
            "app.kubernetes.io/instance": "ingress-nginx",
            "app.kubernetes.io/component": "controller",
        })
    );
    for (kind, name) in [
        ("Service", "ingress-nginx-controller"),
        ("Service", "ingress-nginx-controller-admission"),
        ("ConfigMap", "ingress-nginx-controller"),
        ("ServiceAccount", "ingress-nginx"),
        ("ClusterRole", "ingress-nginx"),
        ("ValidatingWebhookConfiguration", "ingress-nginx-admission"),
        ("IngressClass", "nginx"),
    ] {
        assert!(find(&objects, kind, name).is_some(), "{kind} {name}");
    }
    let service = "--publish-service=$(POD_NAMESPACE)/ingress-nginx-controller".to_owned();
    assert!(arguments(&objects).contains(&service));
    assert!(arguments(&objects).contains(&"--election-id=ingress-nginx-leader".to_owned()));
}

#[test]
fn both_kinds_have_the_same_pod() {
    let objects = rendered(&["--set", "controller.kind=Both"]);
    let pod = |kind: &str| &find(&objects, kind, "edge-genkan-controller").unwrap()["spec"]["template"];
    assert_eq!(pod("Deployment"), pod("DaemonSet"));
}

#[test]
fn a_mistyped_value_is_refused_with_its_place_and_what_it_may_be() {
    for (set, place, told) in [
        ("controller.kind=Deploymnet", "/controller/kind", "'Deployment', 'DaemonSet', 'Both'"),
        ("controller.service.type=LoadBalancr", "/controller/service/type", "'LoadBalancer'"),
        ("controller.service.externalTrafficPolcy=Local", "/controller/service", "'externalTrafficPolcy' not allowed"),
        ("controller.ingressClassResource.nam=x", "/controller/ingressClassResource", "'nam' not allowed"),
        ("controller.replicaCount=many", "/controller/replicaCount", "got string, want integer"),
        ("controller.hostNetwork=yes", "/controller/hostNetwork", "got string, want boolean"),
        ("controller.containerPort.http=80000", "/controller/containerPort/http", "maximum: got 80,000, want 65,535"),
        ("controller.electionTTL=30", "/controller/electionTTL", "got number, want string"),
        ("defaultBackend.imagee.tag=1", "/defaultBackend", "'imagee' not allowed"),
        ("tcp.http=default/web:80", "/tcp", "'http' not allowed"),
    ] {
        let refusal = refusal(set);
        assert!(refusal.contains(place) && refusal.contains(told), "{set}: {refusal}");
    }
}

#[test]
fn what_cannot_be_installed_says_what_to_do() {
    for (set, told) in [
        ("controller.customTemplate.configMapName=mine", "controller.customTemplate: Genkan has no nginx.tmpl"),
        ("rbac.scope=true", "Set controller.scope.enabled as well"),
        ("defaultBackend.enabled=true", "name an image that answers 404"),
    ] {
        let refusal = refusal(set);
        assert!(refusal.contains(told), "{set}: {refusal}");
    }
}

#[test]
fn a_key_that_nobody_knows_is_told() {
    let told = notes(RELEASE, &["--set", "controller.replicas=2,contoller.kind=DaemonSet"]).unwrap();
    assert!(told.contains("- controller.replicas: no such value; it does nothing."), "{told}");
    assert!(told.contains("- contoller: no such value; it does nothing."), "{told}");
    let told = notes(RELEASE, &[]).unwrap();
    assert!(!told.contains("Values that do nothing"), "{told}");
}

#[test]
fn a_secret_of_a_name_of_ones_own_is_not_taken_for_ones_own_certificate() {
    let set = "controller.admissionWebhooks.secretName=mine";
    let told = notes(RELEASE, &["--set", set]).unwrap();
    assert!(told.contains("- controller.admissionWebhooks.secretName: Genkan makes the certificate"), "{told}");
    let given =
        format!("{set},controller.admissionWebhooks.patch.enabled=false,controller.admissionWebhooks.caBundle=x");
    let told = notes(RELEASE, &["--set", &given]).unwrap();
    assert!(!told.contains("Genkan makes the certificate"), "{told}");
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_notes_and_the_schema_know_the_same_keys() {
    let helpers = fs::read_to_string(chart().join("templates/_notes.tpl")).unwrap();
    let listed = |name: &str| -> BTreeSet<String> {
        let (_, rest) = helpers.split_once(&format!("{{{{- define \"genkan.known.{name}\" -}}}}")).unwrap();
        let (keys, _) = rest.split_once("{{- end").unwrap();
        keys.split_whitespace().map(str::to_owned).collect()
    };
    let schema = schema();
    assert_eq!(listed("root"), properties(&schema));
    assert_eq!(listed("controller"), properties(&schema["definitions"]["controller"]));
}

#[test]
fn the_schema_knows_every_key_of_the_values() {
    fn walk(values: &Value, schema: &Value, all: &Value, path: &str) {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => &all["definitions"][reference.rsplit('/').next().unwrap()],
            None => schema,
        };
        let (Some(values), true) = (values.as_object(), schema["properties"].is_object()) else { return };
        for (key, value) in values {
            let property = &schema["properties"][key];
            assert!(!property.is_null(), "{path}.{key} is not in values.schema.json");
            walk(value, property, all, &format!("{path}.{key}"));
        }
    }
    let schema = schema();
    walk(&yaml(&fs::read_to_string(chart().join("values.yaml")).unwrap()), &schema, &schema, "");
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = yaml(&fs::read_to_string(chart().join("Chart.yaml")).unwrap());
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
