//! The system calls behind a mount, made in the worker process.
//!
//! fsopen and its kin take the text options one by one, so that no value can smuggle in another option, and they give
//! back the kernel's own words when something is wrong.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};
use serde::{Deserialize, Serialize};

use super::client_name;
use super::options::LABELS;

/// What the worker is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// Mount an NFS file system.
    Mount {
        /// Server and path, `host:/path`.
        source: String,
        /// An existing directory.
        target: PathBuf,
        /// Options of the file system: key, and value unless it is a flag.
        options: Vec<(String, Option<String>)>,
        /// `MOUNT_ATTR_*` bits.
        attributes: u32,
        /// What the kernel's client calls itself; at most 64 bytes.
        client: String,
        /// The file id that the mounted directory must have, where it is known. The kernel follows symbolic links on the server's side of
        /// the source, so the path alone may lead to another tenant's files by now.
        #[serde(default)]
        directory_id: Option<u64>,
    },
    /// Unmount the topmost mount at a path.
    Unmount {
        /// The mount point.
        target: PathBuf,
        /// Abort what waits for the server, and detach the mount even if it is in use.
        force: bool,
    },
    /// Ask the file system how full it is.
    Usage {
        /// Any path in it.
        path: PathBuf,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Mounted or unmounted.
    Done,
    /// The answer to [`Job::Usage`].
    Usage(Usage),
    /// The system refused.
    Failed(JobError),
}

/// Size and use of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that an unprivileged user can still write.
    pub available_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Inodes in all; 0 when the file system doesn't say.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// A system call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {}{}", io::Error::from_raw_os_error(*errno), kernel_words(words))]
pub struct JobError {
    /// The call, and its subject where there is one.
    pub step: String,
    /// The error number.
    pub errno: i32,
    /// What the kernel wrote about it, line by line.
    pub words: Vec<String>,
    /// Whether the call speaks with the server, which then may be who refuses.
    pub asked_server: bool,
}

fn kernel_words(words: &[String]) -> String {
    if words.is_empty() { String::new() } else { format!(" (kernel: {})", words.join("; ")) }
}

impl JobError {
    fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self { step: step.into(), errno: errno.raw_os_error(), words: Vec::new(), asked_server: false }
    }

    /// The same of a call that speaks with the server.
    fn asked_server(self) -> Self {
        Self { asked_server: true, ..self }
    }
}

/// Does `job` in this process. May block for as long as the server likes.
pub fn perform(job: &Job) -> Outcome {
    let result = match job {
        Job::Mount { source, target, options, attributes, client, directory_id } => {
            let attributes = MountAttrFlags::from_bits_retain(*attributes);
            mount_nfs(source, target, options, attributes, client, *directory_id).map(|()| Outcome::Done)
        }
        Job::Unmount { target, force } => {
            let flags = if *force { UnmountFlags::FORCE | UnmountFlags::DETACH } else { UnmountFlags::empty() };
            unmount(target, flags | UnmountFlags::NOFOLLOW)
                .map(|()| Outcome::Done)
                .map_err(|errno| JobError::new(format!("umount2 {}", target.display()), errno))
        }
        Job::Usage { path } => usage(path).map(Outcome::Usage),
    };
    result.unwrap_or_else(Outcome::Failed)
}

fn usage(path: &Path) -> Result<Usage, JobError> {
    let fs = rustix::fs::statvfs(path).map_err(|errno| JobError::new(format!("statvfs {}", path.display()), errno))?;
    Ok(Usage {
        total_bytes: fs.f_blocks.saturating_mul(fs.f_frsize),
        available_bytes: fs.f_bavail.saturating_mul(fs.f_frsize),
        used_bytes: fs.f_blocks.saturating_sub(fs.f_bfree).saturating_mul(fs.f_frsize),
        total_inodes: fs.f_files,
        free_inodes: fs.f_ffree,
    })
}

fn mount_nfs(
    source: &str,
    target: &Path,
    options: &[(String, Option<String>)],
    attributes: MountAttrFlags,
    client: &str,
    directory_id: Option<u64>,
) -> Result<(), JobError> {
    let place =
        openat(CWD, target, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| JobError::new(format!("open {}", target.display()), errno))?;
    client_name::take(client)
        .map_err(|errno| JobError::new(format!("a host name of its own for the NFS client ({client})"), errno))?;
    let context = match fsopen("nfs4", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(context) => context,
        Err(Errno::NOSYS) => return mount_old_style(source, target, options, attributes, directory_id),
        Err(errno) => return Err(JobError::new("fsopen nfs4", errno)),
    };
    let explain = |step: String| {
        let context = &context;
        move |errno| JobError { words: words(context), ..JobError::new(step, errno) }
    };
    fsconfig_set_string(context.as_fd(), "source", source).map_err(explain(format!("source {source}")))?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str())
                .map_err(explain(format!("mount option {key}={value}")))?,
            None => fsconfig_set_flag(context.as_fd(), key.as_str()).map_err(explain(format!("mount option {key}")))?,
        }
    }
    fsconfig_create(context.as_fd()).map_err(|errno| explain(format!("mount {source}"))(errno).asked_server())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(explain(format!("fsmount {source}")))?;
    // Nobody sees the mount yet: one that leads elsewhere goes with its descriptor.
    let found =
        rustix::fs::fstat(&mounted).map_err(|errno| JobError::new(format!("stat {source}"), errno).asked_server())?;
    check_directory(source, directory_id, found.st_ino)?;
    move_mount(
        mounted.as_fd(),
        "",
        place.as_fd(),
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
    .map_err(|errno| JobError::new(format!("move_mount to {}", target.display()), errno))
}

