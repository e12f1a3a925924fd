//! The images that we ship, as containers: what is in them, as whom they run, that they need no privilege, and that the
//! programs in them talk to each other over a private network.
//!
//! They need a Docker engine and the images of `deploy/image.sh`; without them each test prints why it is skipped.

mod docker;
mod driver;
mod fake;
mod images;
