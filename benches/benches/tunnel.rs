//! The tunnel in a process of its own: bytes through one stream, and the latency of a small exchange.

#[path = "support/programs.rs"]
mod programs;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use efs_csi_benches::endpoint::{Client, Endpoint};
use efs_csi_benches::peers::own_tunnel;
use tokio::runtime::Runtime;

/// Bytes of one transfer: what eight WRITEs of the kernel's client carry.
const TRANSFER: usize = 8 << 20;
/// Bytes of one small exchange, there and back.
const SMALL: usize = 4096;

/// Each operation measures itself, from its first byte to the last.
fn total(iterations: u64, mut once: impl FnMut() -> std::io::Result<Duration>) -> Duration {
    (0..iterations).map(|_| once().expect("an exchange")).sum()
}

fn tunnel(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a folder");
    let start = async {
        let (endpoint, identity) = Endpoint::tls(dir.path()).await?;
        let program = programs::path("efs-csi-bench");
        let tunnel = own_tunnel::start(&program, endpoint.address, &identity, dir.path(), 1).await?;
        anyhow::Ok((endpoint, tunnel))
    };
    let (endpoint, tunnel) = runtime.block_on(start).expect("a tunnel");
    let mut client = Client::connect(tunnel.ports[0]).expect("a connection");
    // Windows and buffers grow with use.
    client.send(2 * TRANSFER).expect("bytes sent");
    client.receive(2 * TRANSFER).expect("bytes received");

    let mut group = criterion.benchmark_group("tunnel");
    group.throughput(Throughput::Bytes(TRANSFER as u64));
    group.bench_function("send", |b| b.iter_custom(|n| total(n, || client.send(TRANSFER))));
    group.bench_function("receive", |b| b.iter_custom(|n| total(n, || client.receive(TRANSFER))));
    group.throughput(Throughput::Bytes(2 * SMALL as u64));
    group.bench_function("4 KiB there and back", |b| b.iter_custom(|n| total(n, || client.exchange(SMALL))));
    group.finish();
    let _context = runtime.enter();
    drop((tunnel, endpoint));
}

criterion_group!(benches, tunnel);
criterion_main!(benches);
