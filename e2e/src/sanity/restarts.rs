//! Restarts of the drivers that csi-sanity asks for (`--restart-cmd`): the command connects to a socket of the process that started
//! the drivers, and ends when they answer again.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::stack::Driver;

/// The answer to a connection when all drivers were restarted.
const DONE: &str = "done";

/// The shell command that restarts the drivers through `socket`; `program` must call [`ask`].
pub fn command(program: &Path, socket: &Path) -> String {
    format!("'{}' --restart-through '{}'", program.display(), socket.display())
}

/// Kills and starts the drivers for every connection to `socket`.
pub fn serve(socket: &Path, drivers: Arc<Mutex<Vec<Driver>>>) -> anyhow::Result<JoinHandle<()>> {
    let listener = UnixListener::bind(socket).with_context(|| format!("listening on {socket:?}"))?;
    Ok(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = match restart(&drivers).await {
                Ok(()) => DONE.to_owned(),
                Err(error) => format!("{error:#}"),
            };
            // Who has gone away needs no answer.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }))
}

async fn restart(drivers: &Mutex<Vec<Driver>>) -> anyhow::Result<()> {
    for driver in drivers.lock().await.iter_mut() {
        driver.replace().await.with_context(|| format!("restarting the driver in mode {}", driver.options.mode))?;
    }
    Ok(())
}

/// Asks for a restart and waits for its end.
pub async fn ask(socket: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(socket).await.with_context(|| format!("connecting to {socket:?}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer == DONE, "the drivers were not restarted: {answer}");
    Ok(())
}
