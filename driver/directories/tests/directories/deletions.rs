//! What goes to the trash, what stays, and what comes back.

use efs_directories::deletion::{self, Deleted};
use efs_directories::trash::{Entry, Intent, Keeper, Noted, Notes, Outcome, State};
use efs_directories::volumes::{self, Standing};
use efs_directories::{Claim, DirectoryError, Trash};

use crate::{Disk, create, cut_off, path, wanted};

fn intent(claim: &Claim) -> Intent {
    Intent {
        path: claim.path.clone(),
        file_id: claim.file_id.unwrap(),
        volume: format!("efs:fs-01234567:{}:", claim.path),
        access_point: None,
        claim: Some(claim.id.clone()),
        cluster: None,
        retention: None,
    }
}

fn keeper(cluster: Option<&str>, retention: u64) -> Keeper {
    Keeper { cluster: cluster.map(str::to_owned), retention }
}

/// The volume at `/x` with a file in it, whose deletion is intended.
struct Intended {
    disk: Disk,
    trash: Trash,
    claim: Claim,
    noted: Noted,
}

impl Intended {
    async fn new() -> Self {
        let disk = Disk::new();
        let claim = create(&disk.ledger(), &wanted("pvc-1", "/x")).await.unwrap();
        disk.file("/x/file");
        let trash = disk.trash();
        let noted = trash.intend("dir-1", intent(&claim)).await.unwrap();
        Self { disk, trash, claim, noted }
    }

    /// The same, moved and not settled.
    async fn moved() -> Self {
        let it = Self::new().await;
        assert_eq!(it.trash.carry_out(&it.noted).await.unwrap(), Outcome::Moved);
        it
    }

    /// The only entry of the trash.
    async fn entry(&self) -> Entry {
        let mut entries = self.trash.entries().await.unwrap();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }
}

/// A whole deletion.
pub(crate) async fn delete(disk: &Disk, at: &str) -> Result<Deleted<()>, DirectoryError> {
    let ledger = disk.ledger();
    let standing = volumes::standing(&ledger, &path(at)).await?;
    deletion::delete(&ledger, standing, intent, || async { Ok(None) }).await
}

pub(crate) async fn purge_all(trash: &Trash) {
    for entry in trash.entries().await.unwrap() {
        trash.purge(&entry).await.unwrap();
    }
}

#[tokio::test]
async fn a_deletion_that_is_cut_off_anywhere_is_finished_by_the_next_one() {
    for polls in 0.. {
        let disk = Disk::new();
        create(&disk.ledger(), &wanted("pvc-1", "/base/pvc-1")).await.unwrap();
        disk.file("/base/pvc-1/file");
        disk.file("/base/bystander");
        let finished = cut_off(delete(&disk, "/base/pvc-1"), polls).is_some();
        // Until the end the volume's bytes are at their place or in the trash.
        let in_trash = disk
            .trash()
            .entries()
            .await
            .unwrap()
            .iter()
            .any(|entry| matches!(entry.state, State::Moved | State::Waiting));
        assert!(in_trash || disk.find("/base/pvc-1/file").is_some(), "after {polls} polls");
        delete(&disk, "/base/pvc-1").await.unwrap();
        assert_eq!(disk.all(), ["/base", "/base/bystander"], "after {polls} polls");
        assert_eq!(disk.ledger().claim_at(&path("/base/pvc-1")).await.unwrap(), None);
        purge_all(&disk.trash()).await;
        assert!(disk.trash().entries().await.unwrap().is_empty());
        if finished {
            assert!(polls > 20, "the deletion waits in more than 20 places, not {polls}");
            return;
        }
    }
}

#[tokio::test]
async fn what_has_the_place_of_a_volume_now_stays() {
    let disk = Disk::new();
    let claim = create(&disk.ledger(), &wanted("pvc-1", "/base/x")).await.unwrap();
    let noted = disk.trash().intend("dir-1", intent(&claim)).await.unwrap();
    disk.rename("/base/x", "/base/moved");
    disk.directory("/base/x");
    disk.file("/base/x/theirs");
    assert_eq!(disk.trash().carry_out(&noted).await.unwrap(), Outcome::Replaced);
    assert_eq!(disk.all(), ["/base", "/base/moved", "/base/x", "/base/x/theirs"]);
    assert!(matches!(volumes::standing(&disk.ledger(), &path("/base/x")).await.unwrap(), Standing::Replaced(_)));
    delete(&disk, "/base/x").await.unwrap();
    assert_eq!(disk.all(), ["/base", "/base/moved", "/base/x", "/base/x/theirs"]);
    assert!(disk.trash().entries().await.unwrap().is_empty());
}

