//! What the driver's crates and their harness all need, and what knows neither CSI nor AWS nor NFS.

pub mod causes;
pub mod core_dumps;
pub mod disk;
pub mod durable;
pub mod open_files;
pub mod regular_file;
pub mod retry;
