//! `efs-csi-driver orphans`: access points that this driver made and that no PersistentVolume refers to any more. What another cluster
//! made, or nobody can tell who, is listed and left alone.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;

use crate::cli::OrphansFlags;
use crate::config::AwsConfig;
use crate::controller::cluster::{Claimant, KubeCluster, WaitingClaim};
use crate::controller::uses::Used;
use crate::controller::{clusters_of, is_token_of};
use crate::efs::api::all_access_points;
use crate::efs::{AccessPoint, AwsClients, EfsApi, EfsClients};
use crate::metrics::Metrics;
use crate::volume::{AccessPointId, FileSystemId, FileSystemKind, VolumeId};

/// Tag of the driver's access points.
const OWN_TAG: &str = crate::controller::CLUSTER_TAG;

/// A volume that is being provisioned has its access point before its PersistentVolume, for minutes when the API server is away.
const LEAST_SETTLE: Duration = Duration::from_secs(10 * 60);

/// A PersistentVolume that uses something on EFS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InUse {
    /// Its handle; empty if it is another driver's.
    handle: String,
    /// The access points that it names.
    access_points: Vec<AccessPointId>,
}

impl InUse {
    /// A handle, perhaps with mount options behind it.
    fn parse(line: &str) -> Self {
        let handle = line.split_whitespace().next().unwrap_or_default().to_owned();
        // As kubectl prints a list: in brackets and quotes. Whichever of several counts on the node, none of them is an orphan.
        let words = line.split(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '[' | ']' | '='));
        let named = Used::of_handle(&handle).and_then(|used| used.access_point);
        Self { access_points: words.filter_map(|word| word.parse().ok()).chain(named).collect(), handle }
    }
}

/// The volumes in use, wherever they are listed.
#[async_trait]
trait Handles: Send + Sync {
    async fn list(&self) -> anyhow::Result<Vec<InUse>>;

    /// The claims that wait for a volume and may take up what an earlier one had.
    async fn waiting(&self) -> anyhow::Result<Vec<WaitingClaim>> {
        Ok(Vec::new())
    }
}

/// A file that is read anew for every look.
struct FromFile(PathBuf);

#[async_trait]
impl Handles for FromFile {
    async fn list(&self) -> anyhow::Result<Vec<InUse>> {
        let text = tokio::fs::read_to_string(&self.0).await;
        let text = text.with_context(|| format!("cannot read {}", self.0.display()))?;
        let used: Vec<InUse> = text.lines().filter(|line| !line.trim().is_empty()).map(InUse::parse).collect();
        // What kubectl prints when it can't reach the cluster: nothing, too.
        if used.is_empty() {
            bail!("{} names no volume at all: every access point would be an orphan", self.0.display());
        }
        Ok(used)
    }
}

struct FromCluster;

#[async_trait]
impl Handles for FromCluster {
    async fn list(&self) -> anyhow::Result<Vec<InUse>> {
        let listed = KubeCluster::default().all_claimants().await.context(
            "cannot list PersistentVolumes (run where a kubeconfig or service account is, or give --handles-from)",
        )?;
        let in_use =
            |it: Claimant| InUse { access_points: it.access_point().cloned().into_iter().collect(), handle: it.handle };
        Ok(listed.into_iter().map(in_use).collect())
    }

    async fn waiting(&self) -> anyhow::Result<Vec<WaitingClaim>> {
        KubeCluster::default().all_waiting_claims().await.context("cannot list the claims that wait for a volume")
    }
}

/// Finds orphans, deletes them when asked, and gives the text to print.
///
/// # Errors
/// When the volumes in use or the access points can't be listed; nothing is deleted then.
pub async fn run(flags: &OrphansFlags) -> anyhow::Result<String> {
    if flags.delete && flags.settle < LEAST_SETTLE {
        bail!(
            "--settle must be at least 10m with --delete: a volume that is just being provisioned would be taken for an orphan"
        );
    }
    let clients = AwsClients::new(AwsConfig { region: flags.region.clone(), adaptive_retry: true }, Metrics::new());
    let api = clients.client(FileSystemKind::Efs, None).await?;
    let handles: Box<dyn Handles> = match &flags.handles_from {
        Some(path) => Box::new(FromFile(path.clone())),
        None => Box::new(FromCluster),
    };
    let cluster = match (&flags.cluster_id, &flags.handles_from) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(_)) => None,
        (None, None) => {
            KubeCluster::default().uid().await.context("cannot find out the cluster's id; give --cluster-id")?
        }
    };
    let sweep = Sweep {
        api: api.as_ref(),
        file_system: flags.file_system_id.as_deref().map(str::parse).transpose()?,
        handles: handles.as_ref(),
        cluster,
    };
    if !flags.delete {
        return sweep.tell().await;
    }
    eprintln!("looking twice, {} s apart", flags.settle.as_secs());
    sweep.delete(flags.settle, flags.any_cluster).await
}

