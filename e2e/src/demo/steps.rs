//! The steps of the demo.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use csi_proto::csi;

use super::io::{Heartbeat, checksum, write_random};
use super::narrator::{Narrator, human, show};
use crate::mounts;
use crate::stack::{Driver, DriverOptions, Fake, Volume};

/// The access point's POSIX user: deliberately nobody who exists on the machine, and not the writer, who is root.
const UID: u32 = 61_234;
const GID: u32 = 62_345;
const GREETING: &str = "written by root, owned by the access point's user\n";
/// How much `dd` copies while the driver is killed.
const COPY_BYTES: u64 = 96 << 20;

/// Runs the whole demo with the executables in `binaries`, keeping sockets, state and mounts below `dir`.
pub async fn run(binaries: &Path, dir: &Path) -> anyhow::Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "mounting needs root; run this in the lab: just demo");
    let mut narrator = Narrator::default();

    let mut fake =
        narrator.step("Start fake-efs: the EFS API and an NFSv4.1 server", start_fake(binaries, dir)).await?;
    let ports_before = mounts::listening_ports()?;
    let mut driver = narrator
        .step(
            "Start the driver with an empty PATH",
            start_driver(DriverOptions::new(&binaries.join("efs-csi-driver"), dir, &fake)),
        )
        .await?;
    let (file_system, address) =
        narrator.step("Create a file system and a mount target with AWS's SDK", create_file_system(&fake)).await?;
    let volume = narrator
        .step("CreateVolume: an access point for the volume", create_volume(&driver, &fake, &file_system))
        .await?;

    let target = dir.join("pods/one/mount");
    std::fs::create_dir_all(dir.join("pods/one"))?;
    let server_view = dir.join("server-view");
    narrator.step("NodePublishVolume: mount it through the TLS tunnel", publish(&driver, &volume, &target)).await?;
    narrator.step("Ask the server whom it saw", check_identity(&fake, &volume)).await?;
    narrator
        .step(
            "Write as root, look at the owner from both sides",
            check_owner(&volume, &fake, address, &target, &server_view),
        )
        .await?;
    narrator.step("Unpublish, publish again, read it back", remount(&driver, &volume, &target)).await?;
    driver = narrator
        .step(
            "Kill the driver (SIGKILL) under a running dd and start it again",
            survive_kill(driver, dir, &target, &server_view),
        )
        .await?;
    narrator
        .step("NodeUnpublishVolume: nothing of the mount is left", unpublish(&driver, &volume, &target, &ports_before))
        .await?;
    narrator
        .step("DeleteVolume: no access point is left", delete_volume(&driver, &fake, &volume, &file_system))
        .await?;
    narrator
        .step("Stop everything (SIGTERM)", async {
            mounts::unmount(&server_view)?;
            driver.stop().await?;
            fake.stop().await
        })
        .await?;
    narrator.finish();
    Ok(())
}

async fn start_fake(binaries: &Path, dir: &Path) -> anyhow::Result<Fake> {
    let fake = Fake::start(&binaries.join("fake-efs"), dir, &[]).await?;
    show("EFS API", &fake.ready.http);
    show("NFS", fake.ready.nfs);
    Ok(fake)
}

async fn start_driver(options: DriverOptions) -> anyhow::Result<Driver> {
    let driver = Driver::start(options).await?;
    let info = driver.identity().get_plugin_info(csi::GetPluginInfoRequest {}).await?.into_inner();
    ensure!(info.name == "efs.csi.aws.com", "the plugin calls itself {}", info.name);
    show("plugin", format!("{} {}", info.name, info.vendor_version));
    show("first Probe after", human(driver.first_probe));
    Ok(driver)
}

async fn create_file_system(fake: &Fake) -> anyhow::Result<(String, IpAddr)> {
    let (id, address) = fake.create_file_system("demo").await?;
    show("file system", &id);
    show("mount target", &address);
    Ok((id, address.parse()?))
}