/// The directory is exchanged at every point of the move: between the look and the rename, too.
#[tokio::test]
async fn what_is_moved_by_mistake_is_moved_back() {
    let mut mistakes = 0;
    for polls in 1.. {
        let disk = Disk::new();
        let claim = create(&disk.ledger(), &wanted("pvc-1", "/base/x")).await.unwrap();
        let (trash, noted) = (disk.trash(), disk.trash().intend("dir-1", intent(&claim)).await.unwrap());
        let mut call = Box::pin(trash.carry_out(&noted));
        let mut finished = None;
        for _ in 0..polls {
            if let std::task::Poll::Ready(outcome) = futures::poll!(&mut call) {
                finished = Some(outcome);
                break;
            }
        }
        if finished.is_none() {
            if disk.find("/base/x").is_some() {
                disk.rename("/base/x", "/base/moved");
            }
            disk.directory("/base/x");
            disk.file("/base/x/theirs");
            let outcome = call.await;
            mistakes += usize::from(matches!(outcome, Ok(Outcome::Replaced)));
            assert!(disk.find("/base/x/theirs").is_some(), "after {polls} polls: {outcome:?}");
        } else {
            assert!(mistakes > 2, "the exchange was noticed {mistakes} times");
            return;
        }
    }
}

#[tokio::test]
async fn a_directory_in_the_trash_can_be_taken_back_until_it_is_emptied() {
    let disk = Disk::new();
    create(&disk.ledger(), &wanted("pvc-1", "/base/x")).await.unwrap();
    disk.file("/base/x/file");
    delete(&disk, "/base/x").await.unwrap();
    let trash = disk.trash();
    let entries = trash.entries().await.unwrap();
    assert_eq!((entries.len(), entries[0].state), (1, State::Waiting));
    assert_eq!(entries[0].intent.as_ref().unwrap().path, path("/base/x"));
    let now = trash.now().await.unwrap();
    let keeper = keeper(None, 3600);
    assert!(!entries[0].is_due(now, &keeper) && entries[0].is_due(now + 3600, &keeper));

    create(&disk.ledger(), &wanted("pvc-2", "/base/x")).await.unwrap();
    let taken = trash.restore(&disk.ledger(), &entries[0], None).await.unwrap_err();
    assert!(matches!(taken, DirectoryError::Taken { owner, .. } if owner.volume == "pvc-2"));
    assert_eq!(trash.restore(&disk.ledger(), &entries[0], Some(&path("/back"))).await.unwrap(), path("/back"));
    assert_eq!(disk.all(), ["/back", "/back/file", "/base", "/base/x"]);
    assert!(trash.entries().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_purge_has_begun_with_is_not_restored_and_is_finished_by_the_next_one() {
    for polls in 0.. {
        let disk = Disk::new();
        create(&disk.ledger(), &wanted("pvc-1", "/x")).await.unwrap();
        disk.file("/x/file");
        disk.directory("/outside");
        disk.file("/outside/kept");
        disk.link("/x/link", "/outside");
        disk.directory("/x/sub");
        disk.file("/x/sub/file");
        delete(&disk, "/x").await.unwrap();
        let trash = disk.trash();
        let entry = trash.entries().await.unwrap().remove(0);
        let finished = cut_off(trash.purge(&entry), polls).is_some();
        for entry in trash.entries().await.unwrap() {
            if entry.state == State::Purging {
                assert!(trash.restore(&disk.ledger(), &entry, None).await.is_err());
            }
        }
        purge_all(&trash).await;
        assert!(trash.entries().await.unwrap().is_empty(), "after {polls} polls");
        assert_eq!(disk.all(), ["/outside", "/outside/kept"]);
        if finished {
            return;
        }
    }
}

/// A name that is not UTF-8 can't be removed by this client. The call must end, and other entries must go.
#[tokio::test]
async fn an_entry_that_cannot_be_emptied_holds_up_no_other() {
    let disk = Disk::new();
    for at in ["/a", "/b"] {
        create(&disk.ledger(), &wanted(at, at)).await.unwrap();
    }
    let a = disk.find("/a").unwrap();
    let node = fake_efs::store::NewNode {
        body: fake_efs::store::NewBody::Regular { verifier: None },
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    disk.0.create(a, b"\xff\xfe", &node).unwrap();
    for at in ["/a", "/b"] {
        delete(&disk, at).await.unwrap();
    }
    let mut refused = Vec::new();
    for entry in disk.trash().entries().await.unwrap() {
        if let Err(error) = disk.trash().purge(&entry).await {
            refused.push(error.to_string());
        }
    }
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("not UTF-8"), "{refused:?}");
    assert_eq!(disk.trash().entries().await.unwrap().len(), 1);
}

/// What drivers before 0.2 have left in the trash has no note.
#[tokio::test]
async fn entries_without_a_note_are_emptied_when_their_time_has_come() {
    let disk = Disk::new();
    disk.directory("/.efs-csi-deleted");
    disk.directory("/.efs-csi-deleted/fsap-01234567-0");
    disk.file("/.efs-csi-deleted/fsap-01234567-0/file");
    let trash = disk.trash();
    let entry = trash.entries().await.unwrap().remove(0);
    assert_eq!((entry.state, &entry.intent), (State::Waiting, &None));
    let now = trash.now().await.unwrap();
    assert!(!entry.is_due(now, &keeper(None, 3600)));
    assert!(trash.restore(&disk.ledger(), &entry, None).await.unwrap_err().to_string().contains("--to"));
    assert_eq!(trash.purge(&entry).await.unwrap(), 2);
    assert!(trash.entries().await.unwrap().is_empty());
}

/// Two clusters on one file system keep what was deleted for different times.
#[tokio::test]
async fn nobody_empties_what_another_cluster_keeps() {
    let it = Intended::new().await;
    let trash = &it.trash;
    let asked = Intent { cluster: Some("blue".to_owned()), retention: Some(3600), ..it.noted.intent.clone() };
    let noted = trash.intend("dir-1", asked.clone()).await.unwrap();
    // Its own controller, with another flag by now, knows the intent again, and what it says now counts.
    let changed = trash.intend("dir-1", Intent { retention: Some(0), ..asked.clone() }).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.intent.retention), (noted.name.as_str(), Some(0)));
    assert_eq!(trash.intend("dir-1", asked).await.unwrap(), noted);
    trash.carry_out(&noted).await.unwrap();
    trash.settle(&noted).await.unwrap();
    let (entry, now) = (it.entry().await, trash.now().await.unwrap());
    for (cluster, retention, until) in
        [(Some("blue"), 10, 10), (Some("green"), 0, 3600), (None, 0, 3600), (Some("green"), 9000, 3600)]
    {
        let keeper = keeper(cluster, retention);
        assert!(!entry.is_due(entry.since + until - 1, &keeper), "{cluster:?}, now {now}");
        assert!(entry.is_due(entry.since + until, &keeper), "{cluster:?}");
    }
}

