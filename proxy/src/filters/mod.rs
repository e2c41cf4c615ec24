//! Filters: one small pure decision each, in the order of `genkan_routing::model::Stage`.
