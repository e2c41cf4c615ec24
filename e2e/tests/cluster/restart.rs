//! A pull of the plug: after `kill -9` amid changes, a restarted controller has the table of a fresh one.

use std::thread;

use genkan_e2e::load::Load;
use genkan_e2e::{Cluster, Echo};

use crate::site::{Site, fixed_service, status};

#[test]
fn after_a_kill_amid_changes_the_table_is_that_of_a_fresh_start() {
    let site = Site::new("plug");
    let echo = Echo::start_at("web", Cluster::shared().host_address());
    let load = Load::default();
    let objects = |turn: u64| {
        let number = turn % 7;
        let annotation = [("proxy-body-size", if turn.is_multiple_of(2) { "1m" } else { "2m" })];
        let host = format!("h{}.test", (turn + turn / 7) % 9);
        fixed_service(&format!("web{number}"), echo.address())
            + &site.ingress(&format!("web{number}"), &host, &format!("web{number}"), &annotation)
    };
    (0..7).for_each(|turn| drop(site.namespace.apply(&objects(turn))));
    let mut genkan = site.control(&[]);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0;
            while !load.is_over() {
                turn += 1;
                if turn % 5 == 0 {
                    let name = format!("web{}", turn % 7);
                    site.namespace.kubectl(&["delete", "ingress", &name, "--ignore-not-found"]);
                } else {
                    site.namespace.apply(&objects(turn));
                }
                load.count();
            }
        });
        for _ in 0..3 {
            let before = load.done();
            site.namespace.wait_until("changes go on", || load.done() > before + 3);
            genkan.kill();
            genkan = site.control(&[]);
        }
        load.end();
    });
    site.namespace.apply(&site.ingress("last", "last.test", "web0", &[]));
    let fresh = site.control(&[]);
    genkan.wait_until("the last change is served", || {
        status(&genkan, "last.test") == 200 && status(&fresh, "last.test") == 200
    });
    // The ports that were asked for differ; nothing else may.
    let table = |genkan: &genkan_e2e::Genkan| {
        let text = genkan.admin_get("/snapshot").1;
        let own = [genkan.http().port(), genkan.https().port()];
        own.iter().fold(text, |text, port| text.replace(&port.to_string(), "PORT"))
    };
    let strip = |text: String| {
        // The generated default certificate is another one in every process.
        let lines = text.lines().filter(|line| !line.contains("fingerprint") && !line.contains("notAfter"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (restarted, fresh) = (strip(table(&genkan)), strip(table(&fresh)));
    assert!(restarted.len() > 100, "{restarted:?}");
    assert_eq!(restarted, fresh);
}
