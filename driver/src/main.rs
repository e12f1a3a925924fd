//! The `efs-csi-driver` binary.

use std::process::ExitCode;

use efs_csi_driver::node::walker;
use efs_csi_driver::{credential_process, exec_plugin, mount, probe, process, tunnel};
use efs_tunnel::plane;

fn main() -> ExitCode {
    efs_common::core_dumps::forbid();
    // The driver's helpers must start fast and stay small: no flags, no logging, no runtime.
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == mount::worker::COMMAND => mount::worker::main(arguments.next()),
        Some(word) if word == walker::COMMAND => walker::main(),
        Some(word) if word == plane::COMMAND => tunnel::main(arguments),
        Some(word) if word == credential_process::COMMAND => credential_process::main(arguments),
        Some(word) if word == exec_plugin::COMMAND => exec_plugin::main(arguments),
        Some(word) if word == probe::COMMAND => probe::main(arguments.next()),
        _ => process::run(std::env::args_os()),
    }
}
