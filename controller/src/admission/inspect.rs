//! Inspection: texts in hosts and paths that only make sense as an attack on nginx's configuration. Here they would do
//! nothing; ingress-nginx refuses them (`--deep-inspect`), and so does this, as who writes them means no good.

use crate::resources::Ingress;

/// Places that no path of a site is called like.
const PLACES: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/nginx",
    "/etc/ingress-controller",
    "/var/run/secrets",
    "_by_lua",
];

/// Directives of nginx, when a semicolon follows somewhere.
const DIRECTIVES: &[&str] = &["alias", "root"];

/// The field and the text in it that are refused, if there are any.
pub(super) fn inspect(ingress: &Ingress) -> Option<(String, &'static str)> {
    let spec = ingress.spec.as_deref()?;
    let rules = spec.rules.iter().flatten().enumerate();
    let of_rules = rules.flat_map(|(index, rule)| {
        let host = rule.host.as_deref().map(|host| (format!("spec.rules[{index}].host"), host));
        let paths = rule.http.iter().flat_map(|http| &http.paths).enumerate();
        let paths = paths.filter_map(move |(at, path)| {
            Some((format!("spec.rules[{index}].http.paths[{at}].path"), path.path.as_deref()?))
        });
        host.into_iter().chain(paths)
    });
    let of_tls = spec.tls.iter().flatten().enumerate().flat_map(|(index, entry)| {
        let secret = entry.secret_name.as_deref().map(|name| (format!("spec.tls[{index}].secretName"), name));
        let hosts = entry.hosts.iter().flatten().enumerate();
        secret.into_iter().chain(hosts.map(move |(at, host)| (format!("spec.tls[{index}].hosts[{at}]"), host.as_str())))
    });
    of_rules.chain(of_tls).find_map(|(field, text)| refused(text).map(|found| (field, found)))
}

fn refused(text: &str) -> Option<&'static str> {
    let place = PLACES.iter().copied().find(|place| text.contains(place));
    place.or_else(|| {
        DIRECTIVES.iter().copied().find(|word| text.find(word).is_some_and(|at| text[at + word.len()..].contains(';')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ingress_nginx_refuses_is_refused() {
        for text in
            ["/a/etc/passwd", "/x { alias /etc/x; }", "/a root b;", "/var/run/secrets/x", "/content_by_lua_block"]
        {
            assert!(refused(text).is_some(), "{text}");
        }
        for text in ["/alias", "/rooted/tree", "/etc/motd", "/;root", "/by_lua", "/"] {
            assert!(refused(text).is_none(), "{text}");
        }
    }
}
