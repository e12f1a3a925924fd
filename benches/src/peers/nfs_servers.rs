//! NFS servers to compare with: nfs-ganesha and the kernel's own, each exporting a folder of the lab's tmpfs.

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use efs_csi_e2e::stack::Process;
use tokio::process::Command;

use super::{free_port, program};

/// The user-space server's name in reports.
pub const GANESHA: &str = "nfs-ganesha";
/// The kernel server's name in reports.
pub const KNFSD: &str = "knfsd";
/// How to get the user-space server.
pub const NO_GANESHA: &str = "not installed (Debian packages nfs-ganesha and nfs-ganesha-vfs)";
/// How to get the kernel server's tools.
pub const NO_KNFSD: &str = "not installed (Debian package nfs-kernel-server)";

/// Starts nfs-ganesha with its VFS back end on `dir`; answers the process and its port. `None` when it is not installed.
pub async fn ganesha(dir: &Path) -> anyhow::Result<Option<(Process, u16)>> {
    let Some(binary) = program("ganesha.nfsd") else { return Ok(None) };
    // Without an address besides loopback it believes that the machine has no network, and ends.
    for arguments in [
        &["addr", "add", "198.51.100.1/32", "dev", "lo"][..],
        &["-6", "addr", "add", "fd00::1/128", "dev", "lo", "nodad"],
    ] {
        let ip = program("ip").context("nfs-ganesha needs the program ip (Debian package iproute2)")?;
        run(Command::new(ip).args(arguments)).await?;
    }
    let (data, state) = (dir.join("data"), dir.join("state"));
    std::fs::create_dir_all(&data)?;
    std::fs::create_dir_all(&state)?;
    let port = free_port()?;
    let configuration = format!(
        "NFS_CORE_PARAM {{ NFS_Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; }}\n\
         NFSV4 {{ Minor_Versions = 1,2; Graceless = true; Only_Numeric_Owners = true; RecoveryBackend = fs; RecoveryRoot = {}; }}\n\
         NFS_KRB5 {{ Active_krb5 = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Protocols = 4;\n\
         Transports = TCP; FSAL {{ Name = VFS; }} }}\n",
        state.display(),
        data.display()
    );
    let file = dir.join("ganesha.conf");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new(binary);
    command
        .arg("-F")
        .arg("-f")
        .arg(&file)
        .arg("-L")
        .arg(dir.join("ganesha.log"))
        .arg("-p")
        .arg(dir.join("pid"))
        .args(["-N", "EVENT"]);
    let mut process = Process::spawn(GANESHA, command, &dir.join("ganesha.err"), false)?;
    let begin = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        process.check_alive()?;
        ensure!(begin.elapsed() < Duration::from_secs(30), "nfs-ganesha does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Some((process, port)))
}

/// Starts the kernel's server on `dir`; answers its port. It runs until the guest ends. `None` when its tools are missing.
pub async fn knfsd(dir: &Path) -> anyhow::Result<Option<u16>> {
    let tools = ["exportfs", "rpc.mountd", "rpc.nfsd"].map(program);
    let [Some(exportfs), Some(mountd), Some(nfsd)] = tools else { return Ok(None) };
    let port = free_port()?;
    std::fs::create_dir_all(dir)?;
    let script = "set -e
modprobe -d \"${SCRATCH:-/}\" nfsd
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs /var/lib/nfs/nfsdcld
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/xtab
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
mount -t tmpfs bench \"$1\"
echo 10 >/proc/fs/nfsd/nfsv4leasetime; echo 10 >/proc/fs/nfsd/nfsv4gracetime
\"$3\" -i -o rw,insecure,no_subtree_check,fsid=0,no_root_squash \"*:$1\"
\"$4\" -N 2 -N 3 -u
\"$5\" -N 3 -U -H 127.0.0.1 --port \"$2\" 4
echo Y >/proc/fs/nfsd/v4_end_grace";
    let mut command = Command::new("bash");
    command.args(["-c", script, "knfsd"]).arg(dir).arg(port.to_string()).args([exportfs, mountd, nfsd]);
    run(&mut command).await?;
    Ok(Some(port))
}

async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().await?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} ended with {}: {}", command.as_std().get_program(), output.status, words.trim());
    }
    Ok(())
}
