//! Who gets a directory, and what a creation leaves behind that ends in the middle.

use std::collections::HashSet;

use efs_directories::claim::Origin;
use efs_directories::ledger::Kept;
use efs_directories::volumes::{self, Purpose, Standing, Wanted};
use efs_directories::{DirectoryError, Relation};
use proptest::prelude::*;

use crate::{Disk, create, cut_off, path, wanted};

#[tokio::test]
async fn a_directory_is_made_with_owner_and_mode_and_found_again() {
    let disk = Disk::new();
    let claim = create(&disk.ledger(), &wanted("pvc-1", "/deep/down/pvc-1")).await.unwrap();
    let made = disk.0.attributes(disk.find("/deep/down/pvc-1").unwrap()).unwrap();
    assert_eq!((made.uid, made.gid, made.mode, Some(made.id.0)), (1001, 1002, 0o750, claim.file_id));
    assert_eq!(create(&disk.ledger(), &wanted("pvc-1", "/deep/down/pvc-1")).await.unwrap(), claim);
    assert_eq!(disk.all(), ["/deep", "/deep/down", "/deep/down/pvc-1"]);
    assert_eq!(disk.ledger().claim_of("pvc-1").await.unwrap(), Some(claim));
}

#[tokio::test]
async fn no_directory_is_equal_to_another_inside_or_around_it() {
    let disk = Disk::new();
    create(&disk.ledger(), &wanted("pvc-1", "/team/app")).await.unwrap();
    for (at, relation) in
        [("/team/app", Relation::Same), ("/team/app/inner", Relation::Inside), ("/team", Relation::Around)]
    {
        match create(&disk.ledger(), &wanted("pvc-2", at)).await.unwrap_err() {
            DirectoryError::Taken { relation: found, owner, .. } => {
                assert_eq!((found, owner.volume.as_str()), (relation, "pvc-1"), "{at}");
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    create(&disk.ledger(), &wanted("pvc-2", "/team/application")).await.unwrap();
    assert_eq!(disk.all(), ["/team", "/team/app", "/team/application"]);
}

#[tokio::test]
async fn a_name_has_one_directory() {
    let disk = Disk::new();
    create(&disk.ledger(), &wanted("pvc-1", "/a")).await.unwrap();
    let other = create(&disk.ledger(), &wanted("pvc-1", "/b")).await.unwrap_err();
    assert!(matches!(other, DirectoryError::Elsewhere(claim) if claim.path == path("/a")));
}

#[tokio::test]
async fn what_was_there_is_refused_or_adopted_as_it_is() {
    let disk = Disk::new();
    disk.directory("/data");
    disk.file("/data/precious");
    let refused = create(&disk.ledger(), &wanted("pvc-1", "/data")).await.unwrap_err();
    assert!(matches!(refused, DirectoryError::Exists { .. }), "{refused:?}");
    let adopting = Wanted { purpose: Purpose::Adopt, ..wanted("pvc-1", "/data") };
    let claim = create(&disk.ledger(), &adopting).await.unwrap();
    assert_eq!(claim.origin, Origin::Adopted);
    let kept = disk.0.attributes(disk.find("/data").unwrap()).unwrap();
    assert_eq!((kept.uid, kept.gid, kept.mode), (7, 7, 0o755));
    assert!(matches!(volumes::standing(&disk.ledger(), &path("/data")).await.unwrap(), Standing::Kept(_)));
    let missing = Wanted { purpose: Purpose::Adopt, ..wanted("pvc-2", "/none") };
    assert!(matches!(create(&disk.ledger(), &missing).await.unwrap_err(), DirectoryError::Missing { .. }));
    volumes::release(&disk.ledger(), &claim).await.unwrap();
    assert_eq!(disk.all(), ["/data", "/data/precious"]);
}

/// Access points of a class that names one directory for all of its volumes.
#[tokio::test]
async fn access_points_share_a_directory_and_keep_directory_volumes_out() {
    let disk = Disk::new();
    let share = |volume: &str, at: &str| Wanted { purpose: Purpose::Share, ..wanted(volume, at) };
    let claim = create(&disk.ledger(), &share("pvc-1", "/shared")).await.unwrap();
    assert_eq!((claim.origin, claim.is_directory_volume()), (Origin::Made, false));
    assert_eq!(create(&disk.ledger(), &share("pvc-1", "/shared")).await.unwrap(), claim);
    assert_eq!(create(&disk.ledger(), &share("pvc-2", "/shared")).await.unwrap(), claim);
    for at in ["/shared", "/shared/x"] {
        let refused = create(&disk.ledger(), &wanted("pvc-3", at)).await.unwrap_err();
        assert!(matches!(refused, DirectoryError::Taken { .. }), "{at}: {refused:?}");
    }
    disk.directory("/there");
    assert_eq!(create(&disk.ledger(), &share("pvc-4", "/there")).await.unwrap().origin, Origin::Adopted);
    volumes::own(&disk.ledger(), &claim, 0o711, 5, 6).await.unwrap();
    let made = disk.0.attributes(disk.find("/shared").unwrap()).unwrap();
    assert_eq!((made.uid, made.gid, made.mode), (5, 6, 0o711));
}

#[tokio::test]
async fn links_are_refused_on_the_way_and_at_the_end() {
    let disk = Disk::new();
    disk.directory("/secret");
    disk.directory("/team");
    disk.link("/team/app", "../secret");
    for at in ["/team/app", "/team/app/inner"] {
        let refused = create(&disk.ledger(), &wanted("pvc-1", at)).await.unwrap_err();
        assert!(matches!(&refused, DirectoryError::Link { at, .. } if *at == path("/team/app")), "{refused:?}");
        let adopting = Wanted { purpose: Purpose::Adopt, ..wanted("pvc-1", at) };
        assert!(matches!(create(&disk.ledger(), &adopting).await.unwrap_err(), DirectoryError::Link { .. }));
    }
    disk.file("/team/file");
    let refused = create(&disk.ledger(), &wanted("pvc-1", "/team/file")).await.unwrap_err();
    assert!(matches!(refused, DirectoryError::NotDirectory { .. }), "{refused:?}");
    assert_eq!(disk.all(), ["/secret", "/team", "/team/app", "/team/file"]);
    assert_eq!(disk.ledger().claims(&mut Kept::new()).await.unwrap().len(), 0, "a refusal leaves no claim");
}

#[tokio::test]
async fn a_creation_that_is_cut_off_anywhere_is_finished_by_the_next_one() {
    for polls in 0.. {
        let disk = Disk::new();
        disk.directory("/bystander");
        let first = disk.ledger();
        let finished = cut_off(create(&first, &wanted("pvc-1", "/base/pvc-1")), polls).is_some();
        let claim = create(&disk.ledger(), &wanted("pvc-1", "/base/pvc-1")).await.unwrap();
        assert_eq!(disk.all(), ["/base", "/base/pvc-1", "/bystander"], "after {polls} polls");
        let claims = disk.ledger().claims(&mut Kept::new()).await.unwrap();
        assert_eq!(claims.into_values().collect::<Vec<_>>(), [claim], "after {polls} polls");
        if finished {
            assert!(polls > 30, "the creation waits in more than 30 places, not {polls}");
            return;
        }
    }
}

/// Two controllers make one volume, as around a change of leaders: each is held up at any point while the other one goes on.
#[tokio::test]
async fn two_creations_of_one_volume_end_with_one_claim_that_stands() {
    for first in 0..48 {
        for second in 0..48 {
            let disk = Disk::new();
            let (a, b) = (disk.ledger(), disk.ledger());
            let asked = wanted("pvc-1", "/base/pvc-1");
            let mut one = Box::pin(create(&a, &asked));
            let mut other = Box::pin(create(&b, &asked));
            let mut results = Vec::new();
            for _ in 0..first {
                if let std::task::Poll::Ready(result) = futures::poll!(&mut one) {
                    results.push(result);
                    break;
                }
            }
            let one_is_done = !results.is_empty();
            let mut other_is_done = false;
            for _ in 0..second {
                if let std::task::Poll::Ready(result) = futures::poll!(&mut other) {
                    results.push(result);
                    other_is_done = true;
                    break;
                }
            }
            if !one_is_done {
                results.push(one.await);
            }
            if !other_is_done {
                results.push(other.await);
            }
            let made: Vec<_> = results.into_iter().flatten().collect();
            let stands = disk.ledger().claim_at(&path("/base/pvc-1")).await.unwrap();
            assert!(!made.is_empty(), "{first} {second}");
            assert!(made.iter().all(|claim| Some(claim) == stands.as_ref()), "{first} {second}: {made:?}, {stands:?}");
            assert_eq!(disk.find("/base/pvc-1").map(|id| id.0), made[0].file_id);
        }
    }
}

/// Somebody else takes the place while a creation is cut off: then it is theirs.
#[tokio::test]
async fn a_directory_that_came_meanwhile_is_never_taken_for_ones_own() {
    for polls in 0.. {
        let disk = Disk::new();
        disk.directory("/base");
        let finished = cut_off(create(&disk.ledger(), &wanted("pvc-1", "/base/x")), polls).is_some();
        if disk.find("/base/x").is_none() {
            disk.directory("/base/x");
            disk.file("/base/x/theirs");
            let refused = create(&disk.ledger(), &wanted("pvc-1", "/base/x")).await.unwrap_err();
            assert!(matches!(refused, DirectoryError::Exists { .. }), "after {polls} polls: {refused:?}");
            let kept = disk.0.attributes(disk.find("/base/x").unwrap()).unwrap();
            assert_eq!((kept.uid, kept.mode), (7, 0o755));
            assert_eq!(disk.all(), ["/base", "/base/x", "/base/x/theirs"]);
        }
        if finished {
            return;
        }
    }
}

#[tokio::test]
async fn empty_folders_of_the_ledger_stand_in_nobodys_way() {
    let disk = Disk::new();
    let inner = create(&disk.ledger(), &wanted("pvc-1", "/a/b/c")).await.unwrap();
    volumes::release(&disk.ledger(), &inner).await.unwrap();
    disk.0.remove(disk.find("/a/b").unwrap(), b"c").unwrap();
    disk.0.remove(disk.find("/a").unwrap(), b"b").unwrap();
    disk.0.remove(disk.0.root(), b"a").unwrap();
    create(&disk.ledger(), &wanted("pvc-2", "/a")).await.unwrap();
    assert!(disk.find("/.efs-csi-volumes/tidying").is_none(), "the lock is given back");
    assert_eq!(disk.ledger().claims(&mut Kept::new()).await.unwrap().len(), 1);
}

/// They tell the names of volumes, and hold what was deleted: no tenant who mounts the whole file system may look into them.
#[tokio::test]
async fn the_drivers_folders_are_roots_alone() {
    let disk = Disk::new();
    let claim = create(&disk.ledger(), &wanted("pvc-1", "/team/app")).await.unwrap();
    disk.ledger().set_size(&claim.id, 5).await.unwrap();
    disk.trash().now().await.unwrap();
    let ledger = ["", "/tree", "/tree/team", "/names", "/making", "/sizes"].map(|at| format!("/.efs-csi-volumes{at}"));
    for at in ledger.iter().map(String::as_str).chain(["/.efs-csi-deleted"]) {
        let found = disk.0.attributes(disk.find(at).unwrap_or_else(|| panic!("{at} is missing"))).unwrap();
        assert_eq!((found.mode, found.uid, found.gid), (0o700, 0, 0), "{at}");
    }
}

/// The server's clock was set back: what was made before that is young, not old beyond measure.
#[tokio::test]
async fn what_lies_in_the_future_is_young() {
    let disk = Disk::new();
    let ledger = disk.ledger();
    let begun = volumes::begin(&ledger, &wanted("pvc-1", "/x")).await.unwrap();
    let volumes::Begun::Claimed(claim) = begun else { panic!("{begun:?}") };
    assert_eq!(ledger.age(&claim, 0).await.unwrap(), 0);
    assert_eq!(ledger.sweep(0, 0).await.unwrap(), 0, "a creation that is under way");
    volumes::place(&ledger, &claim).await.unwrap();
    assert_eq!(ledger.sweep(u64::MAX, 0).await.unwrap(), 0, "nothing is left over");
}

/// A call that was held up gives up its own claim, and not that of the volume that has the place by now.
#[tokio::test]
async fn a_late_release_leaves_the_next_volume_its_claim_and_name() {
    let disk = Disk::new();
    let ledger = disk.ledger();
    let first = create(&ledger, &wanted("pvc-1", "/x")).await.unwrap();
    volumes::release(&ledger, &first).await.unwrap();
    disk.0.remove(disk.0.root(), b"x").unwrap();
    let second = create(&ledger, &wanted("pvc-1", "/x")).await.unwrap();
    volumes::release(&ledger, &first).await.unwrap();
    assert_eq!(ledger.claim_at(&path("/x")).await.unwrap(), Some(second.clone()));
    assert_eq!(ledger.claim_of("pvc-1").await.unwrap(), Some(second));
}

/// Names that a shell, a hash or a URL would take for something else.
#[tokio::test]
async fn odd_names_are_names_like_others() {
    let disk = Disk::new();
    let long = format!("/{}", "x".repeat(255));
    for (n, at) in ["/Data", "/data", "/caf\u{e9}", "/cafe\u{301}", "/a b", "/-", "/~", "/%2f", "/tree/names", &long]
        .iter()
        .enumerate()
    {
        create(&disk.ledger(), &wanted(&format!("pvc-{n}"), at)).await.unwrap_or_else(|error| panic!("{at}: {error}"));
    }
    assert_eq!(disk.ledger().claims(&mut Kept::new()).await.unwrap().len(), 10);
}

#[tokio::test]
async fn sizes_are_kept_apart_and_go_with_the_claim() {
    let disk = Disk::new();
    let claim = create(&disk.ledger(), &wanted("pvc-1", "/a")).await.unwrap();
    let ledger = disk.ledger();
    assert_eq!(ledger.size(&claim).await.unwrap(), 1 << 30);
    ledger.set_size(&claim.id, 5 << 30).await.unwrap();
    ledger.set_size(&claim.id, 6 << 30).await.unwrap();
    assert_eq!(disk.ledger().size(&claim).await.unwrap(), 6 << 30);
    volumes::release(&ledger, &claim).await.unwrap();
    assert!(disk.ledger().sizes().await.unwrap().is_empty());
}

/// What a client does in the race below.
#[derive(Debug, Clone)]
struct Act {
    volume: u8,
    at: usize,
    deletes: bool,
}

const PLACES: [&str; 7] = ["/a", "/b", "/a/b", "/a/c", "/a/b/c", "/b/c", "/b/c/d"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Several drivers at once, in any order of their steps: of directories that overlap, one is claimed at most.
    #[test]
    fn claims_never_overlap(
        acts in prop::collection::vec((0..4u8, 0..PLACES.len(), prop::bool::weighted(0.3)), 2..10),
        schedule in prop::collection::vec(0..16usize, 0..400),
    ) {
        let acts: Vec<Act> = acts.into_iter().map(|(volume, at, deletes)| Act { volume, at, deletes }).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let disk = Disk::new();
            let mut running: Vec<_> = acts
                .iter()
                .map(|act| {
                    let (ledger, at) = (disk.ledger(), PLACES[act.at]);
                    Box::pin(async move {
                        if act.deletes {
                            if let Some(claim) = ledger.claim_at(&path(at)).await.unwrap() {
                                volumes::release(&ledger, &claim).await.unwrap();
                            }
                        } else {
                            drop(volumes::begin(&ledger, &wanted(&format!("pvc-{}", act.volume), at)).await);
                        }
                    })
                })
                .collect();
            let mut done = HashSet::new();
            // First in the order that was drawn, then to the end.
            for turn in schedule {
                let turn = turn % running.len();
                if !done.contains(&turn) && futures::poll!(&mut running[turn]).is_ready() {
                    done.insert(turn);
                }
                overlap_free(&disk).await;
            }
            for (n, call) in running.iter_mut().enumerate() {
                if !done.contains(&n) {
                    call.await;
                }
            }
            overlap_free(&disk).await;
        });
    }
}

async fn overlap_free(disk: &Disk) {
    let claims = disk.ledger().claims(&mut Kept::new()).await.unwrap();
    for (n, a) in claims.keys().enumerate() {
        for b in claims.keys().skip(n + 1) {
            assert_eq!(a.relation(b), Relation::Apart, "{a} and {b}");
        }
    }
    let volumes: HashSet<_> = claims.values().map(|claim| &claim.id).collect();
    assert_eq!(volumes.len(), claims.len());
}
