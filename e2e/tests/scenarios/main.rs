//! The scenarios against a Kubernetes API server that exists only in this process: each passes on a cluster that does what it
//! should, each fails on a cluster that doesn't, none leaves anything behind, and failures leave evidence.

mod api;
mod checks;
mod commands;
mod controllers;
