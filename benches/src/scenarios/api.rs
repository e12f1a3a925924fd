//! The fake's EFS API beside moto's, and with many access points beside itself with few.

use std::time::Instant;

use anyhow::Context as _;
use efs_csi_e2e::stack::Fake;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::{Board, Declaration, Setting};
use crate::peers::moto;
use crate::report::Better::{Higher, Lower};
use crate::rest::{self, Rest};

/// Our name here: it is the fake that is measured.
const OURS: &str = crate::peers::own_tunnel::NAME;
/// The row that many access points are compared with.
pub const FEW: &str = "10 access points";
/// Connections at a time.
const CONNECTIONS: usize = 16;

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let method = "16 connections, each one call after another, no SDK. Moto is Python and keeps less: no paging, no faults, no \
        journal, no NFS server behind it.";
    for (id, title) in
        [("api.create", "fake-efs: CreateAccessPoint"), ("api.describe", "fake-efs: DescribeAccessPoints by id")]
    {
        board.declare(Declaration { id, title, unit: "1/s", better: Higher, method, peers: &[moto::NAME] });
    }
    let method = "One connection, one call after another, on a file system with 10,000 access points; the peer is the same fake \
        with 10 on the file system, in turns. Describing asks for a page of 9.";
    for (id, title) in [
        ("api.create.full", "fake-efs: CreateAccessPoint and DeleteAccessPoint at 10,000 access points"),
        ("api.describe.full", "fake-efs: a page of DescribeAccessPoints at 10,000 access points"),
    ] {
        board.declare(Declaration { id, title, unit: "µs", better: Lower, method, peers: &[FEW] });
    }
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let mut fake = Fake::start(&setting.bin_dir.join("fake-efs"), &setting.dir, &[]).await?;
    let moto = moto::start(&setting.dir).await?;
    if moto.is_none() {
        board.peer_missing(moto::NAME, moto::MISSING);
    }
    let ours = Rest::new(&fake.ready.http);
    let mut servers = vec![(OURS, ours.clone(), setting.amount(2000, 32))];
    // Fewer calls for the slower one: what is compared is a rate.
    servers.extend(moto.iter().map(|(_, address)| (moto::NAME, Rest::new(address), setting.amount(200, 3))));
    for round in setting.rounds(7, 1) {
        for (name, rest, count) in &servers {
            let (create, describe) = rates(rest, round, *count).await.with_context(|| name.to_string())?;
            board.sample("api.create", name, create);
            board.sample("api.describe", name, describe);
        }
    }
    drop((servers, moto));

    // One access point comes and goes all the time, and the quota is 10,000.
    let mut file_systems = Vec::new();
    for (name, size) in [(OURS, setting.amount(9_999, 30)), (FEW, 9)] {
        let file_system = create_file_system(&ours, &format!("full-{size}")).await?;
        rest::fill(&ours, &file_system, size).await?;
        file_systems.push((name, file_system));
    }
    for round in setting.rounds(15, 2) {
        for (name, file_system) in &file_systems {
            let (create, describe) = costs(&ours, file_system, round, setting.amount(200, 3)).await?;
            board.sample("api.create.full", name, create);
            board.sample("api.describe.full", name, describe);
        }
        file_systems.reverse();
    }
    fake.stop().await
}

async fn create_file_system(rest: &Rest, token: &str) -> anyhow::Result<String> {
    let made = rest.call("POST", "/2015-02-01/file-systems", Some(&json!({ "CreationToken": token }))).await?;
    Ok(made["FileSystemId"].as_str().context("no FileSystemId")?.to_owned())
}

async fn create_access_point(rest: &Rest, file_system: &str, token: &str) -> anyhow::Result<String> {
    let body = json!({ "ClientToken": token, "FileSystemId": file_system });
    let made = rest.call("POST", "/2015-02-01/access-points", Some(&body)).await?;
    Ok(made["AccessPointId"].as_str().context("no AccessPointId")?.to_owned())
}

/// Calls per second, creating and describing, on a new file system.
async fn rates(rest: &Rest, round: usize, count: usize) -> anyhow::Result<(f64, f64)> {
    let file_system = &create_file_system(rest, &format!("bench-{round}")).await?;
    let begin = Instant::now();
    let points: Vec<String> = stream::iter(0..count)
        .map(|number| async move { create_access_point(rest, file_system, &format!("token-{round}-{number}")).await })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await?;
    let create = count as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    stream::iter(&points)
        .map(|point| async move {
            rest.call("GET", &format!("/2015-02-01/access-points?AccessPointId={point}"), None).await.map(drop)
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect::<()>()
        .await?;
    Ok((create, count as f64 / begin.elapsed().as_secs_f64()))
}

/// Microseconds per call: creating (each followed by a deletion, halved), and describing a page.
async fn costs(rest: &Rest, file_system: &str, round: usize, count: u32) -> anyhow::Result<(f64, f64)> {
    let begin = Instant::now();
    for number in 0..count {
        let point = create_access_point(rest, file_system, &format!("{file_system}-cost-{round}-{number}")).await?;
        rest.call("DELETE", &format!("/2015-02-01/access-points/{point}"), None).await?;
    }
    let create = begin.elapsed().as_secs_f64() * 1e6 / f64::from(2 * count);
    let path = format!("/2015-02-01/access-points?FileSystemId={file_system}&MaxResults=9");
    let begin = Instant::now();
    for _ in 0..count {
        rest.call("GET", &path, None).await?;
    }
    Ok((create, begin.elapsed().as_secs_f64() * 1e6 / f64::from(count)))
}
