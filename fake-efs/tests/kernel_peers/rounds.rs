//! Rounds: two clients ask two servers the same, and every answer is compared.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::answers::{Answer, Reply, named};
use crate::client::OK;
use crate::differences::{Case, WholeCase, explained, explained_whole};
use crate::plan::{Delivery, Plan};
use crate::side::Side;

/// Requests of a round: after some dozens most names are taken.
const REQUESTS: usize = 60;
/// Requests before the one that differs that are shown.
const SHOWN: usize = 14;
/// Operations that must have been compared with success, or the rounds show little.
const NEEDED: [u32; 24] = [3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16, 18, 21, 22, 25, 26, 27, 28, 29, 31, 32, 34, 38];

/// Most times that a server may die of what it is asked, and be started again.
const DEATHS: usize = 5;

/// A server to be asked.
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) export: &'static str,
    /// The minor versions that it has.
    pub(crate) minors: &'static [u32],
    /// What keeps it running.
    pub(crate) _held: Box<dyn Any>,
}

/// Starts a server.
pub(crate) type Start<'a> = &'a dyn Fn() -> anyhow::Result<Asked>;

/// What came of rounds.
#[derive(Default)]
struct Tally {
    requests: usize,
    /// Successes of each operation.
    succeeded: BTreeMap<u32, usize>,
    /// How often each known difference showed.
    differences: BTreeMap<&'static str, usize>,
}

/// What a comparison found.
enum Verdict {
    Same,
    /// A known difference that leaves both servers in the same state.
    Harmless,
    /// A known difference behind which the servers are no longer in the same state.
    Apart,
}

/// A difference that nothing explains: what differs, and the requests that lead there.
type Unexplained = (String, String);

/// Runs rounds from these seeds against our server and another one. Enough of them must have tried every operation.
pub(crate) fn compare(ours: &Asked, start: Start<'_>, seeds: std::ops::Range<u64>, enough: bool) -> anyhow::Result<()> {
    let mut tally = Tally::default();
    let rounds = seeds.end - seeds.start;
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut theirs = start()?;
    let mut deaths = Vec::new();
    for seed in seeds {
        if !theirs.minors.contains(&minor_of(seed)) {
            continue;
        }
        match round(ours, &theirs, seed, &mut tally) {
            Ok(None) => {}
            Ok(Some((what, how))) => {
                found.entry(what).or_insert_with(|| (0, format!("PEERS_SEED={seed} PEERS_ROUNDS=1 {how}"))).0 += 1;
            }
            Err(error) if is_dead(&theirs) => deaths.push(format!("seed {seed}: {error:#}")),
            Err(error) => return Err(error.context(format!("seed {seed}"))),
        }
        if is_dead(&theirs) {
            ensure!(deaths.len() < DEATHS, "{} dies too often:\n{}", theirs.name, deaths.join("\n"));
            drop(theirs);
            theirs = start()?;
        }
    }
    for death in &deaths {
        println!("  {} has died: {death}", theirs.name);
    }
    println!("{} requests in {rounds} rounds beside {}", tally.requests, theirs.name);
    for (what, count) in &tally.differences {
        println!("  {count} times: {what}");
    }
    if !found.is_empty() {
        let shown: Vec<String> =
            found.iter().map(|(what, (count, how))| format!("{count} times: {what}\n{how}\n")).collect();
        bail!("{} differences that docs/nfs.md does not explain:\n{}", found.len(), shown.join("\n"));
    }
    let missing: Vec<u32> = NEEDED.into_iter().filter(|number| !tally.succeeded.contains_key(number)).collect();
    ensure!(!enough || missing.is_empty(), "operations {missing:?} never succeeded: {:?}", tally.succeeded);
    Ok(())
}

/// Whether nobody listens, or will not for long: a server that dies goes on listening for a moment.
fn is_dead(asked: &Asked) -> bool {
    let mut null = vec![0x80, 0, 0, 40];
    [9u32, 0, 2, 100_003, 4, 0, 0, 0, 0, 0].iter().for_each(|word| null.extend(word.to_be_bytes()));
    let answers = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(asked.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(&null)?;
        stream.read_exact(&mut [0; 28])
    };
    answers().is_err()
}

