//! CreateVolume and DeleteVolume against the driver and the fake as processes: what one volume's life costs, by access
//! points on the file system and calls at a time. Build the programs first; `just bench-criterion` does.

#[path = "support/programs.rs"]
mod programs;

use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use efs_csi_benches::rest::{self, Rest};
use efs_csi_e2e::stack::{Driver, DriverOptions, Fake};
use futures::future::try_join_all;
use tokio::runtime::Runtime;

/// Access points on the file system before the measurement.
const POPULATIONS: [u32; 3] = [0, 900, 9000];

/// Makes and removes so many volumes at once. Names are never used twice.
async fn lives(driver: &Driver, file_system: &str, at_once: u64, numbers: &AtomicU64) -> anyhow::Result<()> {
    let parameters = &[("provisioningMode", "efs-ap"), ("fileSystemId", file_system), ("directoryPerms", "0700")];
    let life = |_| async {
        let name = format!("pvc-{}", numbers.fetch_add(1, Ordering::Relaxed));
        let volume = driver.create_volume(&name, parameters).await?;
        driver.delete_volume(&volume).await
    };
    try_join_all((0..at_once).map(life)).await.map(drop)
}

fn volumes(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let start = async {
        let fake = Fake::start(&programs::path("fake-efs"), dir.path(), &[]).await?;
        let binary = programs::path("efs-csi-driver");
        let mut options = DriverOptions::new(&binary, &dir.path().join("driver"), &fake);
        options.mode = "controller";
        anyhow::Ok((Driver::start(options).await?, fake))
    };
    let (driver, fake) = runtime.block_on(start).expect("a driver and a fake");
    let numbers = AtomicU64::new(0);
    let mut group = criterion.benchmark_group("CreateVolume and DeleteVolume");
    group.sample_size(20);
    for population in POPULATIONS {
        let filled = async {
            let (file_system, _) = fake.create_file_system(&format!("bench-{population}")).await?;
            rest::fill(&Rest::new(&fake.ready.http), &file_system, population).await?;
            anyhow::Ok(file_system)
        };
        let file_system = runtime.block_on(filled).expect("a file system");
        for at_once in [1, 32] {
            group.throughput(Throughput::Elements(at_once));
            let id = BenchmarkId::new(format!("{population} access points"), format!("{at_once} at a time"));
            group.bench_function(id, |bencher| {
                bencher.to_async(&runtime).iter(|| async {
                    lives(&driver, &file_system, at_once, &numbers).await.expect("volumes");
                });
            });
        }
    }
    group.finish();
    // The processes end with their owners, which need the runtime for that.
    let _context = runtime.enter();
    drop((driver, fake));
}

criterion_group!(benches, volumes);
criterion_main!(benches);
