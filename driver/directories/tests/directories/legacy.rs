//! Notes of drivers before 0.2.

use efs_directories::claim::Origin;
use efs_directories::ledger::Kept;
use efs_directories::volumes::{self, Standing};
use efs_directories::{DirectoryError, DirectoryPath};
use fake_efs::store::NewBody;
use sha2::{Digest, Sha256};

use crate::{Disk, create, cut_off, path, wanted};

fn note(disk: &Disk, name: &str, at: &str) {
    if disk.find("/.efs-csi-volumes").is_none() {
        disk.directory("/.efs-csi-volumes");
    }
    let text = serde_json::json!({
        "name": name, "path": at, "uid": 5, "gid": 6, "permissions": "700", "capacity": 42,
    });
    for (kind, of) in [("path", at), ("name", name)] {
        let file = format!("/.efs-csi-volumes/{kind}-{}", hex::encode(Sha256::digest(of)));
        disk.make(&file, NewBody::Regular { verifier: None });
        disk.0.write(disk.find(&file).unwrap(), 0, text.to_string().as_bytes()).unwrap();
    }
}

/// A directory that an earlier driver has made and noted for the volume `pvc-1`.
fn noted() -> Disk {
    let disk = Disk::new();
    disk.directory("/pvc-1");
    note(&disk, "pvc-1", "/pvc-1");
    disk
}

fn bears_its_name(volume: &str, path: &DirectoryPath) -> bool {
    path.name() == volume
}

#[tokio::test]
async fn notes_are_taken_over_however_often_that_is_cut_off() {
    for polls in 0.. {
        let disk = noted();
        disk.directory("/shared");
        note(&disk, "pvc-2", "/shared");
        note(&disk, "pvc-3", "/gone");
        let finished = cut_off(disk.ledger().migrate(bears_its_name), polls).is_some();
        let ledger = disk.ledger();
        assert_eq!(ledger.migrate(bears_its_name).await.unwrap(), 0);
        let claims = ledger.claims(&mut Kept::new()).await.unwrap();
        let seen: Vec<_> =
            claims.values().map(|it| (it.volume.as_str(), it.path.to_string(), it.origin, it.capacity())).collect();
        assert_eq!(
            seen,
            [
                ("pvc-3", "/gone".to_owned(), Origin::Unknown, 42),
                ("pvc-1", "/pvc-1".to_owned(), Origin::Made, 42),
                ("pvc-2", "/shared".to_owned(), Origin::Unknown, 42),
            ],
            "after {polls} polls"
        );
        assert!(matches!(volumes::standing(&ledger, &path("/pvc-1")).await.unwrap(), Standing::Present(_)));
        // It may have been there before, so it is never removed.
        assert!(matches!(volumes::standing(&ledger, &path("/shared")).await.unwrap(), Standing::Kept(_)));
        assert!(matches!(volumes::standing(&ledger, &path("/gone")).await.unwrap(), Standing::Gone(_)));
        assert_eq!(ledger.claim_of("pvc-1").await.unwrap().unwrap().path, path("/pvc-1"));
        if finished {
            return;
        }
    }
}

/// Earlier drivers let volumes overlap. The one that is taken over later can't be deleted before the other.
#[tokio::test]
async fn overlapping_notes_are_told_apart() {
    let disk = noted();
    disk.directory("/pvc-1/pvc-2");
    note(&disk, "pvc-2", "/pvc-1/pvc-2");
    let ledger = disk.ledger();
    assert_eq!(ledger.migrate(bears_its_name).await.unwrap(), 1);
    let claims = ledger.claims(&mut Kept::new()).await.unwrap();
    let (held, claim) = claims.first_key_value().unwrap();
    let other = if claim.volume == "pvc-1" { path("/pvc-1/pvc-2") } else { path("/pvc-1") };
    let refused = volumes::standing(&ledger, &other).await.unwrap_err();
    assert!(matches!(&refused, DirectoryError::Taken { owner, .. } if owner.path == *held), "{refused:?}");
    volumes::release(&ledger, claim).await.unwrap();
    assert_eq!(ledger.migrate(bears_its_name).await.unwrap(), 0);
    assert!(matches!(volumes::standing(&ledger, &other).await.unwrap(), Standing::Present(_)));
}

