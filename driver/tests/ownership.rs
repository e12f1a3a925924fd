//! Whose is every byte? A reference model beside the controller: random histories of volumes, tenants, administrators, foreign access
//! points, two controllers, crashes and refusals on a file system with real files. After every step each file that its owner has not
//! deleted is there, and not in the trash.
//!
//! `OWNERSHIP_HISTORIES` says how many histories are tried (`just ownership N`).

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "../directories/tests/support/stored.rs"]
mod stored;

#[path = "ownership/account.rs"]
mod account;
#[path = "ownership/history.rs"]
mod history;
#[path = "ownership/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use history::{Op, op};
use world::World;

/// Histories that each of the tests below tries: 10,000 in sum.
const HISTORIES: u32 = 5_000;

/// The same histories in every test run, so that a failure is one of the change that shows it; new ones where a number is asked for.
fn histories(seed: u64) -> ProptestConfig {
    let config = ProptestConfig { max_shrink_iters: 4_000, failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var("OWNERSHIP_HISTORIES") {
        Ok(asked) => ProptestConfig { cases: asked.parse::<u32>().expect("a number").div_ceil(2), ..config },
        Err(_) => ProptestConfig { cases: HISTORIES, rng_seed: RngSeed::Fixed(seed), ..config },
    }
}

fn live(ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for op in ops {
            world.step(op).await;
            world.check(op);
        }
        world.end().await;
    });
}

proptest! {
    #![proptest_config(histories(1))]

    #[test]
    fn no_byte_is_lost_that_its_owner_did_not_delete(ops in prop::collection::vec(op(), 4..24)) {
        live(&ops);
    }
}

proptest! {
    #![proptest_config(histories(2))]

    /// Other histories, so that both processors have work.
    #[test]
    fn no_byte_is_lost_that_its_owner_did_not_delete_either(ops in prop::collection::vec(op(), 4..24)) {
        live(&ops);
    }
}