/// One round, to its end or to the first difference.
fn round(ours: &Asked, theirs: &Asked, seed: u64, tally: &mut Tally) -> anyhow::Result<Option<Unexplained>> {
    let minor = minor_of(seed);
    let name = format!("round-{seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let begin =
        |asked: &Asked| Side::begin(asked.address, asked.export, minor, &name).with_context(|| asked.name.to_owned());
    let (mut our, mut their) = (begin(ours)?, begin(theirs)?);
    let mut history: Vec<String> = Vec::new();
    for _ in 0..REQUESTS {
        let plan = Plan::next(&mut rng, &our);
        let shown = format!("client {} of 4.{minor}, {:?}: {:?}", plan.client, plan.delivery, plan.acts);
        let story = |last: &str| {
            let before = &history[history.len().saturating_sub(SHOWN)..];
            format!("{last}, after\n  {}", before.join("\n  "))
        };
        let mine = our.perform(&plan).with_context(|| format!("{}: {}", ours.name, story(&shown)))?;
        let other = their.perform(&plan).with_context(|| format!("{}: {}", theirs.name, story(&shown)))?;
        tally.requests += 1;
        ensure!(mine.len() == other.len(), "{} answers here, {} there: {shown}", mine.len(), other.len());
        let repeats = matches!(plan.delivery, Delivery::Twice | Delivery::Lost);
        let mut apart = false;
        for (index, pair) in mine.iter().zip(&other).enumerate() {
            let acts = if index == 0 || repeats { &plan.acts[..] } else { &[] };
            match verdict(minor, plan.client, acts, pair, theirs.name, tally) {
                Ok(Verdict::Same | Verdict::Harmless) => {}
                Ok(Verdict::Apart) => apart = true,
                Err(what) => return Ok(Some((what, story(&format!("answer {index} to {shown}"))))),
            }
        }
        if apart {
            break;
        }
        history.push(format!("{shown} -> {}", brief(&mine[0])));
    }
    Ok(None)
}

/// Rounds take turns.
fn minor_of(seed: u64) -> u32 {
    (seed % 2) as u32
}

fn brief(reply: &Reply) -> String {
    match reply {
        Reply::Compound { status, answers } => format!("{} after {} results", named(*status), answers.len()),
        other => format!("{other:?}"),
    }
}

fn verdict(
    minor: u32,
    client: usize,
    acts: &[crate::acts::Act],
    (mine, other): (&Reply, &Reply),
    peer: &str,
    tally: &mut Tally,
) -> Result<Verdict, String> {
    let of = |reply: &Reply| match reply {
        Reply::Compound { answers, .. } if !answers.is_empty() => Some(answers.clone()),
        _ => None,
    };
    let (Some(ours), Some(theirs)) = (of(mine), of(other)) else {
        if mine == other {
            return Ok(Verdict::Same);
        }
        let case = WholeCase { minor, acts, theirs: other };
        let Some(row) = explained_whole(peer, &case) else {
            return Err(format!("4.{minor}: {} here, {} there", brief(mine), brief(other)));
        };
        *tally.differences.entry(row).or_default() += 1;
        return Ok(Verdict::Apart);
    };
    let (mine, other) = (ours, theirs);
    let like = |a: &Answer, b: &Answer| (a.operation, a.status, &a.shown) == (b.operation, b.status, &b.shown);
    let mut verdict = Verdict::Same;
    for (at, (mine, other)) in mine.iter().zip(&other).enumerate() {
        if like(mine, other) {
            if mine.status == OK {
                *tally.succeeded.entry(mine.operation).or_default() += 1;
            }
            continue;
        }
        let act = at.checked_sub(minor as usize).and_then(|at| acts.get(at));
        let case = Case { minor, client, act, ours: mine, theirs: other };
        let Some(row) = explained(peer, &case) else {
            let show = |answer: &Answer| format!("{} ({})", named(answer.status), answer.shown);
            let act = act.map(|act| format!("{act:?}")).unwrap_or_default();
            let act = act.split([' ', '(']).next().unwrap_or_default();
            let operation = mine.operation;
            return Err(format!("4.{minor} operation {operation} {act}: {} here, {} there", show(mine), show(other)));
        };
        *tally.differences.entry(row).or_default() += 1;
        verdict = match (mine.status == OK, other.status == OK) {
            // The values differ, and what was done is the same, but for what was given: an open that has to be confirmed.
            (true, true) if mine.confirms() == other.confirms() => Verdict::Harmless,
            // In 4.0 an error may count in its owner's order, or not.
            (false, false) if minor > 0 || !matches!(mine.operation, 4 | 12 | 14 | 18 | 20 | 21) => Verdict::Harmless,
            _ => return Ok(Verdict::Apart),
        };
    }
    let as_long = mine.len() == other.len();
    as_long.then_some(verdict).ok_or_else(|| format!("{} results here, {} there", mine.len(), other.len()))
}
