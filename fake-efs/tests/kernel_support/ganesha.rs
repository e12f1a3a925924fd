//! nfs-ganesha with its VFS back end on a tmpfs: the reference in user space.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::mounts::Mounted;
use super::process::{self, Server};
use super::reference::Reference;

const START: Duration = Duration::from_secs(20);

/// Why it can't be started.
pub(crate) fn missing() -> Option<String> {
    let plugin = Path::new("/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so").exists();
    let there = process::installed("ganesha.nfsd") && plugin;
    (!there).then(|| "nfs-ganesha with its VFS back end is not installed".to_owned())
}

/// Starts it on a tmpfs of its own in this folder, which it serves as `/data`.
pub(crate) fn start(folder: &Path) -> anyhow::Result<Reference> {
    let data = Mounted::tmpfs(&folder.join("data"))?;
    std::fs::create_dir_all(folder.join("state"))?;
    // Its address look-up finds 127.0.0.1 only when both families have an address that is not loopback's.
    for address in [["-4", "198.51.100.1/32"], ["-6", "fd00::1/128"]] {
        // Already there when a peer is started twice.
        let _ = process::output(Command::new("ip").args([address[0], "addr", "add", address[1], "dev", "lo"]));
    }
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let config = folder.join("ganesha.conf");
    std::fs::write(&config, configuration(port, data.path(), &folder.join("state")))?;
    let mut command = Command::new("ganesha.nfsd");
    command.arg("-F").arg("-f").arg(&config).arg("-L").arg(folder.join("log"));
    command.arg("-p").arg(folder.join("pid")).args(["-N", "EVENT"]);
    let server = Server::start(command, &folder.join("stderr"))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let end = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        ensure!(Instant::now() < end, "ganesha does not listen:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Reference { address, export: "/data", _held: vec![Box::new(server), Box::new(data)] })
}

fn configuration(port: u16, data: &Path, state: &Path) -> String {
    format!(
        "NFS_CORE_PARAM {{ NFS_Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; \
         Enable_RQUOTA = false; }}\n\
         NFSV4 {{ Minor_Versions = 0,1,2; Graceless = true; Only_Numeric_Owners = true; RecoveryBackend = fs; \
         RecoveryRoot = {}; }}\n\
         NFS_KRB5 {{ Active_krb5 = false; }}\n\
         EXPORT {{ Export_Id = 1; Path = {}; Pseudo = /data; Access_Type = RW; Squash = No_Root_Squash; \
         SecType = sys; Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }} }}\n",
        state.display(),
        data.display()
    )
}
