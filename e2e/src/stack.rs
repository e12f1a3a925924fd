//! fake-efs and the driver as processes of their own, and the clients to talk to them.

mod driver;
mod fake;
mod process;

pub use driver::{Driver, DriverOptions, Volume, many_writers};
pub use fake::Fake;
pub use process::{Exit, Process};