/// The server's clock was set back, or somebody wants to keep what is deleted for ever.
#[tokio::test]
async fn what_lies_in_the_future_is_not_due() {
    let it = Intended::moved().await;
    it.trash.settle(&it.noted).await.unwrap();
    let entry = it.entry().await;
    assert!(!entry.is_due(0, &keeper(None, 0)) && entry.is_due(entry.since, &keeper(None, 0)));
    assert!(!entry.is_due(u64::MAX - 1, &keeper(None, u64::MAX)));
}

/// Whoever looks after the trash meets a directory that was just moved, while it is looked whether somebody has come to use it.
#[tokio::test]
async fn what_is_not_settled_is_not_emptied() {
    let it = Intended::moved().await;
    let entry = it.entry().await;
    assert_eq!(entry.state, State::Moved);
    assert!(!entry.is_due(u64::MAX, &keeper(None, 0)));
    let Intended { disk, trash, noted, .. } = it;
    assert!(trash.purge(&entry).await.unwrap_err().to_string().contains("under way"));
    assert_eq!(trash.unsettled("dir-1").await.unwrap(), std::slice::from_ref(&noted));
    trash.withdraw(&noted).await.unwrap();
    assert_eq!(disk.all(), ["/x", "/x/file"]);
    assert!(trash.entries().await.unwrap().is_empty());
}

