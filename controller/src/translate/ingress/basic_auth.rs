//! Basic authentication of an Ingress: the users in its Secret.
//!
//! What can't be found closes the paths; users whose hash can't be used are counted, and let in nobody.

use std::sync::Arc;

use genkan_annotations::{BasicAuthSettings, PasswordLayout};
use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::policy::basic_auth::BasicAuth;
use genkan_routing::report::Problem;

use crate::resources::{NamespacedName, UserList};
use crate::translate::reader::Reader;
use crate::translate::users;

/// The policy, or why every path that asks for a password answers 503.
pub(super) fn resolve(
    settings: &BasicAuthSettings,
    ingress: &NamespacedName,
    object: &ObjectRef,
    reader: &Reader<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Arc<BasicAuth>, String> {
    let field = format!("metadata.annotations[{}/auth-secret]", reader.settings().annotations_prefix);
    let origin = Origin::new(object.clone(), field);
    match find(settings, ingress, reader) {
        Ok(list) => {
            problems.extend(list.complaints().into_iter().map(|complaint| {
                let message = format!("of Secret {}: {complaint}", settings.secret);
                Problem::warning(origin.clone(), "InvalidPasswordHash", message)
            }));
            let (realm, users) = (settings.realm.clone(), Arc::clone(&list.users));
            Ok(Arc::new(BasicAuth { realm, users, forward_credentials: false }))
        }
        Err((message, mend)) => {
            let told = format!("{message}: every path answers 503, so that nothing is open");
            problems.push(Problem::error(origin, "InvalidAnnotation", told).with_mend(mend));
            Err(message)
        }
    }
}

/// The users; or what is wrong, and the mend.
fn find<'a>(
    settings: &BasicAuthSettings,
    ingress: &NamespacedName,
    reader: &Reader<'a>,
) -> Result<&'a UserList, (String, &'static str)> {
    if let Some(other) = settings.namespace.as_deref().filter(|namespace| *namespace != &*ingress.namespace) {
        let message = format!("auth-secret names a Secret of the namespace {other}");
        return Err((message, "name one of the Ingress's own namespace"));
    }
    let name = NamespacedName::new(ingress.namespace.clone(), settings.secret.as_str());
    users::find(&name, settings.layout == PasswordLayout::Map, reader)
}
