//! Two tenants, one file system, each sees its own: mounts with the identity of the pod.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::narrator::{Narrator, human, show};
use crate::mounts;
use crate::stack::{Driver, DriverOptions, Fake};
use crate::tenants::{self, FILE_SYSTEM, POINT_A, POINT_B, TEAM_A, TEAM_B, Tenant, handle, port};

/// Runs the demo of tenants with the executables in `binaries`, keeping sockets, state and mounts below `dir`.
pub async fn run(binaries: &Path, dir: &Path) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "mounting needs root; run this in the lab: just demo-tenants");
    let mut narrator = Narrator::default();
    let seed = tenants::write_seed(dir)?;
    let (of_a, of_b) = (handle(POINT_A), handle(POINT_B));

    let mut fake = narrator
        .step("Start fake-efs: a file system whose policy gives each team's role its own access point", async {
            let seed = seed.to_str().context("a folder whose name is no text")?;
            let fake =
                Fake::start(&binaries.join("fake-efs"), dir, &["--strict-signatures", "--seed-file", seed]).await?;
            let policy = fake.client().describe_file_system_policy().file_system_id(FILE_SYSTEM).send().await?;
            show("policy", policy.policy().context("no policy")?);
            Ok(fake)
        })
        .await?;
    let mut driver = narrator
        .step("Start the driver", async {
            let mut options = DriverOptions::new(&binaries.join("efs-csi-driver"), dir, &fake);
            tenants::with_agent(&mut options);
            Driver::start(options).await
        })
        .await?;
    let a = narrator
        .step("A pod of team-a mounts its volume: IRSA, its token for STS", admit(&driver, TEAM_A, &of_a, dir, "plans"))
        .await?;
    let b = narrator
        .step(
            "A pod of team-b mounts its volume: EKS Pod Identity, its token for the agent",
            admit(&driver, TEAM_B, &of_b, dir, "books"),
        )
        .await?;
    narrator.step("Look at both: each sees its own", see(&fake, &a, &b)).await?;
    narrator
        .step("A pod of team-a asks for team-b's volume: the file system refuses it", async {
            let target = place(dir, "intruder")?;
            match driver.node().node_publish_volume(TEAM_A.request(&of_b, &target, 1)).await {
                Ok(_) => bail!("it was let in"),
                Err(status) => {
                    ensure!(status.code() == tonic::Code::PermissionDenied, "{status:?}");
                    show("NodePublishVolume", format!("{:?}: {}", status.code(), status.message()));
                }
            }
            ensure!(!target.exists(), "the target directory is left");
            Ok(())
        })
        .await?;
    narrator
        .step("The kubelet brings fresh tokens (requiresRepublish): nobody is asked, nothing is mounted again", async {
            let (exchanges, begun) = (tenants::exchanges(&fake).await?, Instant::now());
            driver.node().node_publish_volume(TEAM_A.request(&of_a, &a, 2)).await?;
            driver.node().node_publish_volume(TEAM_B.request(&of_b, &b, 2)).await?;
            show("both answered after", human(begun.elapsed()));
            ensure!(tenants::exchanges(&fake).await? == exchanges, "somebody was asked for credentials");
            ensure!(mounts::at(&a)?.len() == 1 && mounts::at(&b)?.len() == 1, "something was mounted on top");
            Ok(())
        })
        .await?;
    narrator
        .step("Look for tokens in the logs and in what the driver keeps on disk", async {
            let found = tenants::files_with_tokens(dir)?;
            ensure!(found.is_empty(), "there are tokens in {found:?}");
            show("files with a token", 0);
            Ok(())
        })
        .await?;
    narrator
        .step("NodeUnpublishVolume, and stop everything (SIGTERM)", async {
            for (volume, target) in [(&of_a, &a), (&of_b, &b)] {
                let request = csi_proto::csi::NodeUnpublishVolumeRequest {
                    volume_id: volume.clone(),
                    target_path: target.display().to_string(),
                };
                driver.node().node_unpublish_volume(request).await?;
                ensure!(mounts::at(target)?.is_empty(), "the mount is still in mountinfo");
            }
            driver.stop().await?;
            fake.stop().await
        })
        .await?;
    narrator.finish();
    Ok(())
}

/// A target path of a pod.
fn place(dir: &Path, pod: &str) -> anyhow::Result<PathBuf> {
    let folder = dir.join("pods").join(pod);
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join("mount"))
}

async fn admit(driver: &Driver, tenant: Tenant, volume: &str, dir: &Path, file: &str) -> anyhow::Result<PathBuf> {
    let target = place(dir, tenant.name)?;
    driver.node().node_publish_volume(tenant.request(volume, &target, 1)).await.context("NodePublishVolume")?;
    std::fs::write(target.join(file), tenant.name)?;
    show("role", tenant.role());
    show("tunnel", format!("127.0.0.1:{}", port(&target)?));
    show("written", file);
    Ok(target)
}

async fn see(fake: &Fake, a: &Path, b: &Path) -> anyhow::Result<()> {
    for (tenant, target, own) in [(TEAM_A, a, "plans"), (TEAM_B, b, "books")] {
        let entries: Result<Vec<_>, _> =
            std::fs::read_dir(target)?.map(|entry| entry.map(|it| it.file_name())).collect();
        let entries = entries?;
        ensure!(entries == [own], "{} sees {entries:?}", tenant.name);
        show(tenant.name, format!("sees {own} alone"));
    }
    ensure!(port(a)? != port(b)?, "they share a tunnel");
    let seen = tenants::connected(fake).await?;
    ensure!(seen.keys().eq([&TEAM_A.principal(), &TEAM_B.principal()]), "the file system sees {seen:?}");
    for principal in seen.keys() {
        show("the file system sees", principal);
    }
    Ok(())
}
