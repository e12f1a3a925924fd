//! The main job from start to end, narrated: each step says what it does, proves that it worked, and how long it took.

mod io;
mod narrator;
mod steps;

pub use narrator::Narrator;
pub use steps::run;
