//! How long a target runs, and from which seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The seed of the first round of a plain run.
const SEED: u64 = 1;

/// Panics in any thread: a server's task that panics takes only its connection with it.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs rounds of a target: `rounds` of them, or as the environment says. A round begins from nothing but its generator, so that
/// its seed is enough to repeat it; it returns how many inputs it has tried.
pub(crate) fn run(target: &str, rounds: u64, mut round: impl FnMut(&mut StdRng) -> u64) {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(info);
    }));
    let limit = number("FUZZ_SECONDS").map(Duration::from_secs);
    let rounds = if limit.is_some() { u64::MAX } else { rounds };
    let rounds = number("FUZZ_ROUNDS").unwrap_or(rounds);
    let unseeded = || if limit.is_some() { rand::rng().random() } else { SEED };
    let first = number("FUZZ_SEED").unwrap_or_else(unseeded);
    let (started, mut done, mut inputs) = (Instant::now(), 0, 0);
    while done < rounds && limit.is_none_or(|limit| started.elapsed() < limit) {
        let seed = first.wrapping_add(done);
        let outcome = catch_unwind(AssertUnwindSafe(|| round(&mut StdRng::seed_from_u64(seed))));
        let failed = |why: &str| eprintln!("fuzz {target}: {why}; repeat with FUZZ_SEED={seed} FUZZ_ROUNDS=1");
        match outcome {
            Ok(tried) => inputs += tried,
            Err(panic) => {
                failed("a round failed");
                resume_unwind(panic);
            }
        }
        let panics = PANICS.load(Ordering::SeqCst);
        if panics > 0 {
            failed("something panicked");
        }
        assert_eq!(panics, 0, "panics in other threads");
        done += 1;
    }
    let took = started.elapsed().as_secs_f64();
    println!("fuzz {target}: {inputs} inputs in {done} rounds from seed {first}, {took:.1} s");
}
