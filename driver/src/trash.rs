//! `efs-csi-driver trash`: what deleted directories a file system still has, how to take one back, and how to be rid of one now.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use efs_directories::DirectoryPath;
use efs_directories::trash::{Entry, State};
use tokio_util::sync::CancellationToken;

use crate::blocking::Blocking;
use crate::cli::{TrashAction, TrashFlags, UnknownParameters};
use crate::config::{AwsConfig, ControllerConfig};
use crate::controller::sessions::{Place, Session, Sessions};
use crate::efs::api::all_access_points;
use crate::efs::{AwsClients, EfsApi, EfsClients};
use crate::metrics::Metrics;
use crate::server;
use crate::volume::{FileSystemId, FileSystemKind};

/// Does what is asked, and gives the text to print.
///
/// # Errors
/// When the file system can't be reached, or refuses.
pub async fn run(flags: &TrashFlags) -> anyhow::Result<String> {
    let file_system: FileSystemId = flags.file_system_id.parse().context("--file-system-id")?;
    let clients = AwsClients::new(AwsConfig { region: flags.region.clone(), adaptive_retry: false }, Metrics::new());
    let api = clients.client(FileSystemKind::Efs, None).await?;
    let targets = api.mount_targets(&file_system).await.with_context(|| {
        format!("cannot list the mount targets of {file_system}; check --file-system-id, --region and whose credentials these are")
    })?;
    let place =
        Place { file_system: file_system.clone(), region: clients.region().await?, port: flags.mount_target_port };
    let config = ControllerConfig {
        delete_root_directory: false,
        tags: [].into(),
        unknown_parameters: UnknownParameters::Refuse,
        access_point_quota: 0,
        tls_ca_file: flags.tls_ca_file.clone(),
        mount_target_port: flags.mount_target_port,
        trash_retention: std::time::Duration::ZERO,
        cluster_id: None,
    };
    let stop = CancellationToken::new();
    let sessions =
        server::sessions(&config, Blocking::default(), stop.clone()).await.context("cannot use --tls-ca-file")?;
    let session = sessions.session(&place, &targets).await?;
    let text = act(&session, api.as_ref(), &file_system, &flags.action).await;
    sessions.close().await;
    stop.cancel();
    text
}

async fn act(
    session: &Session,
    api: &dyn EfsApi,
    file_system: &FileSystemId,
    action: &TrashAction,
) -> anyhow::Result<String> {
    let trash = session.trash();
    trash.migrate().await?;
    let entries = trash.entries().await?;
    let find = |name: &str| {
        let found = entries.iter().find(|entry| entry.name == name);
        found.with_context(|| format!("no entry {name:?} in the trash of {file_system}; see `trash list`"))
    };
    match action {
        TrashAction::List => list(session, &entries).await,
        TrashAction::Restore { entry, to } => {
            let to = to.as_deref().map(str::parse::<DirectoryPath>).transpose().context("--to")?;
            let entry = find(entry)?;
            if let Some(path) = to.as_ref().or_else(|| entry.intent.as_ref().map(|intent| &intent.path))
                && let Some(point) = user_of(api, file_system, path).await?
            {
                bail!(
                    "access point {point} uses {path} or a directory around or inside it; choose another place with --to"
                );
            }
            let path = trash.restore(session.ledger(), entry, to.as_ref()).await?;
            Ok(format!("restored {path}; mount it as a static volume: volumeHandle {file_system}:{path}\n"))
        }
        TrashAction::Purge { entry, all, cluster_id } => {
            let chosen: Vec<&Entry> = match entry {
                Some(entry) => vec![find(entry)?],
                None => all_of_one_cluster(&entries, *all, cluster_id.as_deref())?,
            };
            let mut text = String::new();
            for entry in chosen {
                writeln!(text, "{}\t{} removed", entry.name, trash.purge(entry).await?)?;
            }
            Ok(text)
        }
    }
}

async fn list(session: &Session, entries: &[Entry]) -> anyhow::Result<String> {
    let mut text = String::new();
    if !entries.is_empty() {
        let now = session.trash().now().await?;
        for entry in entries {
            let state = match entry.state {
                State::Intended | State::Moved => "being deleted",
                State::Waiting => "deleted",
                State::Purging => "being emptied",
                State::Kept => "kept",
            };
            let (volume, path) = match &entry.intent {
                Some(intent) => (intent.volume.clone(), intent.path.to_string()),
                None => ("-".to_owned(), "-".to_owned()),
            };
            let cluster = cluster_of(entry).unwrap_or("-");
            let age = std::time::Duration::from_secs(now.saturating_sub(entry.since));
            writeln!(text, "{}\t{state}\t{age:?} ago\t{volume}\t{path}\t{cluster}", entry.name)?;
        }
    }
    writeln!(text, "{} entries", entries.len())?;
    Ok(text)
}

fn cluster_of(entry: &Entry) -> Option<&str> {
    entry.intent.as_ref()?.cluster.as_deref()
}

/// What `trash purge --all` means: no cluster's trash by mistake.
fn all_of_one_cluster<'a>(entries: &'a [Entry], all: bool, cluster: Option<&str>) -> anyhow::Result<Vec<&'a Entry>> {
    let can_be_emptied = |entry: &&Entry| all && matches!(entry.state, State::Waiting | State::Purging);
    let chosen: Vec<&Entry> = entries.iter().filter(can_be_emptied).collect();
    let clusters: BTreeSet<&str> = chosen.iter().filter_map(|entry| cluster_of(entry)).collect();
    match cluster {
        Some(own) => {
            Ok(chosen.into_iter().filter(|entry| cluster_of(entry).is_none_or(|cluster| cluster == own)).collect())
        }
        None if clusters.len() > 1 => bail!(
            "several clusters have deleted directories here: {}; say whose are to go with --cluster-id",
            clusters.into_iter().collect::<Vec<_>>().join(", ")
        ),
        None => Ok(chosen),
    }
}

/// An access point that has its root at, inside or around a directory.
async fn user_of(api: &dyn EfsApi, file_system: &FileSystemId, path: &DirectoryPath) -> anyhow::Result<Option<String>> {
    let points = all_access_points(api, Some(file_system)).await?;
    let user = points.iter().find(|it| {
        it.root.parse::<DirectoryPath>().is_ok_and(|root| root.relation(path) != efs_directories::Relation::Apart)
    });
    Ok(user.map(|user| user.id.to_string()))
}
