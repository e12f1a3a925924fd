//! The curves of `docs/scale.md`: what one controller, one node and one fake do with more and more of everything.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake};

use crate::endpoint::{Client, Endpoint};
use crate::machine;
use crate::peers::own_tunnel;
use crate::rest::{self, Rest};
use crate::scenarios::{Setting, connections, controller};
use crate::stats::quantile;
use crate::usage;

/// The study is written between these lines.
pub const MARKER: &str = "scale";

/// Measures everything and answers it as Markdown.
pub async fn study(setting: &Setting) -> anyhow::Result<String> {
    let mut text = String::new();
    for part in [
        concurrency(setting).await?,
        population(setting).await?,
        volumes(setting).await?,
        tunnels(setting).await?,
        idle(setting).await?,
    ] {
        text.push_str(&part);
        text.push('\n');
    }
    let machine = machine::this();
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
    // Writing to a String can't fail, here and below.
    let _ = writeln!(
        text,
        "Measured {date} on {} with {} processors, Linux {}; `just bench-scale` measures again and writes these tables.",
        machine.processor, machine.processors, machine.kernel
    );
    Ok(text)
}

async fn start(setting: &Setting, name: &str) -> anyhow::Result<(Fake, Driver)> {
    let dir = setting.dir.join(name);
    std::fs::create_dir(&dir)?;
    let fake = Fake::start(&setting.bin_dir.join("fake-efs"), &dir, &[]).await?;
    let mut options = DriverOptions::new(&setting.bin_dir.join("efs-csi-driver"), &dir.join("driver"), &fake);
    options.mode = "controller";
    let driver = Driver::start(options).await?;
    Ok((fake, driver))
}

fn millis(times: &[Duration], share: f64) -> anyhow::Result<f64> {
    let times: Vec<f64> = times.iter().map(|took| took.as_secs_f64() * 1e3).collect();
    quantile(&times, share).context("no volume was created")
}

/// How many creates at a time one controller carries.
async fn concurrency(setting: &Setting) -> anyhow::Result<String> {
    let (mut fake, mut driver) = start(setting, "concurrency").await?;
    let mut text = String::from(
        "| CreateVolume calls at a time | volumes per second | median, ms | 99th percentile, ms |\n|---|---|---|---|\n",
    );
    for at_once in [1, 4, 16, 64, 256, 1000] {
        let (file_system, _) = fake.create_file_system(&format!("concurrency-{at_once}")).await?;
        let count = setting.amount(2000.min(200 * at_once), 4);
        let begin = Instant::now();
        let made = controller::create(&driver, &file_system, &format!("pvc-{at_once}"), count, at_once).await?;
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        let times: Vec<Duration> = made.iter().map(|(_, took)| *took).collect();
        let (median, late) = (millis(&times, 0.5)?, millis(&times, 0.99)?);
        let _ = writeln!(text, "| {at_once} | {rate:.0} | {median:.1} | {late:.1} |");
    }
    driver.stop().await?;
    fake.stop().await?;
    Ok(text)
}

/// What access points that are there already cost a controller that has just started.
async fn population(setting: &Setting) -> anyhow::Result<String> {
    let (mut fake, mut driver) = start(setting, "population").await?;
    driver.stop().await?;
    let mut text = String::from(
        "| access points on the file system | first create after a start, ms | EFS calls of it | further creates, median, ms | EFS calls of each |\n|---|---|---|---|---|\n",
    );
    let rest = Rest::new(&fake.ready.http);
    for size in [0, 1000, 3000, 9900] {
        let (file_system, _) = fake.create_file_system(&format!("population-{size}")).await?;
        rest::fill(&rest, &file_system, setting.amount(size, size.min(30))).await?;
        let mut driver = Driver::start(driver.options.clone()).await?;
        rest.call("DELETE", "/_fake/journal", None).await?;
        let first = controller::create(&driver, &file_system, &format!("first-{size}"), 1, 1).await?;
        let first_calls = controller::efs_calls(&rest).await?;
        rest.call("DELETE", "/_fake/journal", None).await?;
        let count = setting.amount(50, 3);
        let further = controller::create(&driver, &file_system, &format!("further-{size}"), count, 1).await?;
        let calls = controller::efs_calls(&rest).await? as f64 / count as f64;
        let first = first.first().context("no volume was created")?.1.as_secs_f64() * 1e3;
        let times: Vec<Duration> = further.iter().map(|(_, took)| *took).collect();
        let median = millis(&times, 0.5)?;
        let _ = writeln!(text, "| {size} | {first:.1} | {first_calls} | {median:.1} | {calls:.2} |");
        driver.stop().await?;
    }
    fake.stop().await?;
    Ok(text)
}

/// 100,000 volumes on ten file systems, through one controller.
async fn volumes(setting: &Setting) -> anyhow::Result<String> {
    let (mut fake, mut driver) = start(setting, "volumes").await?;
    let mut text = String::from(
        "| volumes in all, 10,000 a file system | volumes per second | memory of the controller, MiB |\n|---|---|---|\n",
    );
    let pid = driver.process.id().context("the driver has ended")?;
    let each = setting.amount(10_000, 20);
    for number in 1..=10 {
        let (file_system, _) = fake.create_file_system(&format!("volumes-{number}")).await?;
        let begin = Instant::now();
        controller::create(&driver, &file_system, &format!("pvc-{number}"), each, 32).await?;
        let rate = each as f64 / begin.elapsed().as_secs_f64();
        if [1, 2, 5, 10].contains(&number) {
            let memory = usage::memory(pid)?.rss as f64 / 1024.0;
            let _ = writeln!(text, "| {} | {rate:.0} | {memory:.1} |", number * each);
        }
    }
    driver.stop().await?;
    fake.stop().await?;
    Ok(text)
}

/// Tunnels of one node, each with one idle connection.
async fn tunnels(setting: &Setting) -> anyhow::Result<String> {
    let mut text =
        String::from("| tunnels of a node | memory of the process, MiB | per further tunnel, KiB |\n|---|---|---|\n");
    let (endpoint, identity) = Endpoint::tls(&setting.dir).await?;
    let mut one = None;
    for count in [1, 50, 200, 500, 1000] {
        let count = setting.amount(count, count.min(3));
        let set = own_tunnel::start(&setting.program, endpoint.address, &identity, &setting.dir, count).await?;
        let ports = set.ports.clone();
        let open = tokio::task::spawn_blocking(move || {
            let connect = |port: &u16| {
                let mut client = Client::connect(*port)?;
                client.exchange(1)?;
                Ok(client)
            };
            ports.iter().map(connect).collect::<std::io::Result<Vec<Client>>>()
        })
        .await??;
        let memory = set.memory()?;
        let first = *one.get_or_insert(memory);
        let further = if count > 1 {
            format!("{:.0}", memory.saturating_sub(first) as f64 / (count - 1) as f64)
        } else {
            "–".to_owned()
        };
        let _ = writeln!(text, "| {count} | {:.1} | {further} |", memory as f64 / 1024.0);
        drop(open);
    }
    Ok(text)
}

/// Idle TLS connections of one fake.
async fn idle(setting: &Setting) -> anyhow::Result<String> {
    let mut text = String::from("| idle TLS connections of the fake | memory for them, MiB |\n|---|---|\n");
    for count in [500, 2000, 5000] {
        let memory = connections::memory(setting, connections::Kind::Tls, setting.amount(count, 5)).await?;
        let _ = writeln!(text, "| {count} | {memory:.1} |");
    }
    Ok(text)
}