/// A process dies between the move and the look at what was moved.
#[tokio::test]
async fn what_was_moved_by_mistake_is_given_back_by_the_next_call() {
    let Intended { disk, trash, noted, .. } = Intended::new().await;
    disk.rename("/x", "/mine");
    disk.directory("/x");
    disk.file("/x/theirs");
    disk.rename("/x", "/.efs-csi-deleted/moved-dir-1-0");
    assert_eq!(trash.carry_out(&noted).await.unwrap(), Outcome::Replaced);
    assert_eq!(disk.all(), ["/mine", "/mine/file", "/x", "/x/theirs"]);
    assert!(trash.entries().await.unwrap().is_empty());
}

/// An administrator may be rid of what is kept for good, by its name.
#[tokio::test]
async fn a_kept_entry_is_emptied_when_it_is_named() {
    let it = Intended::moved().await;
    it.disk.directory("/x");
    it.trash.withdraw(&it.noted).await.unwrap();
    let entry = it.entry().await;
    assert_eq!((entry.name.as_str(), entry.state), ("kept-dir-1-0", State::Kept));
    assert!(!entry.is_due(u64::MAX, &keeper(None, 0)));
    assert_eq!(it.trash.purge(&entry).await.unwrap(), 2);
    assert!(it.trash.entries().await.unwrap().is_empty());
}

/// The first call was refused, and its intent stayed. What the last one has moved is kept from then on.
#[tokio::test]
async fn retention_begins_with_the_move() {
    let it = Intended::new().await;
    let intended = it.entry().await.since;
    while it.trash.now().await.unwrap() == intended {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    it.trash.carry_out(&it.noted).await.unwrap();
    it.trash.settle(&it.noted).await.unwrap();
    assert!(it.entry().await.since > intended);
}

/// Whoever looks after the trash takes an intent back beneath a call that has waited for long.
#[tokio::test]
async fn a_deletion_that_was_taken_back_is_not_done() {
    let Intended { disk, trash, claim, noted } = Intended::moved().await;
    trash.withdraw_unsettled(&noted).await.unwrap();
    assert!(matches!(trash.settle(&noted).await, Err(DirectoryError::Contended { .. })));
    assert_eq!(disk.all(), ["/x", "/x/file"]);
    // What is settled is not taken back.
    let noted = trash.intend("dir-1", intent(&claim)).await.unwrap();
    trash.carry_out(&noted).await.unwrap();
    trash.settle(&noted).await.unwrap();
    trash.settle(&noted).await.unwrap();
    trash.withdraw_unsettled(&noted).await.unwrap();
    assert!(disk.all().is_empty());
    let entry = trash.entries().await.unwrap().remove(0);
    assert!(entry.intent.is_some());
    // Nobody knows whose it is: the longer retention counts.
    let kept = Entry { intent: Some(Intent { retention: Some(50), ..intent(&claim) }), ..entry };
    assert!(!kept.is_due(kept.since + 49, &keeper(Some("green"), 0)) && kept.is_due(kept.since + 50, &keeper(None, 0)));
}

#[tokio::test]
async fn a_note_is_read_once_and_again_when_it_was_written_anew() {
    let it = Intended::new().await;
    let mut notes = Notes::new();
    it.trash.entries_afresh(&mut notes).await.unwrap();
    for (_, intent) in notes.values_mut() {
        intent.volume = "as it was read".to_owned();
    }
    let look = async |notes: &mut Notes| it.trash.entries_afresh(notes).await.unwrap().remove(0).intent.unwrap();
    assert_eq!(look(&mut notes).await.volume, "as it was read");
    assert_eq!(look(&mut notes).await.volume, "as it was read");
    let anew = Intent { retention: Some(5), ..it.noted.intent.clone() };
    it.trash.intend("dir-1", anew.clone()).await.unwrap();
    assert_eq!(look(&mut notes).await, anew);
    // Another file may have the number of one that is gone.
    for (version, intent) in notes.values_mut() {
        version.0 -= 1;
        intent.volume = "that of another one".to_owned();
    }
    assert_eq!(look(&mut notes).await, anew);
    it.trash.cancel(&it.noted).await.unwrap();
    assert!(it.trash.entries_afresh(&mut notes).await.unwrap().is_empty() && notes.is_empty());
}
