//! `efs-csi-driver orphans`: access points that this driver made and that no PersistentVolume refers to any more.

use std::collections::HashSet;
use std::fmt::Write as _;

use anyhow::{Context, bail};

use crate::cli::OrphansFlags;
use crate::config::AwsConfig;
use crate::controller::cluster::KubeCluster;
use crate::efs::api::LARGEST_PAGE;
use crate::efs::{AccessPoint, AwsClients, EfsApi, EfsClients};
use crate::metrics::Metrics;
use crate::volume::{AccessPointId, FileSystemId, VolumeId};

/// Tag of the driver's access points.
const OWN_TAG: &str = crate::controller::CLUSTER_TAG;

/// Finds orphans, deletes them when asked, and gives the text to print.
///
/// # Errors
/// When the volumes in use or the access points can't be listed; nothing is deleted then.
pub async fn run(flags: &OrphansFlags) -> anyhow::Result<String> {
    let clients = AwsClients::new(AwsConfig { region: flags.region.clone(), adaptive_retry: true }, Metrics::new());
    let api = clients.client(None).await?;
    let handles = match &flags.handles_from {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        None => KubeCluster::default().all_handles().await.context(
            "cannot list PersistentVolumes (run where a kubeconfig or service account is, or give --handles-from)",
        )?,
    };
    let file_system = flags.file_system_id.as_deref().map(str::parse).transpose()?;
    sweep(api.as_ref(), file_system.as_ref(), &handles, flags.delete).await
}

/// Compares access points with the handles in use.
async fn sweep(
    api: &dyn EfsApi,
    file_system: Option<&FileSystemId>,
    handles: &[String],
    delete: bool,
) -> anyhow::Result<String> {
    let mut used: HashSet<AccessPointId> = HashSet::new();
    for handle in handles {
        // A handle that can't be read might be one that can't be told from an orphan: better stop than delete its volume.
        let volume: VolumeId =
            handle.parse().with_context(|| format!("a PersistentVolume has the handle {handle:?}"))?;
        used.extend(volume.access_point);
    }
    let mut orphans: Vec<AccessPoint> = Vec::new();
    let mut token = None;
    loop {
        let page = api.access_points(file_system, LARGEST_PAGE, token.as_deref()).await?;
        orphans.extend(
            page.access_points.into_iter().filter(|it| it.tags.contains_key(OWN_TAG) && !used.contains(&it.id)),
        );
        match page.next_token {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    orphans.sort_by(|a, b| (&a.file_system, &a.id).cmp(&(&b.file_system, &b.id)));
    let mut text = String::new();
    let mut failures = 0;
    for it in &orphans {
        let outcome = match delete {
            false => "orphan".to_owned(),
            true => match api.delete_access_point(&it.id).await {
                Ok(()) => "deleted".to_owned(),
                Err(error) if error.is_not_found() => "gone".to_owned(),
                Err(error) => {
                    failures += 1;
                    format!("not deleted: {error}")
                }
            },
        };
        writeln!(text, "{}\t{}\t{}\t{}\t{outcome}", it.file_system, it.id, it.root, it.client_token)?;
    }
    writeln!(text, "{} orphans, {} volumes in use", orphans.len(), used.len())?;
    if failures > 0 {
        bail!("{text}{failures} access points could not be deleted");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_efs::FakeEfs;

    async fn tagged(aws: &aws_sdk_efs::Client, fs: &str, tag: &str) -> String {
        let tag = aws_sdk_efs::types::Tag::builder().key(tag).value("true").build().unwrap();
        let made = aws.create_access_point().file_system_id(fs).tags(tag).send().await.unwrap();
        made.access_point_id().unwrap().to_owned()
    }

    #[tokio::test]
    async fn only_own_access_points_without_a_volume_are_orphans() {
        let fake = FakeEfs::builder().start().await.unwrap();
        let base = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(crate::efs::http_client::http_client())
            .region(aws_config::Region::new("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
            .endpoint_url(fake.http_url())
            .load()
            .await;
        let aws = aws_sdk_efs::Client::new(&base);
        let fs = aws.create_file_system().send().await.unwrap().file_system_id().to_owned();
        let used = tagged(&aws, &fs, OWN_TAG).await;
        let orphan = tagged(&aws, &fs, OWN_TAG).await;
        let foreign = tagged(&aws, &fs, "other").await;
        let api = AwsClients::with_base(base, Metrics::new()).client(None).await.unwrap();
        let handles = [format!("efs:{fs}::{used}"), format!("{fs}:/static")];

        let listed = sweep(api.as_ref(), None, &handles, false).await.unwrap();
        assert!(listed.contains(&orphan) && !listed.contains(&used) && !listed.contains(&foreign), "{listed}");
        assert!(listed.ends_with("1 orphans, 1 volumes in use\n"), "{listed}");
        assert_eq!(fake.journal().count("DeleteAccessPoint"), 0);

        let unreadable = [handles[0].clone(), "what?".to_owned()];
        assert!(sweep(api.as_ref(), None, &unreadable, true).await.is_err());
        assert_eq!(fake.journal().count("DeleteAccessPoint"), 0);

        let deleted = sweep(api.as_ref(), Some(&fs.parse().unwrap()), &handles, true).await.unwrap();
        assert!(deleted.contains("deleted"), "{deleted}");
        assert_eq!(fake.journal().count("DeleteAccessPoint"), 1);
        assert!(sweep(api.as_ref(), None, &handles, false).await.unwrap().starts_with("0 orphans"));
    }
}
