//! Whether Docker and our images are there, and containers made from them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testcontainers::core::wait::ExitWaitStrategy;
use testcontainers::core::{Mount, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

/// How long a container may take to start or to end. Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The version that `deploy/image.sh` tags images with.
pub(crate) const TAG: &str = env!("CARGO_PKG_VERSION");

/// Are all these images there? If not, says why the calling test is skipped.
pub(crate) fn have(images: &[&str]) -> bool {
    let Some(reason) = missing(images) else { return true };
    assert!(std::env::var_os("REQUIRE_ALL").is_none(), "REQUIRE_ALL is set, but {reason}");
    println!("SKIP {reason}");
    false
}

fn missing(images: &[&str]) -> Option<String> {
    match Command::new("docker").arg("info").output() {
        Err(error) => return Some(format!("docker can't be run: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            return Some(format!("no Docker engine answers: {}", said.lines().next().unwrap_or_default()));
        }
        Ok(_) => {}
    }
    images.iter().find_map(|image| {
        let image = format!("{image}:{TAG}");
        let found = Command::new("docker").args(["image", "inspect", &image]).output();
        (!found.is_ok_and(|f| f.status.success()))
            .then(|| format!("there is no image {image}; deploy/image.sh makes it"))
    })
}

/// What `docker image inspect` says.
pub(crate) fn inspect(image: &str) -> serde_json::Value {
    let output =
        Command::new("docker").args(["image", "inspect", &format!("{image}:{TAG}")]).output().expect("docker runs");
    let images: serde_json::Value = serde_json::from_slice(&output.stdout).expect("docker prints JSON");
    images[0].clone()
}

/// A container as a careful administrator runs it: nothing writable, no capability, no way to gain one.
pub(crate) fn confined<'a>(
    image: &str,
    ready: WaitFor,
    args: impl IntoIterator<Item = &'a str>,
) -> ContainerRequest<GenericImage> {
    GenericImage::new(image, TAG)
        .with_wait_for(ready)
        .with_cmd(args)
        .with_readonly_rootfs(true)
        .with_cap_drop("ALL")
        .with_security_opt("no-new-privileges")
        .with_startup_timeout(PATIENCE)
}

/// Runs a confined container to its end: exit code, standard output, standard error.
pub(crate) async fn run(image: &str, args: &[&str]) -> (i64, String, String) {
    let ended = WaitFor::exit(ExitWaitStrategy::new());
    let container = confined(image, ended, args.iter().copied()).start().await.expect("the container starts");
    outcome(&container).await
}

/// Exit code and output of a container that has ended.
pub(crate) async fn outcome(container: &ContainerAsync<GenericImage>) -> (i64, String, String) {
    let code = container.exit_code().await.expect("docker answers").expect("the container has ended");
    let stdout = container.stdout_to_vec().await.expect("docker keeps the output");
    let stderr = container.stderr_to_vec().await.expect("docker keeps the output");
    (code, String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// A directory of this machine that a container of any user may write to.
pub(crate) struct Shared(tempfile::TempDir);

impl Shared {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The directory, at `target` in a container.
    pub(crate) fn at(&self, target: &str) -> Mount {
        Mount::bind_mount(self.path().display().to_string(), target)
    }
}

/// A name that no other run of these tests uses at the same time.
pub(crate) fn unique(stem: &str) -> String {
    format!("{stem}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}
