//! Runs a profile's `credential_process` for a limited time, and ends it with all that it has started.
//!
//! The AWS SDK runs such a program and waits for its end; when it gives up, the program goes on, and the next attempt starts another. So the
//! SDK is given this program instead (`efs-csi-driver credential-process PROFILE COMMAND`), which runs the other one in a process group
//! of its own.

use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The word on the command line that runs a program for credentials.
pub const COMMAND: &str = "credential-process";
/// The key of profiles.
pub const KEY: &str = "credential_process";

/// Words of the error when time is up.
pub(crate) const LATE: &str = "has not ended within";

/// The SDK itself waits five seconds for credentials.
const LIMIT: Duration = Duration::from_millis(4_500);
/// More is no answer.
const LONGEST: u64 = 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(10);

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
    match run(&command, LIMIT) {
        Ok(answer) if std::io::stdout().write_all(&answer).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("{KEY} of profile {profile:?} {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What `command` writes, or why there is nothing.
fn run(command: &str, limit: Duration) -> Result<Vec<u8>, String> {
    let mut program = Command::new("sh");
    program.args(["-c", command]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().map_err(|error| format!("can't be run, which takes a shell (sh): {error}"))?;
    let group = Pid::from_child(&child);
    let (answer, errors) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let deadline = Instant::now() + limit;
    let ended = end(&mut child, deadline);
    // Whoever still has the other end of the pipe may keep it open for ever.
    let left = || deadline.saturating_duration_since(Instant::now());
    let answer = ended.is_some().then(|| answer.recv_timeout(left()).ok()).flatten();
    match (ended, answer) {
        (Some(0), Some(answer)) => Ok(answer),
        (None, _) | (Some(0), None) => {
            let _gone = kill_process_group(group, Signal::KILL);
            // Its end is waited for, so that nothing of it is left when this is told.
            let _ended = child.wait();
            Err(format!("{LATE} {} s; it was ended with all that it has started", limit.as_secs_f32()))
        }
        (Some(code), _) => {
            let words = errors.recv_timeout(PAUSE).unwrap_or_default();
            Err(format!("ended with code {code}: {}", String::from_utf8_lossy(&words).trim()))
        }
    }
}

/// Its exit code, when it ends before `deadline`.
fn end(child: &mut Child, deadline: Instant) -> Option<i32> {
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code().unwrap_or(-1));
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Reads all on a thread of its own, so that the program is never held up by a full pipe.
fn reader(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(pipe) = pipe {
            // What can't be read is not there.
            let _broken = pipe.take(LONGEST).read_to_end(&mut text);
        }
        // Nobody may want it any more.
        let _gone = send.send(text);
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_an_end_with_an_error_and_no_end_are_told_apart() {
        assert_eq!(run("printf '%s' 'a # b' | cat", PATIENT).expect("an answer"), b"a # b");
        let failed = run("echo because >&2; exit 3", PATIENT).expect_err("it failed");
        assert_eq!(failed, "ended with code 3: because");
        let begun = Instant::now();
        // Neither what it has started nor who keeps its output open is waited for.
        for command in ["sleep 60 & sleep 60", "sleep 60 &"] {
            let hangs = run(command, Duration::from_millis(300)).expect_err("it hangs");
            assert!(hangs.starts_with("has not ended within 0.3 s"), "{hangs}");
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn the_text_for_a_profile_has_nothing_that_a_shell_or_a_profile_reads() {
        let text = bounded("a b", "x 'y' # z").expect("this program");
        let (_, words) = text.rsplit_once("' ").expect("the program in quotes");
        assert_eq!(words, "credential-process 612062 78202779272023207a");
    }
}
