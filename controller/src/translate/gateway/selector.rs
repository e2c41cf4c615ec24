//! Selectors: which namespaces' routes a listener takes (`allowedRoutes.namespaces.selector`).

use std::collections::BTreeMap;

use gateway_api::apis::experimental::gateways::{
    GatewayAllowedListenersNamespacesSelector, GatewayListenersAllowedRoutesNamespacesSelector,
};

/// What is told of a selector beside `from: Same`, `All` or `None`.
pub(crate) const IDLE_SELECTOR: &str = "without from: Selector the selector has no effect";

/// The label that every namespace has: its own name. The API server sets it; namespaces in files may lack it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A label selector. All requirements must hold; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// Why a selector was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectorError {
    /// An operator that does not exist.
    #[error("matchExpressions[{0}]: {1:?} is not an operator; In, NotIn, Exists and DoesNotExist are")]
    Operator(usize, String),
    /// `In` and `NotIn` need values, the others must have none.
    #[error("matchExpressions[{0}]: In and NotIn need values, Exists and DoesNotExist must have none")]
    Values(usize),
}

/// A selector as the API writes it: it has a type for each place where one stands.
pub(crate) trait Written {
    /// `matchLabels`.
    fn labels(&self) -> impl Iterator<Item = (&String, &String)>;

    /// `matchExpressions`: keys, operators and values.
    fn expressions(&self) -> impl Iterator<Item = (&str, &str, &[String])>;
}

macro_rules! written {
    ($($type:ty),+) => {
        $(impl Written for $type {
            fn labels(&self) -> impl Iterator<Item = (&String, &String)> {
                self.match_labels.iter().flatten()
            }

            fn expressions(&self) -> impl Iterator<Item = (&str, &str, &[String])> {
                self.match_expressions.iter().flatten().map(|expression| {
                    let values = expression.values.as_deref().unwrap_or_default();
                    (expression.key.as_str(), expression.operator.as_str(), values)
                })
            }
        })+
    };
}

written!(GatewayListenersAllowedRoutesNamespacesSelector, GatewayAllowedListenersNamespacesSelector);

impl Selector {
    /// Parses a selector as the API writes it.
    pub(crate) fn parse(selector: &impl Written) -> Result<Self, SelectorError> {
        let mut requirements: Vec<_> = selector
            .labels()
            .map(|(key, value)| Requirement { key: key.clone(), operator: Operator::In(vec![value.clone()]) })
            .collect();
        for (index, (key, operator, values)) in selector.expressions().enumerate() {
            let values = values.to_vec();
            let operator = match (operator, values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => return Err(SelectorError::Values(index)),
                (other, _) => return Err(SelectorError::Operator(index, other.to_owned())),
            };
            requirements.push(Requirement { key: key.to_owned(), operator });
        }
        Ok(Self { requirements })
    }

    /// Whether a namespace with these labels is selected.
    pub(crate) fn matches(&self, namespace: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.requirements.iter().all(|requirement| {
            let label = labels.and_then(|labels| labels.get(&requirement.key)).map(String::as_str);
            let label = label.or((requirement.key == NAME_LABEL).then_some(namespace));
            let listed = |values: &[String]| label.is_some_and(|label| values.iter().any(|value| value == label));
            match &requirement.operator {
                Operator::In(values) => listed(values),
                Operator::NotIn(values) => !listed(values),
                Operator::Exists => label.is_some(),
                Operator::DoesNotExist => label.is_none(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use gateway_api::apis::experimental::gateways::GatewayListenersAllowedRoutesNamespacesSelectorMatchExpressions;

    use super::*;

    fn selector(key: &str, operator: &str, values: &[&str]) -> Result<Selector, SelectorError> {
        Selector::parse(&GatewayListenersAllowedRoutesNamespacesSelector {
            match_labels: None,
            match_expressions: Some(vec![GatewayListenersAllowedRoutesNamespacesSelectorMatchExpressions {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
        })
    }

    #[test]
    fn operators_are_those_of_label_selectors() {
        let labels = BTreeMap::from([("team".to_owned(), "red".to_owned())]);
        for (key, operator, values, expected) in [
            ("team", "In", &["red", "blue"] as &[_], true),
            ("team", "In", &["blue"], false),
            ("other", "In", &["red"], false),
            ("team", "NotIn", &["red"], false),
            ("other", "NotIn", &["red"], true),
            ("team", "Exists", &[], true),
            ("other", "Exists", &[], false),
            ("team", "DoesNotExist", &[], false),
            ("other", "DoesNotExist", &[], true),
        ] {
            let selector = selector(key, operator, values).unwrap();
            assert_eq!(selector.matches("web", Some(&labels)), expected, "{key} {operator} {values:?}");
        }
    }

    #[test]
    fn a_namespace_has_its_name_as_a_label() {
        let selector = selector("kubernetes.io/metadata.name", "In", &["web"]).unwrap();
        assert!(selector.matches("web", None));
        assert!(!selector.matches("other", None));
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(Selector::default().matches("web", None));
    }

    #[test]
    fn broken_expressions_are_refused() {
        assert_eq!(selector("a", "in", &["b"]), Err(SelectorError::Operator(0, "in".to_owned())));
        assert_eq!(selector("a", "In", &[]), Err(SelectorError::Values(0)));
        assert_eq!(selector("a", "Exists", &["b"]), Err(SelectorError::Values(0)));
    }
}
