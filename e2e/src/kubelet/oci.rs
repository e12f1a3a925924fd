//! A container of a pod as a runtime is told of it: the OCI runtime specification's config.json, made as containerd makes it for a
//! kubelet.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, Volume};
use serde_json::{Value, json};

use super::HostRoot;

/// What containerd leaves to a container that asks for nothing.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// What a privileged one has besides.
const FURTHER_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];
/// What containerd's default profile refuses to a container without capabilities; the rest of that profile's work, an answer for
/// system calls that nobody knows, shows in no program here.
const REFUSED_CALLS: &[&str] = &[
    "add_key",
    "bpf",
    "clock_settime",
    "delete_module",
    "finit_module",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kcmp",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "mount",
    "mount_setattr",
    "move_mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "quotactl",
    "reboot",
    "request_key",
    "setdomainname",
    "sethostname",
    "setns",
    "settimeofday",
    "swapoff",
    "swapon",
    "umount2",
    "unshare",
    "userfaultfd",
    "vhangup",
];

/// What a pod's containers need to know of it.
#[derive(Clone, Debug)]
pub struct PodIdentity {
    /// `metadata.name`
    pub name: String,
    /// `metadata.uid`
    pub uid: String,
    /// `spec.nodeName`
    pub node: String,
}

/// A container's configuration. Directories of volumes are made; `config_maps` are the files of ConfigMaps and Secrets by name.
pub fn config(
    host: &HostRoot,
    pod: &PodIdentity,
    spec: &PodSpec,
    container: &Container,
    config_maps: &HashMap<String, BTreeMap<String, Vec<u8>>>,
) -> anyhow::Result<Value> {
    let environment = environment(pod, container)?;
    let entry = image_entry(container)?;
    let words = container.command.clone().unwrap_or_else(|| vec![entry]);
    let arguments = container.args.clone().unwrap_or_default();
    let args: Vec<String> = words.iter().chain(&arguments).map(|word| expand(word, &environment)).collect();
    let security = container.security_context.clone().unwrap_or_default();
    let of_pod = spec.security_context.clone().unwrap_or_default();
    let privileged = security.privileged.unwrap_or(false);
    // The images' own user.
    let user = security.run_as_user.or(of_pod.run_as_user).unwrap_or(65532);
    let group = security.run_as_group.or(of_pod.run_as_group).unwrap_or(user);
    let capabilities = capabilities(privileged, user, container);
    let mut mounts = system_mounts(privileged);
    for mount in container.volume_mounts.iter().flatten() {
        let volumes = spec.volumes.iter().flatten();
        let volume =
            volumes.clone().find(|it| it.name == mount.name).with_context(|| format!("no volume {}", mount.name))?;
        let source = volume_source(host, pod, volume, of_pod.fs_group, config_maps)?;
        let propagation = match mount.mount_propagation.as_deref() {
            Some("Bidirectional") => "rshared",
            Some("HostToContainer") => "rslave",
            _ => "rprivate",
        };
        let access = if mount.read_only == Some(true) { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": mount.mount_path, "type": "bind", "source": source, "options": ["rbind", propagation, access],
        }));
    }
    let shared = mounts.iter().any(|it| it["options"].as_array().is_some_and(|it| it.contains(&json!("rshared"))));
    let confined = [&security.seccomp_profile, &of_pod.seccomp_profile].into_iter().flatten().next();
    let mut linux = json!({
        "cgroupsPath": format!("/kubepods/pod{}/{}", pod.uid, container.name),
        "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
        "resources": resources(container)?,
        "rootfsPropagation": if shared { "rshared" } else { "rslave" },
    });
    if !privileged {
        if confined.is_some_and(|profile| profile.type_ == "RuntimeDefault") {
            linux["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": REFUSED_CALLS, "action": "SCMP_ACT_ERRNO"}],
            });
        }
        linux["maskedPaths"] = json!([
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/sys/firmware"
        ]);
        linux["readonlyPaths"] = json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs", "readonly": security.read_only_root_filesystem.unwrap_or(false)},
        "hostname": pod.node,
        "process": {
            "terminal": false,
            "user": {"uid": user, "gid": group, "additionalGids": of_pod.fs_group.into_iter().collect::<Vec<_>>()},
            "args": args,
            "env": environment.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "cwd": "/",
            "capabilities": capabilities,
            "noNewPrivileges": !privileged && security.allow_privilege_escalation == Some(false),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1_048_576, "hard": 1_048_576}],
        },
        "mounts": mounts,
        "linux": linux,
    }))
}

/// The images' entry points are their names.
fn image_entry(container: &Container) -> anyhow::Result<String> {
    let image = container.image.as_deref().with_context(|| format!("container {} has no image", container.name))?;
    let name = image.rsplit('/').next().unwrap_or(image);
    Ok(format!("/{}", name.split([':', '@']).next().unwrap_or(name)))
}

