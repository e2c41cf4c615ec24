//! Class: which Ingresses are ours (`spec.ingressClassName`, `kubernetes.io/ingress.class`).

use genkan_routing::name::{ObjectRef, Origin};
use genkan_routing::report::Problem;

use crate::resources::{Ingress, Kind, NamespacedName};
use crate::translate::reader::Reader;

/// The annotation that named a class before the field did.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The `spec.controller` that is ours while no flag names another.
const OWN_CONTROLLER: &str = "genkan.dev/ingress-controller";

/// Whose an Ingress is.
#[derive(Debug, PartialEq)]
pub(super) enum Class {
    /// Ours.
    Ours,
    /// Another controller's.
    Foreign,
    /// Nobody's, by what looks like a slip.
    Lost(Box<Problem>),
}

/// The field decides where it is set, and then its IngressClass must exist; else the annotation; else the flag
/// `--watch-ingress-without-class`.
pub(super) fn of(ingress: &Ingress, object: &ObjectRef, reader: &Reader<'_>) -> Class {
    let settings = reader.settings();
    let ours = |yes| if yes { Class::Ours } else { Class::Foreign };
    let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    let annotation = ingress.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_ANNOTATION));
    if !reader.is_watched(&object.namespace) {
        return Class::Foreign;
    }
    match (field, annotation) {
        // Without the right to read IngressClasses the field says nothing.
        (Some(_), annotation) if !reader.can_read(Kind::IngressClass) => {
            ours(annotation.map_or(settings.watch_ingress_without_class, |name| *name == settings.ingress_class))
        }
        (Some(name), _) => match reader.ingress_class(&NamespacedName::new("", name)) {
            Some(class) => {
                let controller = class.spec.as_ref().and_then(|spec| spec.controller.as_deref());
                let by_controller = controller.is_some_and(|it| {
                    it == settings.controller_class || settings.own_controller_class && it == OWN_CONTROLLER
                });
                ours(by_controller || settings.ingress_class_by_name && name == settings.ingress_class)
            }
            None if name == settings.ingress_class => Class::Lost(Box::new(missing(name, object, settings))),
            None => Class::Foreign,
        },
        (None, Some(name)) => ours(*name == settings.ingress_class),
        (None, None) => ours(settings.watch_ingress_without_class),
    }
}

fn missing(name: &str, object: &ObjectRef, settings: &crate::settings::Settings) -> Problem {
    let message = format!("IngressClass {name} does not exist; the Ingress is not served");
    Problem::error(Origin::new(object.clone(), "spec.ingressClassName"), "IngressClassNotFound", message)
        .with_mend(format!("create it with spec.controller: {}", settings.controller_class))
}
