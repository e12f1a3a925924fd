//! Runs a profile's `credential_process` for a limited time, and ends it with its process group.
//!
//! The AWS SDK runs such a program and waits for its end; when it gives up, the program goes on, and the next attempt starts another. So the
//! SDK is given this program instead (`efs-csi-driver credential-process PROFILE COMMAND`), which runs the other one in a process group
//! of its own.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::bounded_program;

/// The word on the command line that runs a program for credentials.
pub const COMMAND: &str = "credential-process";
/// The key of profiles.
pub const KEY: &str = "credential_process";

/// What to write into the profile for its command; nothing when this program can't be found.
pub fn bounded(profile: &str, command: &str) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let program = program.to_str()?.replace('\'', r"'\''");
    // In hexadecimal digits: the text has the quotes of a shell, and a comment's sign would end it.
    Some(format!("'{program}' {COMMAND} {} {}", hex::encode(profile), hex::encode(command)))
}

/// The process of `credential-process PROFILE COMMAND`.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut word = || {
        let text = hex::decode(arguments.next()?.into_encoded_bytes()).ok()?;
        String::from_utf8(text).ok()
    };
    let (Some(profile), Some(command)) = (word(), word()) else {
        eprintln!("{COMMAND} is for the driver itself");
        return ExitCode::FAILURE;
    };
    // The profile's text is a shell's.
    bounded_program::stand_in(format_args!("{KEY} of profile {profile:?}"), Command::new("sh").args(["-c", &command]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_for_a_profile_has_nothing_that_a_shell_or_a_profile_reads() {
        let text = bounded("a b", "x 'y' # z").expect("this program");
        let (_, words) = text.rsplit_once("' ").expect("the program in quotes");
        assert_eq!(words, "credential-process 612062 78202779272023207a");
    }
}
