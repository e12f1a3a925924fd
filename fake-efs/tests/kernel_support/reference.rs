//! Servers that others wrote.

use std::any::Any;
use std::net::SocketAddr;

/// A server that runs until this is dropped.
pub(crate) struct Reference {
    pub(crate) address: SocketAddr,
    /// What it serves.
    pub(crate) export: &'static str,
    /// What must live as long as the server, in the order in which it goes.
    pub(crate) _held: Vec<Box<dyn Any + Send>>,
}