fn check_directory(source: &str, wanted: Option<u64>, found: u64) -> Result<(), JobError> {
    match wanted {
        Some(wanted) if wanted != found => Err(JobError {
            words: vec![format!(
                "{source} is not the directory that was made for the volume (file id {found}, not {wanted}): it was replaced, or a \
                 symbolic link leads elsewhere"
            )],
            ..JobError::new("check the mounted directory", Errno::STALE)
        }),
        _ => Ok(()),
    }
}

/// What the kernel has to say about a file system context, e.g. `nfs4: Unknown parameter 'bogus'`.
fn words(context: &OwnedFd) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0_u8; 1024];
    // One message per read; the log holds eight.
    while lines.len() < 8 {
        match rustix::io::read(context, &mut buffer[..]) {
            Ok(length) if length > 0 => {
                let line = String::from_utf8_lossy(&buffer[..length]);
                let line = line.trim_end();
                lines.push(line.split_once(' ').map_or(line, |(_level, text)| text).to_owned());
            }
            _ => break,
        }
    }
    lines
}

/// Follow no symbolic links (include/uapi/linux/mount.h), from Linux 5.10 on.
const MS_NOSYMFOLLOW: u32 = 256;

/// Options as one text, joined with commas, so that values must not hold any.
fn option_text(options: &[(String, Option<String>)]) -> Result<String, JobError> {
    let mut words = Vec::with_capacity(options.len());
    for (key, value) in options {
        match value {
            // The security module reads its labels from the text first, and knows quotes.
            Some(value) if LABELS.contains(&key.as_str()) => words.push(format!("{key}=\"{value}\"")),
            Some(value) if value.contains(',') => {
                return Err(JobError::new(format!("mount option {key}={value} holds a comma"), Errno::INVAL));
            }
            Some(value) => words.push(format!("{key}={value}")),
            None => words.push(key.clone()),
        }
    }
    Ok(words.join(","))
}

/// mount(2), for kernels before 5.2.
fn mount_old_style(
    source: &str,
    target: &Path,
    options: &[(String, Option<String>)],
    attributes: MountAttrFlags,
    directory_id: Option<u64>,
) -> Result<(), JobError> {
    let pairs = [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, MountFlags::RDONLY),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MountFlags::NOSUID),
        (MountAttrFlags::MOUNT_ATTR_NODEV, MountFlags::NODEV),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, MountFlags::NOEXEC),
        (MountAttrFlags::MOUNT_ATTR_NOATIME, MountFlags::NOATIME),
        (MountAttrFlags::MOUNT_ATTR_STRICTATIME, MountFlags::STRICTATIME),
        (MountAttrFlags::MOUNT_ATTR_NODIRATIME, MountFlags::NODIRATIME),
        (MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, MountFlags::from_bits_retain(MS_NOSYMFOLLOW)),
    ];
    let flags = pairs
        .into_iter()
        .filter(|(attribute, _)| attributes.contains(*attribute))
        .fold(MountFlags::empty(), |flags, (_, flag)| flags | flag);
    let data = std::ffi::CString::new(option_text(options)?)
        .map_err(|_| JobError::new("mount option with a NUL byte", Errno::INVAL))?;
    mount(source, target, "nfs4", flags, data.as_c_str())
        .map_err(|errno| JobError::new(format!("mount {source}"), errno).asked_server())?;
    let found = rustix::fs::stat(target).map_err(|errno| JobError::new(format!("stat {source}"), errno).asked_server());
    // Such a kernel has no mount that nobody sees; it is taken back at once.
    found.and_then(|found| check_directory(source, directory_id, found.st_ino)).inspect_err(|_| {
        let _ = unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_the_step_the_reason_and_the_kernels_words() {
        let error = JobError {
            words: vec!["nfs4: Unknown parameter 'bogus'".to_owned()],
            ..JobError::new("mount option bogus", Errno::INVAL)
        };
        assert_eq!(
            error.to_string(),
            "mount option bogus: Invalid argument (os error 22) (kernel: nfs4: Unknown parameter 'bogus')"
        );
    }

    #[test]
    fn no_value_smuggles_in_an_option_where_options_are_one_text() {
        let option = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let label = option("context", Some("u:r:t:s0:c1,c2"));
        let text = option_text(&[option("hard", None), option("fsc", Some("x")), label]).expect("a text");
        assert_eq!(text, "hard,fsc=x,context=\"u:r:t:s0:c1,c2\"");
        let error = option_text(&[option("fsc", Some("x,port=22"))]).expect_err("a second option").to_string();
        assert!(error.contains("fsc=x,port=22 holds a comma"), "{error}");
    }

    #[test]
    fn another_directory_than_the_volumes_is_refused() {
        assert!(
            check_directory("127.0.0.1:/a", None, 5).is_ok() && check_directory("127.0.0.1:/a", Some(5), 5).is_ok()
        );
        let error = check_directory("127.0.0.1:/a", Some(5), 6).unwrap_err().to_string();
        assert!(error.contains("file id 6, not 5") && error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn the_usage_of_a_missing_path_is_an_error() {
        let Outcome::Failed(error) = perform(&Job::Usage { path: "/nonexistent/x".into() }) else {
            panic!("not failed")
        };
        assert_eq!(error.errno, Errno::NOENT.raw_os_error());
    }

    #[test]
    fn a_symlink_is_no_mount_target() {
        let dir = tempfile::tempdir().expect("temp dir");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("symlink");
        let job = Job::Mount {
            source: "127.0.0.1:/".into(),
            target: link,
            options: Vec::new(),
            attributes: 0,
            client: "c".into(),
            directory_id: None,
        };
        let Outcome::Failed(error) = perform(&job) else { panic!("not failed") };
        assert!(error.step.starts_with("open "), "{error}");
    }
}
