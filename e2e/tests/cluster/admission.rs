//! The admission webhook: the API server asks Genkan, by the Service that its configuration names.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use genkan_e2e::cluster::executable;
use genkan_e2e::genkan::free_address;
use genkan_e2e::{Cluster, Genkan};
use serde_json::Value;

use crate::site::{Site, fixed_service};

/// A site whose Ingresses are judged.
struct Hall {
    site: Site<'static>,
    /// The ports of the replicas, on every address of the host.
    ports: [u16; 2],
}

impl Hall {
    fn new(prefix: &str) -> Self {
        let hall = Self { site: Site::new(prefix), ports: [free_address().port(), free_address().port()] };
        hall.lead_to(0);
        hall.configure();
        hall
    }

    /// The webhook's Service leads to this replica.
    fn lead_to(&self, replica: usize) {
        let address = SocketAddr::new(Cluster::shared().host_address(), self.ports[replica]);
        self.site.namespace.apply(&fixed_service("webhook", address));
    }

    /// Writes the configuration as the chart does, without a caBundle. Only this namespace is judged.
    fn configure(&self) {
        let name = self.site.class();
        let configuration = format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: {name}}}\n\
             webhooks:\n- name: validate.nginx.ingress.kubernetes.io\n  admissionReviewVersions: [v1]\n  sideEffects: None\n\
             \x20 failurePolicy: Fail\n  rules: [{{apiGroups: [networking.k8s.io], apiVersions: [v1], operations: \
             [CREATE, UPDATE], resources: [ingresses]}}]\n  namespaceSelector: {{matchLabels: \
             {{kubernetes.io/metadata.name: {name}}}}}\n  clientConfig: {{service: {{namespace: {name}, name: webhook, \
             port: 80, path: /networking/v1/ingresses}}}}\n"
        );
        self.site.namespace.apply(&configuration);
    }

    /// Starts a replica that looks after the certificate.
    fn control(&self, replica: usize) -> Genkan {
        let name = self.site.class();
        let flags = [
            format!("--validating-webhook=0.0.0.0:{}", self.ports[replica]),
            format!("--validating-webhook-service={name}/webhook"),
            format!("--validating-webhook-configuration={name}"),
            format!("--validating-webhook-secret={name}/webhook-certificate"),
            "--update-status=false".to_owned(),
            "--election-ttl=4s".to_owned(),
        ];
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        self.site.control_as(&format!("genkan-{replica}"), &flags)
    }

    /// Applies a manifest: whether it went well, and everything that kubectl printed.
    fn apply(&self, manifest: &str, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(executable("cluster"));
        command.arg("kubectl").arg("--kubeconfig").arg(self.site.kubeconfig());
        command.args(["--namespace", self.site.class(), "apply", "-f", "-"]).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// Whether the API server gets an answer.
    fn answers(&self) -> bool {
        let good = self.site.ingress("probe", "probe.test", "web", &[]);
        self.apply(&good, &["--dry-run=server"]).0
    }

    fn wait_for_answers(&self) {
        self.site.namespace.wait_until("the API server is answered", || self.answers());
    }

    fn refused(&self, manifest: &str, part: &str) {
        let (applied, text) = self.apply(manifest, &[]);
        assert!(!applied, "{text}");
        assert!(
            text.contains("admission webhook \"validate.nginx.ingress.kubernetes.io\" denied the request: "),
            "{text}"
        );
        assert!(text.contains(part), "{text}");
    }

    fn accepted(&self, manifest: &str) -> String {
        let (applied, text) = self.apply(manifest, &[]);
        assert!(applied, "{text}");
        text
    }

    fn configuration(&self) -> Value {
        let name = format!("validatingwebhookconfiguration/{}", self.site.class());
        self.site.namespace.get(&name).expect("there is a configuration")
    }

    fn bundle(&self) -> Option<String> {
        self.configuration()["webhooks"][0]["clientConfig"]["caBundle"].as_str().map(str::to_owned)
    }

    /// The certificate in the Secret; nothing while there is no Secret.
    fn certificate(&self) -> Option<String> {
        let secret = self.site.namespace.get("secret/webhook-certificate")?;
        secret["data"]["tls.crt"].as_str().map(str::to_owned)
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        // It belongs to no namespace, and would outlive this one's.
        let arguments = ["delete", "validatingwebhookconfiguration", self.site.class()];
        let _ = self.site.namespace.try_kubectl(&arguments);
    }
}