async fn create_volume(driver: &Driver, fake: &Fake, file_system: &str) -> anyhow::Result<Volume> {
    let (uid, gid) = (UID.to_string(), GID.to_string());
    let parameters = [
        ("provisioningMode", "efs-ap"),
        ("fileSystemId", file_system),
        ("directoryPerms", "0750"),
        ("uid", &uid),
        ("gid", &gid),
    ];
    let volume = driver.create_volume("pvc-demo", &parameters).await?;
    show("volume handle", &volume.id);
    let again = driver.create_volume("pvc-demo", &parameters).await?;
    ensure!(again.id == volume.id, "CreateVolume is not idempotent: {} then {}", volume.id, again.id);

    let described = fake.client().describe_access_points().file_system_id(file_system).send().await?;
    ensure!(described.access_points().len() == 1, "{} access points exist, not one", described.access_points().len());
    let point = &described.access_points()[0];
    ensure!(point.access_point_id() == volume.access_point(), "the handle names another access point than EFS has");
    let user = point.posix_user().context("the access point enforces no POSIX user")?;
    ensure!((user.uid(), user.gid()) == (i64::from(UID), i64::from(GID)), "it enforces {}:{}", user.uid(), user.gid());
    show("EFS says", format!("access point enforces user {}:{}", user.uid(), user.gid()));
    Ok(volume)
}

async fn publish(driver: &Driver, volume: &Volume, target: &Path) -> anyhow::Result<()> {
    driver.publish(volume, target).await?;
    driver.publish(volume, target).await.context("a repeated publish must succeed")?;
    let found = mounts::at(target)?;
    ensure!(found.len() == 1, "{} mounts at the target after two publishes, not one", found.len());
    let mount = &found[0];
    show("mountinfo", &mount.line);
    ensure!(mount.kind == "nfs4", "the file system type is {}", mount.kind);
    ensure!(mount.option("vers") == Some("4.1"), "the protocol version is {:?}", mount.option("vers"));
    ensure!(mount.option("addr") == Some("127.0.0.1"), "the server is {:?}, not the tunnel", mount.option("addr"));
    let port: u16 = mount.option("port").context("no port among the options")?.parse()?;
    ensure!(mounts::listening_ports()?.contains(&port), "nothing listens on the tunnel's port {port}");
    Ok(())
}

/// The server must have taken file system and access point from the client certificate.
async fn check_identity(fake: &Fake, volume: &Volume) -> anyhow::Result<()> {
    let wanted = volume.access_point().context("the handle names no access point")?;
    let answer = fake.admin("/_fake/connections").await?;
    let all = answer["Connections"].as_array().context("no list of connections")?;
    let ours: Vec<_> = all.iter().filter(|c| c["AccessPointId"] == wanted).collect();
    ensure!(!ours.is_empty(), "no connection of {wanted} among {answer}");
    for connection in ours {
        ensure!(connection["Tls"] == true, "the connection is not TLS: {connection}");
        show("connection", connection);
    }
    show("access point from the client certificate", wanted);
    Ok(())
}

async fn check_owner(
    volume: &Volume,
    fake: &Fake,
    address: IpAddr,
    target: &Path,
    server_view: &Path,
) -> anyhow::Result<()> {
    let file = target.join("greeting");
    std::fs::write(&file, GREETING)?;
    let client = std::fs::metadata(&file)?;
    show("the client sees owner", format!("{}:{}", client.uid(), client.gid()));
    ensure!((client.uid(), client.gid()) == (UID, GID), "the client sees another owner");

    // The whole file system over a plain connection: no access point, so paths and owners as they are stored.
    mounts::mount_plain(address, fake.ready.nfs.port(), server_view)?;
    let point = fake
        .client()
        .describe_access_points()
        .access_point_id(volume.access_point().unwrap_or_default())
        .send()
        .await?;
    let root = point.access_points()[0]
        .root_directory()
        .and_then(|r| r.path())
        .context("the access point has no root path")?;
    let stored = server_path(server_view, root);
    let directory = std::fs::metadata(&stored)?;
    ensure!(
        (directory.uid(), directory.gid()) == (UID, GID),
        "the root directory belongs to {}:{}",
        directory.uid(),
        directory.gid()
    );
    ensure!(directory.mode() & 0o7777 == 0o750, "the root directory has mode {:o}", directory.mode() & 0o7777);
    let server = std::fs::metadata(stored.join("greeting"))?;
    show("the server has", format!("{root}/greeting, owner {}:{}", server.uid(), server.gid()));
    ensure!((server.uid(), server.gid()) == (UID, GID), "the server has another owner");
    Ok(())
}

fn server_path(server_view: &Path, root: &str) -> PathBuf {
    server_view.join(root.trim_start_matches('/'))
}

