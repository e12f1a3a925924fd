//! What a node does to the driver's pod while volumes are written: the shipped image in a container of the lab, as the chart has it.

#![expect(clippy::unwrap_used, reason = "a test may panic; the allowance for tests does not reach their helpers")]

mod fixture;
mod frozen_disk;
mod replacement;
