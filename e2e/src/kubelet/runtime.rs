//! Containers under runc or crun.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::command;
use crate::stack::Exit;

/// How long the runtime may take to start a container.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A container runtime with its own list of containers.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: String,
    directory: PathBuf,
}

/// A running container.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    id: String,
    bundle: PathBuf,
    process: Child,
    pid: Pid,
    /// When the runtime was told to start it.
    pub ordered: Instant,
    /// When its program ran.
    pub started: Instant,
}

impl Runtime {
    /// The runtime of `LAB_RUNTIME`, or crun, which is the quicker one; `None` when it is not installed.
    pub async fn find(directory: &Path) -> Option<Self> {
        let program = std::env::var("LAB_RUNTIME").unwrap_or_else(|_| "crun".to_owned());
        command(&program, &["--version"]).await.ok()?;
        Some(Self { program, directory: directory.to_owned() })
    }

    /// Starts a container from an image's files and the runtime's configuration for it; what it prints is appended to `log`. Its
    /// root directory is writable below its own layer, unless the configuration says no.
    pub async fn start(&self, id: &str, rootfs: &Path, config: &Value, log: &Path) -> anyhow::Result<Container> {
        let ordered = Instant::now();
        let bundle = self.directory.join("bundles").join(id);
        for layer in ["upper", "work", "rootfs"] {
            std::fs::create_dir_all(bundle.join(layer))?;
        }
        let (root, upper, work) = (bundle.join("rootfs"), bundle.join("upper"), bundle.join("work"));
        let layers = format!("lowerdir={},upperdir={},workdir={}", rootfs.display(), upper.display(), work.display());
        command("mount", &["-t", "overlay", "-o", &layers, "overlay", &root.display().to_string()]).await?;
        std::fs::write(bundle.join("config.json"), serde_json::to_vec(config)?)?;
        let pid_file = bundle.join("pid");
        let output = File::options().create(true).append(true).open(log)?;
        let mut process = Command::new(&self.program)
            .arg("--root")
            .arg(self.directory.join("containers"))
            .arg("run")
            .arg("--bundle")
            .arg(&bundle)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program))?;
        let pid = loop {
            // Written under another name first, so it is whole.
            if let Ok(text) = std::fs::read_to_string(&pid_file)
                && let Ok(pid) = text.trim().parse()
            {
                break Pid::from_raw(pid).context("process 0")?;
            }
            if let Some(status) = process.try_wait()? {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{} could not start {id} ({status}): {said}", self.program);
            }
            if ordered.elapsed() > START_WITHIN {
                bail!("{} has not started {id} within {START_WITHIN:?}", self.program);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        let (runtime, id) = (self.clone(), id.to_owned());
        Ok(Container { runtime, id, bundle, process, pid, ordered, started: Instant::now() })
    }

    /// Runs a command in a container, as its user, for a probe; the reason if it fails.
    pub async fn exec(&self, id: &str, words: &[String]) -> Result<(), String> {
        let config = std::fs::read(self.directory.join("bundles").join(id).join("config.json"));
        let config: Value = config
            .and_then(|text| Ok(serde_json::from_slice(&text)?))
            .map_err(|error| format!("no configuration of {id}: {error}"))?;
        let user = &config["process"]["user"];
        let output = Command::new(&self.program)
            .arg("--root")
            .arg(self.directory.join("containers"))
            .arg("exec")
            .arg("--user")
            .arg(format!("{}:{}", user["uid"], user["gid"]))
            .arg(id)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Container {
    /// The name under which the runtime knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its first process, as the host sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to its first process.
    pub fn signal(&self, signal: Signal) {
        // One that has just ended needs none.
        let _gone = kill_process(self.pid, signal);
    }

    /// Waits for its end. May be broken off and begun again.
    pub async fn wait(&mut self) -> anyhow::Result<Exit> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self.process.wait().await?;
        // Runtimes answer 128 and the signal's number for a program that a signal has ended.
        Ok(match (status.code(), status.signal()) {
            (Some(code), _) if code > 128 => Exit::Signal(code - 128),
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or_default()),
        })
    }

    /// Removes what is left of it after its end.
    pub async fn remove(self) -> anyhow::Result<()> {
        let root = self.runtime.directory.join("containers").display().to_string();
        command(&self.runtime.program, &["--root", &root, "delete", "--force", &self.id]).await?;
        command("umount", &["-l", &self.bundle.join("rootfs").display().to_string()]).await?;
        std::fs::remove_dir_all(&self.bundle)?;
        Ok(())
    }
}