async fn remount(driver: &Driver, volume: &Volume, target: &Path) -> anyhow::Result<()> {
    driver.unpublish(volume, target).await?;
    ensure!(!target.exists(), "the target directory is still there");
    driver.publish(volume, target).await?;
    let text = std::fs::read_to_string(target.join("greeting"))?;
    ensure!(text == GREETING, "the file reads {text:?}");
    show("content after the remount", format!("{:?}", text.trim_end()));
    Ok(())
}

async fn survive_kill(driver: Driver, dir: &Path, target: &Path, server_view: &Path) -> anyhow::Result<Driver> {
    let source = dir.join("source");
    let wanted = write_random(&source, COPY_BYTES, 42)?;
    let copy = target.join("copy");
    let heartbeat = Heartbeat::start(target.join("heartbeat"))?;
    let mut dd = tokio::process::Command::new("dd")
        .arg(format!("if={}", source.display()))
        .arg(format!("of={}", copy.display()))
        .args(["bs=1M", "conv=fsync", "status=none"])
        .kill_on_drop(true)
        .spawn()
        .context("starting dd")?;
    // Let the copy get under way: a part of it must have reached the server before the kill.
    let arrived = server_path(server_view, &access_point_root(server_view)?).join("copy");
    for _ in 0..2000 {
        if std::fs::metadata(&arrived).is_ok_and(|m| m.len() > COPY_BYTES / 16) || dd.try_wait()?.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(dd.try_wait()?.is_none(), "dd was done before the kill, so this would prove nothing");
    let at_kill = std::fs::metadata(&arrived).map(|m| m.len()).unwrap_or_default();
    show("killed when the server had", format!("{} of {} MiB", at_kill >> 20, COPY_BYTES >> 20));
    let driver = driver.kill_and_restart().await?;
    show("driver answers again after", human(driver.first_probe));
    let status =
        tokio::time::timeout(Duration::from_secs(120), dd.wait()).await.context("dd did not end within 120 s")??;
    ensure!(status.success(), "dd failed: {status}");
    let beats = heartbeat.stop().await?;
    show("longest stall", format!("{} over {} synchronous records", human(beats.longest), beats.count));

    // The page cache would hide a loss: read the server's copy through the other mount.
    let got = tokio::task::spawn_blocking(move || checksum(&arrived)).await??;
    ensure!(got == wanted, "the copy's SHA-256 is {got}, the source's {wanted}");
    show("SHA-256 of the copy", format!("{got}, equal to the source's"));
    Ok(driver)
}

/// The only access point's root directory as the server view shows it.
fn access_point_root(server_view: &Path) -> anyhow::Result<String> {
    let mut names = std::fs::read_dir(server_view)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let first: Option<std::io::Result<String>> = names.next();
    ensure!(names.next().is_none(), "more than one directory on the file system");
    first.context("no directory on the file system")?.map_err(Into::into)
}

async fn unpublish(driver: &Driver, volume: &Volume, target: &Path, ports_before: &[u16]) -> anyhow::Result<()> {
    driver.unpublish(volume, target).await?;
    driver.unpublish(volume, target).await.context("a repeated unpublish must succeed")?;
    ensure!(mounts::at(target)?.is_empty(), "the mount is still in mountinfo");
    let through_tunnel = mounts::all()?.into_iter().filter(|m| m.source.starts_with("127.0.0.1:") && m.kind == "nfs4");
    ensure!(through_tunnel.count() <= 1, "more than the server view is mounted");
    ensure!(!target.exists(), "the target directory is still there");
    let mut left = Vec::new();
    // A tunnel that still drains its last connection closes its port a moment later.
    for _ in 0..100 {
        left = mounts::listening_ports()?.into_iter().filter(|port| !ports_before.contains(port)).collect();
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(left.is_empty(), "ports are still listened on: {left:?}");
    show("left over", "no mount, no directory, no port");
    Ok(())
}

async fn delete_volume(driver: &Driver, fake: &Fake, volume: &Volume, file_system: &str) -> anyhow::Result<()> {
    driver.delete_volume(volume).await?;
    driver.delete_volume(volume).await.context("a repeated delete must succeed")?;
    let described = fake.client().describe_access_points().file_system_id(file_system).send().await?;
    ensure!(described.access_points().is_empty(), "{} access points are left", described.access_points().len());
    show("access points", 0);
    Ok(())
}
