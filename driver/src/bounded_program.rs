//! Programs that settings name, which may hang, write without end, or leave others behind: run in a process group of their own for a limited
//! time, and ended with it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper, waitpid};

/// The AWS SDK waits five seconds for credentials, and a node as long for the API server. Whoever asks shall hear why there is no answer.
const LIMIT: Duration = Duration::from_millis(4_500);
/// More is no answer.
const LONGEST: usize = 1024 * 1024;
/// As much of its complaints is told.
const COMPLAINT: usize = 4096;
const PAUSE: Duration = Duration::from_millis(10);
/// Descendants are ended so many generations deep; who makes children faster is left to the container's limit of processes.
const GENERATIONS: usize = 64;

/// Why a program has given no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It could not be started.
    #[error("can't be run: {}: {error}", program.display())]
    Start {
        /// The file.
        program: OsString,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It, or somebody who still had its output open, was ended.
    #[error("{LATE} {} s; it was ended with its process group", .0.as_secs_f32())]
    Late(Duration),
    /// It was ended.
    #[error("has written more than {} MiB, which is no answer; it was ended with its process group", LONGEST / 1024 / 1024)]
    TooLong,
    /// It says that it has failed.
    #[error("ended with {status}: {complaint}")]
    Failed {
        /// Exit code or signal.
        status: ExitStatus,
        /// What it wrote as its errors.
        complaint: String,
    },
}

/// Words of the error when time is up.
pub(crate) const LATE: &str = "has not ended within";

/// The process that stands in for `program`: writes its answer, or why there is none of `what`.
pub(crate) fn stand_in(what: impl Display, program: &mut Command) -> ExitCode {
    // Whoever has left the process group becomes a child of this process when its parent ends. On a kernel that has no such thing it stays.
    let _stays = set_child_subreaper(Some(rustix::process::getpid()));
    match run(program, LIMIT) {
        Ok(answer) if std::io::stdout().write_all(&answer).is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            end_descendants();
            eprintln!("{what} {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Ends what this process has left as children, and as theirs. Not after a good answer: a program may keep a helper for the next one.
fn end_descendants() {
    // A child that ends makes its own children this process's.
    for _ in 0..GENERATIONS {
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _gone = kill_process(child, Signal::KILL);
            let _ended = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

/// The children of all threads of this process.
fn children() -> Vec<Pid> {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists: String =
        threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default()).collect();
    // The kernel ends each number with a space.
    lists.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// What `program` writes. It inherits the environment, and reads nothing.
///
/// # Errors
/// Why there is nothing. Then nothing of its process group is left.
pub(crate) fn run(program: &mut Command, limit: Duration) -> Result<Vec<u8>, ProgramError> {
    program.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        program.spawn().map_err(|error| ProgramError::Start { program: program.get_program().to_owned(), error })?;
    let group = Pid::from_child(&child);
    let result = answer(&mut child, limit);
    if result.is_err() {
        let _gone = kill_process_group(group, Signal::KILL);
        // Its end is waited for, so that nothing of it is left when this is told.
        let _ended = child.wait();
    }
    result
}

fn answer(child: &mut Child, limit: Duration) -> Result<Vec<u8>, ProgramError> {
    let (answer, errors) = (reader(child.stdout.take(), LONGEST), reader(child.stderr.take(), COMPLAINT));
    let deadline = Instant::now() + limit;
    let late = || ProgramError::Late(limit);
    let status = end(child, deadline).ok_or_else(late)?;
    // Whoever still has the other end of the pipe may keep it open for ever; of a program that has failed that doesn't matter.
    let left = if status.success() { deadline.saturating_duration_since(Instant::now()) } else { PAUSE };
    match answer.recv_timeout(left) {
        Ok(answer) if answer.len() > LONGEST => Err(ProgramError::TooLong),
        Ok(answer) if status.success() => Ok(answer),
        Err(_) if status.success() => Err(late()),
        _ => {
            let complaint = errors.recv_timeout(PAUSE).unwrap_or_default();
            Err(ProgramError::Failed { status, complaint: String::from_utf8_lossy(&complaint).trim().to_owned() })
        }
    }
}

/// How it ends, when it does before `deadline`.
fn end(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            // It was waited for already, which says nothing of how it has ended.
            Err(_) => return Some(ExitStatus::from_raw(-1)),
            Ok(None) if Instant::now() >= deadline => return None,
            Ok(None) => std::thread::sleep(PAUSE),
        }
    }
}

/// Reads to the end on a thread of its own, so that the program is never held up by a full pipe; keeps one byte more than `longest`.
fn reader(pipe: Option<impl Read + Send + 'static>, longest: usize) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(pipe) = pipe {
            // What can't be read is not there.
            let _broken = pipe.take(longest as u64 + 1).read_to_end(&mut text);
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

    fn shell(text: &str, limit: Duration) -> Result<Vec<u8>, ProgramError> {
        run(Command::new("sh").args(["-c", text]), limit)
    }

    #[test]
    fn an_answer_an_end_with_an_error_and_no_end_are_told_apart() {
        assert_eq!(shell("printf '%s' 'a # b' | cat", PATIENT).expect("an answer"), b"a # b");
        let failed = shell("echo because >&2; exit 3", PATIENT).expect_err("it failed");
        assert_eq!(failed.to_string(), "ended with exit status: 3: because");
        let begun = Instant::now();
        let failed = shell("sleep 60 & exit 4", PATIENT).expect_err("it failed, whoever keeps its output open");
        assert!(failed.to_string().starts_with("ended with exit status: 4"), "{failed}");
        assert!(begun.elapsed() < PATIENT);
        // Neither what it has started nor who keeps its output open is waited for.
        for command in ["sleep 60 & sleep 60", "sleep 60 &", "trap '' TERM HUP; sleep 60"] {
            let hangs = shell(command, Duration::from_millis(300)).expect_err("it hangs");
            assert!(hangs.to_string().starts_with("has not ended within 0.3 s"), "{hangs}");
        }
        assert!(begun.elapsed() < Duration::from_secs(30));
        let missing = run(&mut Command::new("/no/such/program"), PATIENT).expect_err("there is none");
        assert!(missing.to_string().starts_with("can't be run: /no/such/program: No such file"), "{missing}");
    }

    #[test]
    fn a_program_that_writes_without_end_is_ended() {
        assert!(matches!(shell("exec yes", PATIENT), Err(ProgramError::TooLong)));
        // Its complaints are cut, and it is not held up by them.
        let limit = Duration::from_millis(500);
        assert!(matches!(shell("yes >&2", limit), Err(ProgramError::Late(_) | ProgramError::Failed { .. })));
    }
}
