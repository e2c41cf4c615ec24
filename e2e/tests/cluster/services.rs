//! Services as a real control plane fills them: hints for zones, ports of TCP and UDP.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use genkan_e2e::PATIENCE;
use genkan_e2e::genkan::free_address;
use genkan_e2e::http1;

use crate::site::{Site, echoes};

/// The node of a Pod.
fn node(pod: &genkan_e2e::cluster::Pod) -> String {
    pod.object["spec"]["nodeName"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn requests_stay_in_the_zone_where_the_service_asks_for_it() {
    let site = Site::new("zones");
    let close = echoes("close", 3).replace("spec: {selector", "spec: {trafficDistribution: PreferClose, selector");
    let anywhere = echoes("anywhere", 3);
    let routes =
        site.ingress("close", "close.test", "close", &[]) + &site.ingress("anywhere", "anywhere.test", "anywhere", &[]);
    site.namespace.apply(&(close + &anywhere + &routes));
    for name in ["close", "anywhere"] {
        site.namespace.wait_rolled_out(&format!("deployment/{name}"));
    }
    let genkan = site.pod(&["--enable-topology-aware-routing"]);
    // The three nodes are in three zones, and each has one of the three.
    let near: BTreeSet<_> = site
        .namespace
        .pods("app=close")
        .into_iter()
        .filter(|pod| node(pod) == node(&genkan))
        .map(|pod| pod.name)
        .collect();
    assert_eq!(near.len(), 1, "{near:?}");
    let answering = |host: &str| -> BTreeSet<String> {
        let answers = (0..12).map(|_| http1::get(genkan.at(80), host, "/"));
        answers.map(|answer| answer.field("x-echo-name").unwrap_or("none").to_owned()).collect()
    };
    site.namespace.wait_until("only the near one answers", || answering("close.test") == near);
    assert_eq!(answering("anywhere.test").len(), 3);
}

/// A Pod that sends datagrams back, and its Service.
const UDP_ECHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: dns, labels: {app: dns}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: host
    command:
    - python3
    - -c
    - |
      import socket
      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      s.bind(("0.0.0.0", 5353))
      while True:
          data, client = s.recvfrom(2048)
          s.sendto(b"got " + data, client)
---
apiVersion: v1
kind: Service
metadata: {name: dns}
spec: {selector: {app: dns}, ports: [{name: dns, protocol: UDP, port: 53, targetPort: 5353}]}
---
"#;

fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

/// The answer to a request that is sent as bytes, after a PROXY header.
fn announced(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "PROXY TCP4 192.0.2.7 198.51.100.1 4000 80\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ask(address: SocketAddr, text: &str) -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    socket.connect(address).unwrap();
    socket.send(text.as_bytes()).ok()?;
    let mut buffer = [0; 2048];
    let count = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

#[test]
fn ports_of_tcp_and_udp_follow_their_config_maps() {
    let site = Site::new("streams");
    let name = site.namespace.name();
    site.namespace.apply(&(echoes("web", 2) + UDP_ECHO));
    site.namespace.wait_rolled_out("deployment/web");
    let flags = [format!("--tcp-services-configmap={name}/tcp"), format!("--udp-services-configmap={name}/udp")];
    let genkan = site.control(&[&flags[0], &flags[1]]);
    let (one, two, dns) = (free_address(), free_address(), free_address());

    // The ConfigMaps come later than we do.
    let entry = |map: &str, port: SocketAddr, value: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {map}}}, data: {{'{}': '{value}'}}}}\n---\n",
            port.port()
        )
    };
    let from = |map: &str, port: SocketAddr, service: &str| entry(map, port, &format!("{name}/{service}"));
    site.namespace.apply(&(from("tcp", one, "web:80:PROXY") + &from("udp", dns, "dns:dns")));
    genkan.wait_until("the port opens", || is_open(one));
    let answer = announced(one);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    genkan.wait_until("datagrams are answered", || ask(dns, "you").as_deref() == Some("got you"));
    // Those that only looked whether the port is open have lines of their own.
    while !genkan.log_line().starts_with("[192.0.2.7] [") {}

    site.namespace.kubectl(&["delete", "configmap", "udp"]);
    site.namespace.apply(&from("tcp", two, "web:http:PROXY"));
    genkan.wait_until("another opens and it closes", || is_open(two) && !is_open(one));
    site.namespace.kubectl(&["scale", "deployment/web", "--replicas=0"]);
    genkan.wait_until("without endpoints it is not open", || !is_open(two));
    site.namespace.kubectl(&["scale", "deployment/web", "--replicas=1"]);
    genkan.wait_until("it opens again", || is_open(two));
    assert!(announced(two).starts_with("HTTP/1.1 200 "));
}
