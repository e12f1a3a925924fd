//! Notes of drivers before 0.2.

use efs_directories::ledger::{Kept, Origin};
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

fn bears_its_name(volume: &str, path: &DirectoryPath) -> bool {
    path.name() == volume
}

#[tokio::test]
async fn notes_are_taken_over_however_often_that_is_cut_off() {
    for polls in 0.. {
        let disk = Disk::new();
        disk.directory("/pvc-1");
        disk.directory("/shared");
        note(&disk, "pvc-1", "/pvc-1");
        note(&disk, "pvc-2", "/shared");
        note(&disk, "pvc-3", "/gone");
        let finished = cut_off(disk.ledger().take_over(bears_its_name), polls).is_some();
        let ledger = disk.ledger();
        assert_eq!(ledger.take_over(bears_its_name).await.unwrap(), 0);
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
    let disk = Disk::new();
    disk.directory("/pvc-1");
    disk.directory("/pvc-1/pvc-2");
    note(&disk, "pvc-1", "/pvc-1");
    note(&disk, "pvc-2", "/pvc-1/pvc-2");
    let ledger = disk.ledger();
    assert_eq!(ledger.take_over(bears_its_name).await.unwrap(), 1);
    let claims = ledger.claims(&mut Kept::new()).await.unwrap();
    let (held, claim) = claims.first_key_value().unwrap();
    let other = if claim.volume == "pvc-1" { path("/pvc-1/pvc-2") } else { path("/pvc-1") };
    let refused = volumes::standing(&ledger, &other).await.unwrap_err();
    assert!(matches!(&refused, DirectoryError::Taken { owner, .. } if owner.path == *held), "{refused:?}");
    volumes::release(&ledger, claim).await.unwrap();
    assert_eq!(ledger.take_over(bears_its_name).await.unwrap(), 0);
    assert!(matches!(volumes::standing(&ledger, &other).await.unwrap(), Standing::Present(_)));
}

#[tokio::test]
async fn a_torn_note_is_none() {
    let disk = Disk::new();
    note(&disk, "pvc-1", "/pvc-1");
    disk.file("/.efs-csi-volumes/path-torn");
    assert_eq!(disk.ledger().take_over(bears_its_name).await.unwrap(), 0);
    create(&disk.ledger(), &wanted("pvc-2", "/pvc-2")).await.unwrap();
    assert_eq!(disk.ledger().claims(&mut Kept::new()).await.unwrap().len(), 2);
}