/// Whose an orphan is, by its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// This cluster's alone.
    Own,
    /// Another one's, or of several.
    Others,
    /// It doesn't tell.
    Unknown,
}

/// What is compared.
struct Sweep<'a> {
    api: &'a dyn EfsApi,
    file_system: Option<FileSystemId>,
    handles: &'a dyn Handles,
    cluster: Option<String>,
}

/// Access points that no volume refers to, by id, and the number of those in use.
struct Look {
    orphans: BTreeMap<AccessPointId, AccessPoint>,
    used: usize,
}

impl Sweep<'_> {
    /// Access points are listed before volumes, so that one that was made between the two is never an orphan.
    async fn look(&self) -> anyhow::Result<Look> {
        let points = all_access_points(self.api, self.file_system.as_ref()).await?;
        let points = points.into_iter().filter(|it| it.tags.contains_key(OWN_TAG));
        // Claims before volumes: one that is bound by then has its PersistentVolume.
        let waiting = self.handles.waiting().await?;
        let used: HashSet<AccessPointId> =
            self.in_use().await?.into_iter().flat_map(|volume| volume.access_points).collect();
        let orphans = points.filter(|it| !used.contains(&it.id) && !is_awaited(it, &waiting));
        Ok(Look { orphans: orphans.map(|it| (it.id.clone(), it)).collect(), used: used.len() })
    }

    async fn in_use(&self) -> anyhow::Result<Vec<InUse>> {
        let used = self.handles.list().await?;
        for InUse { handle, .. } in used.iter().filter(|volume| !volume.handle.is_empty()) {
            // A handle that can't be read might be one that can't be told from an orphan: better stop than delete its volume.
            handle.parse::<VolumeId>().with_context(|| format!("a PersistentVolume has the handle {handle:?}"))?;
        }
        Ok(used)
    }

    fn whose(&self, it: &AccessPoint) -> Whose {
        match (clusters_of(&it.tags).as_slice(), &self.cluster) {
            ([], _) => Whose::Unknown,
            ([one], Some(own)) if one == own => Whose::Own,
            _ => Whose::Others,
        }
    }

    async fn tell(&self) -> anyhow::Result<String> {
        let look = self.look().await?;
        let outcomes = look.orphans.into_values().map(|it| {
            let outcome = match self.whose(&it) {
                Whose::Own => "orphan",
                Whose::Others => "another cluster's",
                Whose::Unknown => "orphan of some cluster",
            };
            (it, outcome.to_owned())
        });
        report(outcomes.collect(), look.used)
    }

    /// Deletes what is an orphan in two looks, and just before its deletion.
    async fn delete(&self, settle: Duration, any_cluster: bool) -> anyhow::Result<String> {
        let mut first = self.look().await?.orphans;
        tokio::time::sleep(settle).await;
        let second = self.look().await?;
        first.retain(|id, _| second.orphans.contains_key(id));
        let mut outcomes = Vec::new();
        let mut failures = 0;
        for it in first.into_values() {
            let outcome = match self.whose(&it) {
                Whose::Others => "another cluster's".to_owned(),
                Whose::Unknown if !any_cluster => "left alone: it does not tell its cluster (--any-cluster)".to_owned(),
                Whose::Own | Whose::Unknown => match self.delete_one(&it).await {
                    Ok(outcome) => outcome.to_owned(),
                    Err(error) => {
                        failures += 1;
                        format!("not deleted: {error:#}")
                    }
                },
            };
            outcomes.push((it, outcome));
        }
        let text = report(outcomes, second.used)?;
        if failures > 0 {
            bail!("{text}{failures} access points could not be deleted");
        }
        Ok(text)
    }

    async fn delete_one(&self, it: &AccessPoint) -> anyhow::Result<&'static str> {
        let id = &it.id;
        if is_awaited(it, &self.handles.waiting().await?) {
            return Ok("a claim that waits takes it up");
        }
        if self.in_use().await?.iter().any(|volume| volume.access_points.contains(id)) {
            return Ok("in use by now");
        }
        match self.api.access_point(&it.file_system, id).await {
            Ok(now) if self.whose(&now) == Whose::Others => return Ok("another cluster's by now"),
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Ok("gone"),
            Err(error) => return Err(error.into()),
        }
        match self.api.delete_access_point(id).await {
            Ok(()) => Ok("deleted"),
            Err(error) if error.is_not_found() => Ok("gone"),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a claim that waits for a volume takes the access point up.
fn is_awaited(it: &AccessPoint, waiting: &[WaitingClaim]) -> bool {
    waiting.iter().any(|claim| is_token_of(&it.client_token, &it.file_system, &claim.namespace, &claim.name))
}

fn report(mut outcomes: Vec<(AccessPoint, String)>, used: usize) -> anyhow::Result<String> {
    outcomes.sort_by(|(a, _), (b, _)| (&a.file_system, &a.id).cmp(&(&b.file_system, &b.id)));
    let mut text = String::new();
    for (it, outcome) in &outcomes {
        writeln!(text, "{}\t{}\t{}\t{}\t{outcome}", it.file_system, it.id, it.root, it.client_token)?;
    }
    let others = outcomes.iter().filter(|(_, outcome)| outcome.starts_with("another")).count();
    writeln!(text, "{} orphans, {others} of other clusters, {used} volumes in use", outcomes.len() - others)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::CLUSTER_ID_TAG;
    use fake_efs::FakeEfs;
    use std::sync::{Arc, Mutex};

    type Listing = Mutex<Vec<Vec<String>>>;

    /// Each look sees the next list; the last one stays.
    struct Lists(Listing);

    #[async_trait]
    impl Handles for Lists {
        async fn list(&self) -> anyhow::Result<Vec<InUse>> {
            let mut lists = self.0.lock().unwrap();
            let list = if lists.len() > 1 { lists.remove(0) } else { lists[0].clone() };
            Ok(list.iter().map(|line| InUse::parse(line)).collect())
        }
    }

    fn lists(lists: &[&[&str]]) -> Lists {
        Lists(Mutex::new(lists.iter().map(|list| list.iter().map(|it| (*it).to_owned()).collect()).collect()))
    }

    struct Account {
        fake: fake_efs::Instance,
        aws: aws_sdk_efs::Client,
        api: Arc<dyn EfsApi>,
        fs: String,
    }

    impl Account {
        async fn new() -> Self {
            let fake = FakeEfs::builder().start().await.unwrap();
            let base = aws_config::defaults(aws_config::BehaviorVersion::latest())
                .http_client(crate::efs::http_client::http_client(&crate::blocking::Blocking::default()))
                .region(aws_config::Region::new("us-east-1"))
                .credentials_provider(aws_credential_types::Credentials::new(
                    "AKIAEXAMPLE",
                    "secret",
                    None,
                    None,
                    "test",
                ))
                .endpoint_url(fake.http_url())
                .load()
                .await;
            let aws = aws_sdk_efs::Client::new(&base);
            let fs = aws.create_file_system().send().await.unwrap().file_system_id().to_owned();
            let api = AwsClients::with_base(base, Metrics::new()).client(FileSystemKind::Efs, None).await.unwrap();
            Self { fake, aws, api, fs }
        }

        async fn tagged(&self, tags: &[(&str, &str)]) -> String {
            self.with_token(&uuid::Uuid::new_v4().to_string(), tags).await
        }

        async fn with_token(&self, token: &str, tags: &[(&str, &str)]) -> String {
            let mut call = self.aws.create_access_point().client_token(token).file_system_id(&self.fs);
            for (key, value) in tags {
                call = call.tags(aws_sdk_efs::types::Tag::builder().key(*key).value(*value).build().unwrap());
            }
            call.send().await.unwrap().access_point_id().unwrap().to_owned()
        }

        fn sweep<'a>(&'a self, handles: &'a dyn Handles) -> Sweep<'a> {
            Sweep { api: self.api.as_ref(), file_system: None, handles, cluster: Some("own".to_owned()) }
        }

        fn deletions(&self) -> usize {
            self.fake.journal().count("DeleteAccessPoint")
        }
    }

    const SETTLE: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn only_own_access_points_without_a_volume_are_deleted() {
        let account = Account::new().await;
        let own = [(OWN_TAG, "true"), (CLUSTER_ID_TAG, "own")];
        let used = account.tagged(&own).await;
        let orphan = account.tagged(&own).await;
        let others = account.tagged(&[(OWN_TAG, "true"), (CLUSTER_ID_TAG, "blue")]).await;
        let shared = account.tagged(&[(OWN_TAG, "true"), (CLUSTER_ID_TAG, "own blue")]).await;
        let silent = account.tagged(&[(OWN_TAG, "true")]).await;
        let foreign = account.tagged(&[("other", "x")]).await;
        let fs = &account.fs;
        let handles = lists(&[&[&format!("efs:{fs}::{used}"), &format!("{fs}:/static")]]);
        let sweep = account.sweep(&handles);

        let listed = sweep.tell().await.unwrap();
        assert!(!listed.contains(&used) && !listed.contains(&foreign), "{listed}");
        for (id, word) in [(&orphan, "orphan"), (&others, "another"), (&shared, "another"), (&silent, "some cluster")] {
            assert!(
                listed.lines().any(|line| line.contains(id.as_str()) && line.contains(word)),
                "{id} {word}: {listed}"
            );
        }
        assert_eq!(account.deletions(), 0);

        let unreadable = lists(&[&["what?"]]);
        assert!(account.sweep(&unreadable).delete(SETTLE, true).await.is_err());
        assert_eq!(account.deletions(), 0);

        let deleted = sweep.delete(SETTLE, false).await.unwrap();
        assert!(deleted.lines().any(|line| line.contains(&silent) && line.contains("--any-cluster")), "{deleted}");
        assert_eq!(account.deletions(), 1);
        sweep.delete(SETTLE, true).await.unwrap();
        assert_eq!(account.deletions(), 2, "the one that doesn't tell its cluster");
        assert!(sweep.tell().await.unwrap().starts_with(&format!("{fs}\t{}", others.min(shared))));
    }

    /// A volume whose PersistentVolume comes after the first look, after the second, or just before the deletion.
    #[tokio::test]
    async fn a_volume_that_is_being_provisioned_is_no_orphan() {
        let account = Account::new().await;
        let young = account.tagged(&[(OWN_TAG, "true"), (CLUSTER_ID_TAG, "own")]).await;
        let handle = format!("efs:{}::{young}", account.fs);
        for looks_without in 1..=2 {
            let mut all: Vec<&[&str]> = vec![&[]; looks_without];
            let stored = [handle.as_str()];
            all.push(&stored);
            account.sweep(&lists(&all)).delete(SETTLE, false).await.unwrap();
            assert_eq!(account.deletions(), 0, "{looks_without} looks without its PersistentVolume");
        }
        account.sweep(&lists(&[&[]])).delete(SETTLE, false).await.unwrap();
        assert_eq!(account.deletions(), 1);
    }

    /// A claim takes up what an earlier one of its name had (`reuseAccessPoint`), and has no PersistentVolume yet.
    #[tokio::test]
    async fn what_a_waiting_claim_takes_up_is_no_orphan() {
        struct Waits(Mutex<usize>, WaitingClaim);
        #[async_trait]
        impl Handles for Waits {
            async fn list(&self) -> anyhow::Result<Vec<InUse>> {
                Ok(Vec::new())
            }

            async fn waiting(&self) -> anyhow::Result<Vec<WaitingClaim>> {
                let mut looks = self.0.lock().unwrap();
                *looks = looks.saturating_sub(1);
                Ok(if *looks == 0 { vec![self.1.clone()] } else { Vec::new() })
            }
        }
        let account = Account::new().await;
        let claim = WaitingClaim { namespace: "a".to_owned(), name: "data".to_owned() };
        let token = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(format!("{}/a/data", account.fs)));
        let tags = [(OWN_TAG, "true"), (CLUSTER_ID_TAG, "own")];
        account.with_token(&token, &tags).await;
        // It comes before the first look, the second, or the deletion.
        for looks in 1..=3 {
            account.sweep(&Waits(Mutex::new(looks), claim.clone())).delete(SETTLE, false).await.unwrap();
            assert_eq!(account.deletions(), 0, "at look {looks}");
        }
        account.sweep(&lists(&[&[]])).delete(SETTLE, false).await.unwrap();
        assert_eq!(account.deletions(), 1);
    }

    #[tokio::test]
    async fn looks_that_are_too_close_are_refused() {
        let cli = ["efs-csi-driver", "orphans", "--delete", "--settle=9m"].map(std::ffi::OsString::from);
        let Some(crate::cli::Command::Orphans(flags)) = crate::cli::parse(cli).unwrap().command else { panic!() };
        assert!(run(&flags).await.unwrap_err().to_string().contains("--settle"));
    }

    #[tokio::test]
    async fn a_file_of_handles_may_hold_mount_options_and_must_hold_something() {
        let point = "fsap-0123456789abcdef0";
        let options = format!("fs-0123456789abcdef0\t[\"tls\",\"accesspoint={point}\"]");
        let mut in_use = vec![InUse::parse(&options), InUse::parse(&format!("fs-0123456789abcdef0::{point}"))];
        in_use.push(InUse::parse(&format!("fs-0123456789abcdef0  tls,accesspoint={point}")));
        in_use.push(InUse::parse(&format!(
            "fs-0123456789abcdef0 [\"accesspoint=fsap-00000000000000001\",\"accesspoint={point}\"]"
        )));
        for volume in in_use {
            assert!(volume.access_points.contains(&point.parse().unwrap()), "{volume:?}");
        }
        assert_eq!(InUse::parse("fs-0123456789abcdef0:/fsap [\"tls\"]").access_points, []);
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("handles");
        std::fs::write(&empty, "\n \n").unwrap();
        let refused = FromFile(empty).list().await.unwrap_err().to_string();
        assert!(refused.contains("no volume at all"), "{refused}");
    }
}
