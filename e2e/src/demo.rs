//! The main job from start to end, narrated: each step says what it does, proves that it worked, and how long it took.

mod io;
mod narrator;
mod steps;
mod tenants;

pub use narrator::Narrator;
pub use steps::run;
pub use tenants::run as run_tenants;
