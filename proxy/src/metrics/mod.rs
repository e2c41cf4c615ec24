//! Metrics under the names that dashboards of ingress-nginx know.