fn capabilities(privileged: bool, user: i64, container: &Container) -> Value {
    let asked = container.security_context.as_ref().and_then(|it| it.capabilities.clone()).unwrap_or_default();
    let (add, drop) = (asked.add.unwrap_or_default(), asked.drop.unwrap_or_default());
    let mut names: Vec<String> = if privileged {
        DEFAULT_CAPABILITIES.iter().chain(FURTHER_CAPABILITIES).map(|name| (*name).to_owned()).collect()
    } else if drop.iter().any(|name| name == "ALL") {
        Vec::new()
    } else {
        DEFAULT_CAPABILITIES
            .iter()
            .filter(|name| !drop.iter().any(|it| it == **name))
            .map(|name| (*name).to_owned())
            .collect()
    };
    names.extend(add);
    let names: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
    // Who isn't root has them within reach only.
    let held = if user == 0 { names.clone() } else { Vec::new() };
    json!({"bounding": names, "permitted": held, "effective": held})
}

fn system_mounts(privileged: bool) -> Vec<Value> {
    let sys = if privileged { "rw" } else { "ro" };
    vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]}),
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "size=65536k"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", sys]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", sys]}),
    ]
}

fn resources(container: &Container) -> anyhow::Result<Value> {
    let mut resources = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let limits = container.resources.as_ref().and_then(|it| it.limits.as_ref());
    if let Some(memory) = limits.and_then(|it| it.get("memory")) {
        // A container that has no memory left ends as a whole (kubelets of 1.28 and later, cgroup v2).
        resources["memory"] = json!({"limit": bytes(&memory.0)?});
        resources["unified"] = json!({"memory.oom.group": "1"});
    }
    if let Some(processors) = limits.and_then(|it| it.get("cpu")) {
        let thousandths: i64 = match processors.0.strip_suffix('m') {
            Some(number) => number.parse()?,
            None => processors.0.parse::<i64>()? * 1000,
        };
        resources["cpu"] = json!({"quota": thousandths * 100, "period": 100_000});
    }
    Ok(resources)
}

/// A quantity of memory in bytes.
fn bytes(quantity: &str) -> anyhow::Result<u64> {
    let units =
        [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(suffix, unit)| Some((quantity.strip_suffix(suffix)?, unit)))
        .unwrap_or((quantity, 1));
    Ok(number.parse::<u64>().with_context(|| format!("the quantity {quantity}"))? * unit)
}

fn environment(pod: &PodIdentity, container: &Container) -> anyhow::Result<Vec<(String, String)>> {
    let mut all = vec![("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned())];
    for variable in container.env.iter().flatten() {
        let value = match &variable.value {
            Some(value) => expand(value, &all),
            None => value_from(pod, container, variable)?,
        };
        all.push((variable.name.clone(), value));
    }
    Ok(all)
}

fn value_from(pod: &PodIdentity, container: &Container, variable: &EnvVar) -> anyhow::Result<String> {
    let Some(source) = &variable.value_from else { return Ok(String::new()) };
    if let Some(field) = &source.field_ref {
        return Ok(match field.field_path.as_str() {
            "metadata.name" => pod.name.clone(),
            "metadata.uid" => pod.uid.clone(),
            "spec.nodeName" => pod.node.clone(),
            "status.hostIP" | "status.podIP" => "127.0.0.1".to_owned(),
            other => bail!("{}: the field {other} is not known here", variable.name),
        });
    }
    if let Some(resource) = &source.resource_field_ref
        && resource.resource == "limits.memory"
    {
        let limits = container.resources.as_ref().and_then(|it| it.limits.as_ref());
        return match limits.and_then(|it| it.get("memory")) {
            Some(limit) => Ok(bytes(&limit.0)?.to_string()),
            // Without a limit it is what the node has.
            None => node_memory().map(|bytes| bytes.to_string()),
        };
    }
    if source.secret_key_ref.as_ref().is_some_and(|it| it.optional == Some(true)) {
        return Ok(String::new());
    }
    bail!("{}: where its value comes from is not known here", variable.name)
}

fn node_memory() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("no MemTotal")?;
    Ok(total.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Puts the values of `$(NAME)` in.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    environment.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

fn volume_source(
    host: &HostRoot,
    pod: &PodIdentity,
    volume: &Volume,
    fs_group: Option<i64>,
    config_maps: &HashMap<String, BTreeMap<String, Vec<u8>>>,
) -> anyhow::Result<PathBuf> {
    if let Some(on_host) = &volume.host_path {
        let path = host.at(&on_host.path);
        if on_host.type_.as_deref() == Some("DirectoryOrCreate") {
            std::fs::create_dir_all(&path)?;
        }
        return Ok(path);
    }
    let own = host.at(Path::new("/var/lib/kubelet/pods").join(&pod.uid).join("volumes").join(&volume.name));
    std::fs::create_dir_all(&own)?;
    if volume.empty_dir.is_some() {
        use std::os::unix::fs::PermissionsExt as _;
        // A kubelet leaves it open to all, or to the group that the pod names.
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o2777))?;
        chown(&own, None, fs_group.and_then(|group| u32::try_from(group).ok()))?;
        return Ok(own);
    }
    let name = volume.config_map.as_ref().map(|it| it.name.clone());
    let name = name.or_else(|| volume.secret.as_ref().and_then(|it| it.secret_name.clone()));
    let files = name.as_ref().and_then(|name| config_maps.get(name));
    for (key, content) in files.with_context(|| format!("the volume {} can't be had here", volume.name))? {
        std::fs::write(own.join(key), content)?;
    }
    Ok(own)
}