#[tokio::test]
async fn a_torn_note_is_none() {
    let disk = Disk::new();
    note(&disk, "pvc-1", "/pvc-1");
    disk.file("/.efs-csi-volumes/path-torn");
    assert_eq!(disk.ledger().migrate(bears_its_name).await.unwrap(), 0);
    create(&disk.ledger(), &wanted("pvc-2", "/pvc-2")).await.unwrap();
    assert_eq!(disk.ledger().claims(&mut Kept::new()).await.unwrap().len(), 2);
}

fn notes(disk: &Disk) -> Vec<String> {
    let all = ["path", "name"].into_iter().flat_map(|kind| ["pvc-1", "/pvc-1"].map(|of| (kind, of)));
    let files = all.map(|(kind, of)| format!("/.efs-csi-volumes/{kind}-{}", hex::encode(Sha256::digest(of))));
    files.filter(|file| disk.find(file).is_some()).collect()
}

/// An earlier driver may still be at work, or come back: it knows a directory to be taken by its note only.
#[tokio::test]
async fn notes_stay_as_long_as_their_volumes() {
    for polls in 0.. {
        let disk = noted();
        assert_eq!(disk.ledger().migrate(bears_its_name).await.unwrap(), 0);
        assert_eq!(notes(&disk).len(), 2);
        let claim = disk.ledger().claim_at(&path("/pvc-1")).await.unwrap().unwrap();
        assert_eq!(disk.ledger().migrate(bears_its_name).await.unwrap(), 0, "once is enough");
        assert_eq!(disk.ledger().claim_at(&path("/pvc-1")).await.unwrap().unwrap(), claim);
        assert_eq!(disk.ledger().legacy_notes().await.unwrap(), []);
        let finished = cut_off(volumes::release(&disk.ledger(), &claim), polls).is_some();
        // However far that came, the next one ends it, and nothing is taken for a volume again that was given up.
        disk.ledger().migrate(bears_its_name).await.unwrap();
        if let Some(claim) = disk.ledger().claim_at(&path("/pvc-1")).await.unwrap() {
            volumes::release(&disk.ledger(), &claim).await.unwrap();
        }
        disk.ledger().migrate(bears_its_name).await.unwrap();
        assert_eq!(disk.ledger().claim_at(&path("/pvc-1")).await.unwrap(), None, "after {polls} polls");
        assert_eq!(notes(&disk), [""; 0], "after {polls} polls");
        if finished {
            return;
        }
    }
}

#[tokio::test]
async fn what_an_earlier_driver_deletes_is_deleted() {
    let disk = noted();
    disk.ledger().migrate(bears_its_name).await.unwrap();
    let top = disk.find("/.efs-csi-volumes").unwrap();
    for file in notes(&disk) {
        disk.0.remove(top, file.rsplit('/').next().unwrap().as_bytes()).unwrap();
    }
    // Its note goes first; as long as the directory is there, so is the volume.
    disk.ledger().migrate(bears_its_name).await.unwrap();
    assert!(disk.ledger().claim_at(&path("/pvc-1")).await.unwrap().is_some());
    disk.directory("/.efs-csi-trash");
    disk.rename("/pvc-1", "/.efs-csi-trash/pvc-1");
    disk.ledger().migrate(bears_its_name).await.unwrap();
    assert_eq!(disk.ledger().claim_at(&path("/pvc-1")).await.unwrap(), None);
    create(&disk.ledger(), &wanted("pvc-2", "/pvc-1")).await.unwrap();
    // What is in its trash is taken to where it doesn't look.
    disk.trash().migrate().await.unwrap();
    let entry = disk.trash().entries().await.unwrap().remove(0);
    assert_eq!((entry.name.as_str(), entry.state), ("pvc-1", efs_directories::trash::State::Waiting));
    assert!(disk.find("/.efs-csi-trash/pvc-1").is_none());
}
