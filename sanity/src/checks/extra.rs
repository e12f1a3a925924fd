//! Checks that the Go suite does not have, numbered from 101. Each stands for a sentence of the specification.

pub(super) mod capacity;
pub(super) mod concurrency;
pub(super) mod conditions;
pub(super) mod errors;
pub(super) mod groups;
pub(super) mod health;
pub(super) mod limits;
pub(super) mod names;
pub(super) mod paging;
pub(super) mod publish_table;
pub(super) mod restart;
pub(super) mod secrets;
pub(super) mod undeclared;
