//! Calls for one volume at once, in any order of their operations: of controllers that change leaders, or of a caller that gives up and
//! asks for something else. Whatever each of them answers, afterwards every directory has its claim and the volume can be deleted and
//! made again.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use efs_directories::DirectoryError;
use efs_directories::ledger::Kept;
use efs_directories::trash::State;
use efs_directories::volumes;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::deletions::{delete, purge_all};
use crate::{Disk, create, path, wanted};

const VOLUME: &str = "pvc-1";
const PLACE: &str = "/base/pvc-1";

/// Schedules that are tried.
const SCHEDULES: u32 = 6_000;

/// A call for the volume.
#[derive(Debug, Clone, Copy)]
enum Call {
    Create,
    /// A creation whose caller asks for another directory under the same name.
    CreateElsewhere,
    Delete,
    /// A creation that finds the directory in use and takes itself back.
    CreateInVain,
    /// Somebody empties what was deleted.
    Purge,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => Just(Call::Create),
        1 => Just(Call::CreateElsewhere),
        4 => Just(Call::Delete),
        1 => Just(Call::CreateInVain),
        1 => Just(Call::Purge),
    ]
}

impl Call {
    async fn run(self, disk: &Disk) -> Result<(), DirectoryError> {
        let ledger = disk.ledger();
        match self {
            Self::Create => create(&ledger, &wanted(VOLUME, PLACE)).await.map(drop),
            Self::CreateElsewhere => create(&ledger, &wanted(VOLUME, "/base/elsewhere")).await.map(drop),
            Self::Delete => delete(disk, PLACE).await.map(drop),
            Self::CreateInVain => match volumes::begin(&ledger, &wanted(VOLUME, PLACE)).await? {
                volumes::Begun::Ready(_) => Ok(()),
                volumes::Begun::Claimed(claim) => volumes::release_unplaced(&ledger, &claim).await.map(drop),
            },
            Self::Purge => {
                purge_all(&disk.trash()).await;
                Ok(())
            }
        }
    }
}

/// Runs calls at once: each number says whose operation is next; afterwards they take turns. Their errors.
async fn run_all(disk: &Disk, calls: &[Call], schedule: &[usize]) -> Vec<DirectoryError> {
    type Running<'a> = Pin<Box<dyn Future<Output = Result<(), DirectoryError>> + 'a>>;
    let mut running: Vec<Running<'_>> = calls.iter().map(|call| Box::pin(call.run(disk)) as Running<'_>).collect();
    let (mut errors, mut turns) = (Vec::new(), schedule.iter().copied().chain(0..));
    while !running.is_empty() {
        let next = turns.next().unwrap_or_default() % running.len();
        if let Poll::Ready(result) = futures::poll!(&mut running[next]) {
            errors.extend(result.err());
            drop(running.swap_remove(next));
        }
        // For whoever waits while the ledger is tidied.
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    errors
}

/// Every directory has the claim that describes it, and the volume has one at most.
async fn check(disk: &Disk, at: &str) {
    let claims = disk.ledger().claims(&mut Kept::new()).await.unwrap();
    for directory in disk.all().iter().filter(|it| *it != "/base") {
        let claim = claims.get(&path(directory)).unwrap_or_else(|| panic!("{at}: nobody owns {directory}"));
        assert_eq!(claim.file_id, disk.find(directory).map(|id| id.0), "{at}: the claim on {directory}");
    }
    assert!(claims.len() <= 1, "{at}: one name has {claims:?}");
}

/// Repeats a call as its caller would.
async fn repeated(disk: &Disk, call: Call) {
    for _ in 0..4 {
        match call.run(disk).await {
            Ok(()) => return,
            Err(DirectoryError::Contended { .. }) => {}
            Err(error) => panic!("{call:?} by itself: {error}"),
        }
    }
    panic!("{call:?} by itself is never done");
}

async fn any_order(calls: &[Call], schedule: &[usize], was_there: bool) {
    let disk = Disk::new();
    if was_there {
        create(&disk.ledger(), &wanted(VOLUME, PLACE)).await.unwrap();
    }
    for error in run_all(&disk, calls, schedule).await {
        let is_expected = matches!(error, DirectoryError::Contended { .. } | DirectoryError::Elsewhere(_));
        assert!(is_expected, "{error}");
    }
    check(&disk, "afterwards").await;
    if let Some(claim) = disk.ledger().claim_of(VOLUME).await.unwrap() {
        let at = claim.path.to_string();
        for _ in 0..2 {
            delete(&disk, &at).await.unwrap();
        }
    }
    repeated(&disk, Call::Delete).await;
    assert!(disk.ledger().claims(&mut Kept::new()).await.unwrap().is_empty(), "everything is deleted");
    repeated(&disk, Call::Create).await;
    check(&disk, "made anew").await;
    repeated(&disk, Call::Delete).await;
    let entries = disk.trash().entries().await.unwrap();
    assert!(entries.iter().all(|entry| matches!(entry.state, State::Waiting | State::Intended)), "{entries:?}");
    assert_eq!(disk.all(), ["/base"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: SCHEDULES,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn calls_for_one_volume_leave_no_directory_without_its_claim(
        calls in prop::collection::vec(call(), 2..5),
        schedule in prop::collection::vec(0_usize..12, 0..160),
        was_there in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(any_order(&calls, &schedule, was_there));
    }
}
