//! Runs the program that a kubeconfig names for credentials (`exec`) for a limited time, and ends it with its process group.
//!
//! kube runs it, waits for its end, and keeps all that it writes. So kube is given this program instead (`efs-csi-driver exec-plugin COMMAND
//! ARGUMENT…`), which runs the other one.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use kube::config::{ExecConfig, ExecInteractiveMode};

use crate::bounded_program;

/// The word on the command line that runs a program for credentials.
pub const COMMAND: &str = "exec-plugin";

/// Has this program run the one that `exec` names. Left as it is when this program can't be found.
pub(crate) fn bound(exec: &mut ExecConfig) {
    let program = std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok());
    let (Some(program), Some(command)) = (program, exec.command.take()) else { return };
    let arguments = exec.args.take().unwrap_or_default();
    exec.args = Some([COMMAND.to_owned(), command].into_iter().chain(arguments).collect());
    exec.command = Some(program);
    // There is nobody to answer its questions, and what it complains of shall be told.
    exec.interactive_mode = Some(ExecInteractiveMode::Never);
}

/// The process of `exec-plugin COMMAND ARGUMENT…`.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(command) = arguments.next() else {
        eprintln!("{COMMAND} is for the driver itself");
        return ExitCode::FAILURE;
    };
    let what = format!("exec of the kubeconfig: {}", command.display());
    bounded_program::stand_in(what, Command::new(&command).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_its_arguments_are_handed_to_this_one() {
        let text = r#"{"command": "aws", "args": ["eks", "get token"], "env": [{"name": "A", "value": "b"}]}"#;
        let mut exec: ExecConfig = serde_json::from_str(text).expect("an exec");
        bound(&mut exec);
        assert_eq!(exec.command.as_deref(), std::env::current_exe().expect("this program").to_str());
        assert_eq!(exec.args.expect("arguments"), ["exec-plugin", "aws", "eks", "get token"]);
        assert_eq!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
        assert_eq!(exec.env.expect("variables").len(), 1);
    }
}