#[test]
fn an_ingress_is_judged_before_it_is_stored() {
    let hall = Hall::new("admission");
    let genkan = hall.control(0);
    let site = &hall.site;
    hall.wait_for_answers();
    hall.refused(
        &site.ingress("bad", "bad.test", "web", &[("proxy-body-size", "banana")]),
        "proxy-body-size: \"banana\"",
    );
    hall.refused(&site.ingress("bad", "bad.test", "web", &[("server-snippet", "x")]), "raw nginx configuration");
    let text = hall.accepted(&site.ingress("slip", "slip.test", "web", &[("proxy-bdy-size", "8m")]));
    assert!(text.contains("Warning: unknown annotation"), "{text}");
    assert!(text.contains("did you mean proxy-body-size?"), "{text}");
    assert!(text.contains("Service") && text.contains("web does not exist"), "{text}");

    hall.accepted(&site.ingress("first", "shared.test", "web", &[]));
    let second = |annotations: &[(&str, &str)]| site.ingress("second", "shared.test", "web", annotations);
    let owner = format!("is already defined in ingress {}/first", site.class());
    // The API server told us of the first before or after it told kubectl.
    site.namespace.wait_until("the first is known", || !hall.apply(&second(&[]), &["--dry-run=server"]).0);
    hall.refused(&second(&[]), &owner);
    hall.accepted(&second(&[("canary", "true"), ("canary-weight", "10")]));

    let foreign = site.ingress("foreign", "shared.test", "web", &[("server-snippet", "x")]);
    hall.accepted(&foreign.replace(&format!("ingressClassName: {}", site.class()), "ingressClassName: nobodys"));
    let metrics = genkan.admin_get("/metrics").1;
    assert!(metrics.contains("nginx_ingress_controller_admission_tested_ingresses{"), "{metrics}");
}

#[test]
fn a_secret_that_only_the_new_ingress_names_is_looked_at() {
    let hall = Hall::new("admission-secret");
    let _genkan = hall.control(0);
    hall.wait_for_answers();
    let made = rcgen::generate_simple_self_signed(vec!["right.test".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = [format!("--cert={}", certificate.display()), format!("--key={}", key.display())];
    hall.site.namespace.kubectl(&["create", "secret", "tls", "pair", &files[0], &files[1]]);
    let with_tls = |host: &str, secret: &str| {
        let ingress = hall.site.ingress("tls", host, "web", &[]);
        ingress.replace("  rules:\n", &format!("  tls: [{{hosts: [{host}], secretName: {secret}}}]\n  rules:\n"))
    };
    let said = |manifest: &str| hall.apply(manifest, &["--dry-run=server"]).1;
    assert!(said(&with_tls("wrong.test", "pair")).contains("is for right.test, not for wrong.test"));
    let text = said(&with_tls("right.test", "pair"));
    assert!(!text.contains("Secret"), "{text}");
    let text = said(&with_tls("right.test", "gone"));
    assert!(text.contains("Warning: ") && text.contains("gone does not exist"), "{text}");
}

#[test]
fn the_certificate_is_made_shared_and_replaced() {
    let hall = Hall::new("admission-ca");
    let _first = hall.control(0);
    hall.wait_for_answers();
    let before = hall.bundle().expect("the caBundle is written");
    // Somebody writes the configuration anew.
    hall.site.namespace.kubectl(&["delete", "validatingwebhookconfiguration", hall.site.class()]);
    hall.configure();
    hall.site.namespace.wait_until("the caBundle is written again", || hall.bundle().as_ref() == Some(&before));

    // Another replica shows the same certificate.
    let _second = hall.control(1);
    hall.lead_to(1);
    hall.wait_for_answers();

    // The Secret goes: another is made, and what is shown until then stays trusted.
    let old = hall.certificate().expect("the Secret is there");
    hall.site.namespace.kubectl(&["delete", "secret", "webhook-certificate"]);
    hall.site.namespace.wait_until("there is another certificate", || {
        assert!(hall.answers());
        hall.certificate().is_some_and(|new| new != old)
    });
    hall.site.namespace.wait_until("its CA is in the caBundle", || {
        assert!(hall.answers());
        hall.bundle().is_some_and(|bundle| bundle != before)
    });
    for replica in [0, 1] {
        hall.lead_to(replica);
        hall.wait_for_answers();
    }
}

#[test]
fn a_secret_that_somebody_else_made_is_left_alone_and_told() {
    let hall = Hall::new("admission-theirs");
    let keys = ["--from-literal=tls.crt=theirs", "--from-literal=tls.key=the-only-copy"];
    hall.site.namespace.kubectl(&[&["create", "secret", "generic", "webhook-certificate"][..], &keys].concat());
    let content = || hall.site.namespace.get("secret/webhook-certificate").unwrap();
    let before = content();
    let genkan = hall.control(0);
    let told = || genkan.admin_get("/readyz");
    genkan.wait_until("it is told", || {
        let (status, text) = told();
        status == 200
            && text.contains("- the admission webhook has no certificate yet\n")
            && text.contains("its Secret was not made for this")
            && !text.contains("webhook-certificate")
    });
    genkan.wait_until("the log says whose", || genkan.errors().contains("webhook-certificate was not made for this"));
    assert_eq!(content(), before);
    assert!(!hall.answers());

    hall.site.namespace.kubectl(&["delete", "secret", "webhook-certificate"]);
    hall.wait_for_answers();
    genkan.wait_until("all is well", || told() == (200, "ready\n".to_owned()));
}
