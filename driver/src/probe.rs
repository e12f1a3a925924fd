//! Whether *this* process serves, for the start-up probe of a pod.
//!
//! Node pods share the host's network, and during an update two of them share the port of the HTTP endpoint: its answer may
//! be the other one's. So the probe is a command in the container, and asks over a socket that only this container sees. A
//! successor that passes it serves every mount; only then may its predecessor go.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::socket::KeptSocket;

/// The word on the command line that asks: `probe SOCKET`.
pub const COMMAND: &str = "probe";

const READY: &str = "ready";
/// The container's own user.
const MODE: u32 = 0o600;
/// A process that doesn't answer by then hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Whether this process serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// It will.
    NotYet,
    /// Every mount.
    Yes,
    /// It can't, for this reason.
    Never(String),
}

/// Tells everybody who connects to `path` whether this process is `serving`, until `shutdown`.
///
/// Beside a yes stands what is wrong outside of it.
pub async fn serve(path: PathBuf, serving: watch::Receiver<Serving>, blocking: Blocking, shutdown: CancellationToken) {
    let mut socket = tokio::select! {
        () = shutdown.cancelled() => return,
        socket = KeptSocket::bind_patiently(path, MODE, "start-up probe's socket", &blocking) => socket,
    };
    loop {
        let mut client = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(Ok(client)) = socket.next() => client,
        };
        let answer = match &*serving.borrow() {
            Serving::Yes => {
                let degraded = blocking.degraded();
                std::iter::once(READY.to_owned()).chain(degraded.iter().map(|it| format!("\ndegraded: {it}"))).collect()
            }
            Serving::NotYet => "starting: not every mount has its tunnel yet".to_owned(),
            Serving::Never(reason) => reason.clone(),
        };
        // Whoever goes away before the answer doesn't want it.
        let _gone = tokio::time::timeout(ANSWER_WITHIN, client.write_all(answer.as_bytes())).await;
    }
}

/// Asks the process of `probe SOCKET`; succeeds when it serves.
pub fn main(socket: Option<OsString>) -> ExitCode {
    let Some(socket) = socket else {
        eprintln!("usage: {COMMAND} SOCKET");
        return ExitCode::FAILURE;
    };
    match ask(Path::new(&socket)) {
        Ok(answer) if answer.lines().next() == Some(READY) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            eprintln!("{answer}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&socket).display());
            ExitCode::FAILURE
        }
    }
}

fn ask(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_is_this_processs_own() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("probe.sock");
        let asked =
            |path: PathBuf| async move { tokio::task::spawn_blocking(move || ask(&path)).await.expect("asked") };
        assert!(asked(path.clone()).await.is_err(), "nobody is there");
        let (set, serving) = watch::channel(Serving::NotYet);
        let stop = CancellationToken::new();
        let blocking = Blocking::default();
        let task = tokio::spawn(serve(path.clone(), serving, blocking.clone(), stop.clone()));
        let answer = loop {
            if let Ok(answer) = asked(path.clone()).await {
                break answer;
            }
        };
        assert!(answer.starts_with("starting"), "{answer}");
        set.send_replace(Serving::Yes);
        assert_eq!(asked(path.clone()).await.expect("answered"), READY);
        blocking.note("a test", Some("it hurts".to_owned()));
        assert_eq!(asked(path.clone()).await.expect("answered"), "ready\ndegraded: it hurts");
        set.send_replace(Serving::Never("it may not".to_owned()));
        assert_eq!(asked(path.clone()).await.expect("answered"), "it may not");
        stop.cancel();
        task.await.expect("ended");
        assert!(asked(path).await.is_err(), "nobody is left");
    }
}
