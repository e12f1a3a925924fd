//! CreateVolume and DeleteVolume over the socket, with no, some and many access points on the file system.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake, Volume};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use super::{Board, Declaration, Setting};
use crate::peers::own_tunnel::NAME;
use crate::report::Better::{Higher, Lower};
use crate::rest::{self, Rest};
use crate::stats::quantile;
use crate::usage;

/// Access points on the file system before the measurement.
const POPULATIONS: [u32; 3] = [0, 900, 9000];
/// The row that the others are compared with: an empty file system.
pub const EMPTY: &str = "no access points";
/// Calls at a time.
const CONCURRENCY: [usize; 2] = [1, 32];
/// Calls at a time where the number matters less than the end.
const MANY: usize = 32;
/// How often a caller repeats a call that failed, as csi-provisioner would for hours.
const ATTEMPTS: usize = 50;

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let calls = "Requests in the fake's journal per CreateVolume with a GID from the pool, after the first one, which lists \
        the access points once.";
    let rate = "Answers per second over the socket, with 1 or 32 calls at a time, each volume with a GID from the pool. The \
        fake's own time is in it, so this is a lower bound; EFS itself allows far fewer calls.";
    for population in POPULATIONS {
        let mut declare = |id: String, title: String, unit, better, method| {
            board.declare(Declaration { id: &id, title: &title, unit, better, method, peers: &[] });
        };
        let with = format!("with {population} access points");
        declare(
            format!("create.calls.{population}"),
            format!("EFS calls per CreateVolume {with}"),
            "calls",
            Lower,
            calls,
        );
        for at_once in CONCURRENCY {
            let title = format!("CreateVolume {with}, {at_once} at a time");
            declare(format!("create.rate.{population}.{at_once}"), title, "1/s", Higher, rate);
            let title = format!("DeleteVolume {with}, {at_once} at a time");
            declare(format!("delete.rate.{population}.{at_once}"), title, "1/s", Higher, rate);
        }
    }
    let mut declare = |id, title, unit, method, peers| {
        board.declare(Declaration { id, title, unit, better: Lower, method, peers });
    };
    let latency = "The median latency of a round's CreateVolume calls, 32 at a time, on a file system with 9,000 access points; \
        the peer is the same driver on an empty one, in the same round.";
    declare("create.latency", "CreateVolume with 9,000 access points, 32 at a time", "ms", latency, &[EMPTY]);
    let first = "Processor time of a new controller's first CreateVolume, which is its first call to AWS, with fixed ids and over plain \
        HTTP. The Go driver 3.4.1 took 2.5 ms, this one 41 ms when it read the certificate authorities twice; neither is measured in this run.";
    declare("cpu.first", "Processor time of the first call to AWS", "ms", first, &[]);
    let creation = "Processor time of the controller per CreateVolume with fixed ids, 32 at a time. The Go driver 3.4.1 took 0.51 ms, \
        which is not measured in this run.";
    declare("cpu.create", "Processor time per CreateVolume, fixed ids, 32 at a time", "ms", creation, &[]);
    let deletion = "The same per DeleteVolume; the Go driver 3.4.1 took 0.32 ms, which is not measured in this run.";
    declare("cpu.delete", "Processor time per DeleteVolume, 32 at a time", "ms", deletion, &[]);
    let duplicates =
        "1,000 CreateVolume calls at once on an empty file system; the access points' GIDs as EFS lists them.";
    declare("create.duplicates", "Duplicate GIDs in 1,000 concurrent creates", "GIDs", duplicates, &[]);
    let faults = "20 % of all EFS calls are throttled and 5 % of the access points' calls are done without an answer. The driver \
        retries in standard mode: its default, adaptive, takes throttling at random for a quota and slows down to some five \
        calls a second. 1,000 volumes are created, 32 at a time, each call repeated until it succeeds; access points beyond 1,000 and handles given \
        twice count as doubled. Then all are deleted likewise, and what is left counts.";
    declare("create.faults", "Access points doubled or left under faults", "access points", faults, &[]);
    let memory = "Resident set of a controller after it has created 10,000 volumes on one file system, 32 at a time.";
    declare("memory.controller", "Memory of the controller after 10,000 volumes", "MiB", memory, &[]);
}

/// A file system with some access points on it.
struct Population {
    size: u32,
    file_system: String,
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let mut options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &setting.dir.join("driver"), &fake);
    options.mode = "controller";
    let mut driver = Driver::start(options.clone()).await?;
    let mut populations = Vec::new();
    for size in POPULATIONS {
        let (file_system, _) = fake.create_file_system(&format!("bench-{size}")).await?;
        let rest = Rest::new(&fake.ready.http);
        rest::fill(&rest, &file_system, setting.amount(size, size.min(30))).await?;
        let calls = calls_per_create(&driver, &rest, &file_system, setting.amount(50, 5)).await?;
        board.sample(&format!("create.calls.{size}"), NAME, calls);
        populations.push(Population { size, file_system });
    }
    for round in setting.rounds(6, 1) {
        // Nobody is always first.
        populations.reverse();
        for population in &populations {
            rates(setting, board, &driver, population, round).await?;
        }
    }
    duplicates(setting, board, &fake, &driver).await?;
    // A new process: what a thousand callers at once have left behind belongs to another question.
    driver.stop().await?;
    for round in setting.rounds(6, 1) {
        processor(setting, board, &fake, &options, round).await?;
    }
    let mut driver = Driver::start(options.clone()).await?;
    memory(setting, board, &fake, &driver).await?;
    driver.stop().await?;
    options.arguments.push("--adaptive-retry-mode=false".to_owned());
    let mut driver = Driver::start(options).await?;
    faults(setting, board, &fake, &driver).await?;
    driver.stop().await?;
    fake.stop().await
}

