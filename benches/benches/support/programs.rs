//! Where the programs are that a bench starts.

use std::path::PathBuf;

/// The program of that name in the folder that this bench was built into (`target/release`, with this file's bench in
/// `target/release/deps`).
pub(crate) fn path(name: &str) -> PathBuf {
    let bench = std::env::current_exe().expect("the path of this bench");
    let path = bench.ancestors().nth(2).expect("a target folder").join(name);
    assert!(path.is_file(), "{} is missing: cargo build --release --bins", path.display());
    path
}