async fn rates(
    setting: &Setting,
    board: &mut Board,
    driver: &Driver,
    Population { size, file_system }: &Population,
    round: usize,
) -> anyhow::Result<()> {
    for at_once in CONCURRENCY {
        let count = setting.amount(if at_once == 1 { 50 } else { 300 }, 4);
        let begin = Instant::now();
        let made = create(driver, file_system, &format!("pvc-{size}-{at_once}-{round}"), count, at_once).await?;
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        board.sample(&format!("create.rate.{size}.{at_once}"), NAME, rate);
        if at_once == MANY {
            let times: Vec<f64> = made.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
            let median = quantile(&times, 0.5).context("no volume was created")?;
            match size {
                0 => board.sample("create.latency", EMPTY, median),
                9000 => board.sample("create.latency", NAME, median),
                _ => {}
            }
        }
        let begin = Instant::now();
        delete(driver, made.into_iter().map(|(volume, _)| volume), at_once).await?;
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        board.sample(&format!("delete.rate.{size}.{at_once}"), NAME, rate);
    }
    Ok(())
}

async fn duplicates(setting: &Setting, board: &mut Board, fake: &Fake, driver: &Driver) -> anyhow::Result<()> {
    let (file_system, _) = fake.create_file_system("bench-duplicates").await?;
    let count = setting.amount(1000, 20);
    create(driver, &file_system, "pvc-duplicates", count, count).await?;
    let mut gids: Vec<u64> = access_points(fake, &file_system).await?.iter().filter_map(gid).collect();
    anyhow::ensure!(gids.len() == count, "{} access points have a GID, not {count}", gids.len());
    gids.sort_unstable();
    gids.dedup();
    board.sample("create.duplicates", NAME, (count - gids.len()) as f64);
    Ok(())
}

async fn faults(setting: &Setting, board: &mut Board, fake: &Fake, driver: &Driver) -> anyhow::Result<()> {
    let (file_system, _) = fake.create_file_system("bench-faults").await?;
    let parameters = file_system_parameters(&file_system);
    let rest = Rest::new(&fake.ready.http);
    let count = setting.amount(1000, 20);
    let names: Vec<String> = (0..count).map(|number| format!("pvc-faults-{number}")).collect();
    misbehave(&rest, "CreateAccessPoint").await?;
    let made: Vec<Volume> = stream::iter(&names)
        .map(|name| persistently(|| create_one(driver, &parameters, name)))
        .buffer_unordered(MANY)
        .map_ok(|(volume, _)| volume)
        .try_collect()
        .await?;
    // Looking is not what is being tested.
    rest.call("DELETE", "/_fake/faults", None).await?;
    let mut ids: Vec<&str> = made.iter().map(|volume| volume.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let twice = count - ids.len();
    let doubled = access_points(fake, &file_system).await?.len().saturating_sub(count);
    misbehave(&rest, "DeleteAccessPoint").await?;
    stream::iter(&made)
        .map(|volume| persistently(|| driver.delete_volume(volume)))
        .buffer_unordered(MANY)
        .try_collect::<()>()
        .await?;
    rest.call("DELETE", "/_fake/faults", None).await?;
    let left = access_points(fake, &file_system).await?.len();
    board.sample("create.faults", NAME, (twice + doubled + left) as f64);
    Ok(())
}

/// Has the fake throttle 20 % of all EFS calls, and do 5 % of an operation's calls without an answer.
async fn misbehave(rest: &Rest, operation: &str) -> anyhow::Result<()> {
    for rule in [
        json!({ "service": "efs", "probability": 0.2, "effect": { "kind": "throttle" } }),
        json!({ "operation": operation, "probability": 0.05, "effect": { "kind": "drop-after" } }),
    ] {
        rest.call("POST", "/_fake/faults", Some(&rule)).await?;
    }
    Ok(())
}

/// What the calls of a new process cost.
async fn processor(
    setting: &Setting,
    board: &mut Board,
    fake: &Fake,
    options: &DriverOptions,
    round: usize,
) -> anyhow::Result<()> {
    let (file_system, _) = fake.create_file_system(&format!("bench-processor-{round}")).await?;
    let mut parameters = file_system_parameters(&file_system).to_vec();
    parameters.extend([("uid", "1000"), ("gid", "1000")]);
    let mut driver = Driver::start(options.clone()).await?;
    let pid = driver.process.id().context("the driver has ended")?;
    // What the start leaves to be done is no part of the first call.
    tokio::time::sleep(Duration::from_millis(setting.amount(500, 100))).await;
    let before = usage::run_time(pid)?;
    // A name is one volume's, in all file systems.
    create_one(&driver, &parameters, &format!("pvc-first-{round}")).await?;
    let spent = (usage::run_time(pid)? - before).as_secs_f64() * 1e3;
    board.sample("cpu.first", NAME, spent);
    let count = setting.amount(2000, 20);
    let before = usage::run_time(pid)?;
    let made: Vec<Volume> = stream::iter(0..count)
        .map(|number| {
            let (driver, parameters) = (&driver, &parameters);
            async move { create_one(driver, parameters, &format!("pvc-processor-{number}")).await }
        })
        .buffer_unordered(MANY)
        .map_ok(|(volume, _)| volume)
        .try_collect()
        .await?;
    let created = usage::run_time(pid)?;
    delete(&driver, made.into_iter(), MANY).await?;
    let deleted = usage::run_time(pid)?;
    let each = |spent: Duration| spent.as_secs_f64() * 1e3 / count as f64;
    board.sample("cpu.create", NAME, each(created - before));
    board.sample("cpu.delete", NAME, each(deleted - created));
    driver.stop().await
}

async fn memory(setting: &Setting, board: &mut Board, fake: &Fake, driver: &Driver) -> anyhow::Result<()> {
    let (file_system, _) = fake.create_file_system("bench-memory").await?;
    create(driver, &file_system, "pvc-memory", setting.amount(10_000, 20), MANY).await?;
    let pid = driver.process.id().context("the driver has ended")?;
    board.sample("memory.controller", NAME, usage::memory(pid)?.rss as f64 / 1024.0);
    Ok(())
}

fn file_system_parameters(file_system: &str) -> [(&'static str, &str); 3] {
    [("provisioningMode", "efs-ap"), ("fileSystemId", file_system), ("directoryPerms", "0700")]
}

async fn create_one(driver: &Driver, parameters: &[(&str, &str)], name: &str) -> anyhow::Result<(Volume, Duration)> {
    let begin = Instant::now();
    let volume = driver.create_volume(name, parameters).await?;
    Ok((volume, begin.elapsed()))
}

/// Creates volumes, `at_once` at a time; each with how long its call took.
pub async fn create(
    driver: &Driver,
    file_system: &str,
    label: &str,
    count: usize,
    at_once: usize,
) -> anyhow::Result<Vec<(Volume, Duration)>> {
    let parameters = &file_system_parameters(file_system);
    stream::iter(0..count)
        .map(|number| async move { create_one(driver, parameters, &format!("{label}-{number}")).await })
        .buffer_unordered(at_once)
        .try_collect()
        .await
}

async fn delete(driver: &Driver, volumes: impl Iterator<Item = Volume>, at_once: usize) -> anyhow::Result<()> {
    stream::iter(volumes)
        .map(|volume| async move { driver.delete_volume(&volume).await })
        .buffer_unordered(at_once)
        .try_collect::<()>()
        .await
}

/// Repeats a call until it succeeds; the last error after [`ATTEMPTS`].
async fn persistently<T, F: Future<Output = anyhow::Result<T>>>(call: impl Fn() -> F) -> anyhow::Result<T> {
    let mut attempt = 1;
    loop {
        match call().await {
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
            Ok(answer) => return Ok(answer),
        }
    }
}

async fn calls_per_create(driver: &Driver, rest: &Rest, file_system: &str, count: usize) -> anyhow::Result<f64> {
    create(driver, file_system, &format!("pvc-first-{file_system}"), 1, 1).await?;
    rest.call("DELETE", "/_fake/journal", None).await?;
    create(driver, file_system, &format!("pvc-calls-{file_system}"), count, 1).await?;
    Ok(efs_calls(rest).await? as f64 / count as f64)
}

/// Calls of the EFS API in the fake's journal.
pub async fn efs_calls(rest: &Rest) -> anyhow::Result<usize> {
    let journal = rest.call("GET", "/_fake/journal?service=efs", None).await?;
    Ok(journal["entries"].as_array().context("the journal has no entries")?.len())
}

fn gid(point: &Value) -> Option<u64> {
    point["PosixUser"]["Gid"].as_u64()
}

/// All access points of a file system as EFS lists them.
async fn access_points(fake: &Fake, file_system: &str) -> anyhow::Result<Vec<Value>> {
    let rest = Rest::new(&fake.ready.http);
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let path = format!("/2015-02-01/access-points?FileSystemId={file_system}&MaxResults=1000{token}");
        let page = rest.call("GET", &path, None).await?;
        all.extend_from_slice(page["AccessPoints"].as_array().context("no list of access points")?);
        match &page["NextToken"] {
            Value::String(next) => token = format!("&NextToken={next}"),
            _ => return Ok(all),
        }
    }
}
