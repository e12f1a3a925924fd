//! The TLS tunnel beside stunnel: throughput, latency, fairness, connections, memory, processor time.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
use tokio_rustls::rustls::crypto::cipher::{AeadKey, Iv, OutboundChunks, OutboundPlainMessage};
use tokio_rustls::rustls::{ContentType, ProtocolVersion, SupportedCipherSuite};

use super::{Board, Declaration, Setting};
use crate::endpoint::{Client, Endpoint, Identity};
use crate::peers::own_tunnel::NAME;
use crate::peers::{TunnelSet, own_tunnel, stunnel};
use crate::report::Better::{Higher, Lower};
use crate::stats::quantile;
use crate::usage::{self, CpuTime};

const MIB: f64 = (1 << 20) as f64;
/// Moved before the clock starts, so that windows and buffers have grown.
const WARM_UP: usize = 16 << 20;
/// A plain connection to the same server: what loopback and the server's own work allow.
pub const BARE: &str = "no tunnel, no TLS";
/// The cipher alone.
const CIPHER: &str = "AES-256-GCM records, one core";
/// What makes and takes the bytes: this process.
const ENDS: &str = "the stream's ends";
/// Tunnels of the tests with more than one stream.
const STREAMS: usize = 8;

/// Who else is measured where.
const TUNNELS: &[&str] = &[stunnel::NAME];
const WITH_ENDS: &[&str] = &[stunnel::NAME, ENDS];
const NETWORK: &[&str] = &[stunnel::NAME, BARE];
const EVERYBODY: &[&str] = &[stunnel::NAME, BARE, CIPHER];

/// The measurements of this scenario.
pub fn declare(board: &mut Board) {
    let throughput = "Bytes from a client on loopback through the tunnel to a TLS server (rustls) that counts them, timed until \
        the server has confirmed the last one. TLS 1.3 with AES-256-GCM on both sides, every process shares the same processors. \
        The cipher's row seals 16 KiB records in memory with the tunnel's own library.";
    let mut declare = |id, title, unit, better, method, peers| {
        board.declare(Declaration { id, title, unit, better, method, peers });
    };
    declare("tunnel.send.1", "Tunnel throughput, sending, one stream", "MiB/s", Higher, throughput, EVERYBODY);
    let receiving = "The same in the other direction: the server writes, the client counts.";
    declare("tunnel.receive.1", "Tunnel throughput, receiving, one stream", "MiB/s", Higher, receiving, EVERYBODY);
    let eight = "Eight tunnels with one connection each, sending at once; the sum. Ours are in one process, stunnel runs one \
        process a tunnel, as AWS's client runs it.";
    declare("tunnel.send.8", "Tunnel throughput, sending, eight streams", "MiB/s", Higher, eight, NETWORK);
    declare("tunnel.receive.8", "Tunnel throughput, receiving, eight streams", "MiB/s", Higher, eight, NETWORK);
    let cpu = "Processor time of the tunnel's process (user and system) while one stream moved at full speed. The ends are the client \
        and the TLS server of that stream, which every tunnel's throughput shares the processors with: with all processors busy, \
        no tunnel is faster than stunnel by more than (stunnel + ends) / ends.";
    declare("tunnel.cpu.send", "Processor time of the tunnel per GiB sent", "s/GiB", Lower, cpu, WITH_ENDS);
    declare("tunnel.cpu.receive", "Processor time of the tunnel per GiB received", "s/GiB", Lower, cpu, WITH_ENDS);
    let kernel = "The part of it that the kernel took for the tunnel's system calls: copying to and from sockets, TCP. The rest is \
        the cipher and what the tunnel does besides.";
    declare("tunnel.cpu.send.kernel", "Processor time in the kernel per GiB sent", "s/GiB", Lower, kernel, WITH_ENDS);
    declare(
        "tunnel.cpu.receive.kernel",
        "Processor time in the kernel per GiB received",
        "s/GiB",
        Lower,
        kernel,
        WITH_ENDS,
    );
    let latency = "4 KiB there and 4 KiB back on an open connection, one at a time. A sample is the median (or the 99th percentile) \
        of one round.";
    declare("tunnel.latency", "Latency of a 4 KiB exchange, median", "µs", Lower, latency, NETWORK);
    declare("tunnel.latency.p99", "Latency of a 4 KiB exchange, 99th percentile", "µs", Lower, latency, NETWORK);
    let turns = "The server sends eight bytes with the time each millisecond, while the client sends as fast as it can on the same \
        connection; both are in one process and have one clock. What is measured is how long those bytes take: an answer must not wait \
        until a stream of calls pauses. A sample is the 99th percentile of one round. With all processors busy, most of it is the ends' \
        wait for one, which the row without a tunnel shows; a slower tunnel leaves them more.";
    let title = "Time of an answer while its connection is full of calls, 99th percentile";
    declare("tunnel.turns.p99", title, "µs", Lower, turns, &[BARE, stunnel::NAME]);
    let connections = "Connect, exchange one byte, close, one after another. Each is a full handshake with an RSA-3072 client key; \
        nobody resumes sessions.";
    declare("tunnel.connections", "Connections per second", "1/s", Higher, connections, TUNNELS);
    let memory = "Proportional set size (shared pages counted once) per further tunnel with one open, idle connection: ours \
        from 1 to 51 tunnels in one process, stunnel's from 1 to 6 processes. Kernel memory is not counted.";
    declare("tunnel.memory", "Memory per further idle tunnel", "KiB", Lower, memory, TUNNELS);
    let after = "The same, seven seconds after 32 MiB went through each tunnel in both directions.";
    declare("tunnel.memory.used", "Memory per further tunnel after use", "KiB", Lower, after, TUNNELS);
}

/// Takes the samples.
pub async fn run(setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
    let (endpoint, identity) = Endpoint::tls(&setting.dir).await?;
    let plain = Endpoint::plain().await?;
    let ours = own_tunnel::start(&setting.program, endpoint.address, &identity, &setting.dir, STREAMS).await?;
    let peer = stunnel::start(endpoint.address, &identity, &setting.dir, STREAMS).await?;
    if peer.is_none() {
        board.peer_missing(stunnel::NAME, stunnel::MISSING);
    }
    let bare = TunnelSet { name: BARE, ports: vec![plain.address.port(); STREAMS], processes: Vec::new() };
    for round in setting.rounds(9, 1) {
        let mut subjects: Vec<&TunnelSet> = [Some(&ours), peer.as_ref(), Some(&bare)].into_iter().flatten().collect();
        // Nobody is always first.
        if round % 2 == 1 {
            subjects.reverse();
        }
        for set in &subjects {
            throughput(setting, board, set).await?;
        }
        let speed = tokio::task::spawn_blocking(cipher_speed).await??;
        board.sample("tunnel.send.1", CIPHER, speed);
        board.sample("tunnel.receive.1", CIPHER, speed);
        for set in &subjects {
            latency(setting, board, set).await?;
        }
        for set in &subjects {
            turns(setting, board, set).await?;
        }
        for set in subjects.iter().filter(|set| set.name != BARE) {
            connections(setting, board, set).await?;
        }
    }
    drop((ours, peer));
    for _ in setting.rounds(3, 1) {
        memory(setting, board, endpoint.address, &identity).await?;
    }
    Ok(())
}

async fn throughput(setting: &Setting, board: &mut Board, set: &TunnelSet) -> anyhow::Result<()> {
    let bytes = setting.amount(512 << 20, 8 << 20);
    for (what, receive) in [("send", false), ("receive", true)] {
        let mut client = connect(set.ports[0]).await?;
        client = moved(client, WARM_UP, receive).await?.0;
        let ends = std::process::id();
        let before = (set.cpu_time()?, usage::cpu_time(ends)?);
        let (client, took) = moved(client, bytes, receive).await?;
        let (tunnel, ends) = (set.cpu_time()? - before.0, usage::cpu_time(ends)? - before.1);
        drop(client);
        board.sample(&format!("tunnel.{what}.1"), set.name, bytes as f64 / MIB / took.as_secs_f64());
        let mut cpu = |name: &str, used: CpuTime| {
            let per_gib = |time: Duration| time.as_secs_f64() / (bytes as f64 / MIB / 1024.0);
            board.sample(&format!("tunnel.cpu.{what}"), name, per_gib(used.total()));
            board.sample(&format!("tunnel.cpu.{what}.kernel"), name, per_gib(used.system));
        };
        if set.name != BARE {
            cpu(set.name, tunnel);
        }
        if set.name == NAME {
            cpu(ENDS, ends);
        }
        let mut clients = Vec::new();
        for port in &set.ports {
            clients.push(moved(connect(*port).await?, WARM_UP / STREAMS, receive).await?.0);
        }
        let begin = Instant::now();
        let moving = clients.into_iter().map(|client| moved(client, bytes / STREAMS, receive));
        futures::future::try_join_all(moving).await?;
        let rate = bytes as f64 / MIB / begin.elapsed().as_secs_f64();
        board.sample(&format!("tunnel.{what}.8"), set.name, rate);
    }
    Ok(())
}

async fn latency(setting: &Setting, board: &mut Board, set: &TunnelSet) -> anyhow::Result<()> {
    let mut client = connect(set.ports[0]).await?;
    let count = setting.amount(2000, 20);
    let times: Vec<f64> = tokio::task::spawn_blocking(move || {
        for _ in 0..count / 10 {
            client.exchange(4096)?;
        }
        (0..count).map(|_| Ok(client.exchange(4096)?.as_secs_f64() * 1e6)).collect::<std::io::Result<_>>()
    })
    .await?
    .with_context(|| format!("exchanging through {}", set.name))?;
    for (id, share) in [("tunnel.latency", 0.5), ("tunnel.latency.p99", 0.99)] {
        board.sample(id, set.name, quantile(&times, share).context("no exchange was made")?);
    }
    Ok(())
}

async fn turns(setting: &Setting, board: &mut Board, set: &TunnelSet) -> anyhow::Result<()> {
    let bytes = setting.amount(1 << 30, 8 << 20);
    let client = connect(set.ports[0]).await?;
    let mut client = moved(client, WARM_UP, false).await?.0;
    let delays = tokio::task::spawn_blocking(move || client.delays_while_sending(bytes))
        .await?
        .with_context(|| format!("sending both ways through {}", set.name))?;
    let times: Vec<f64> = delays.iter().map(|delay| delay.as_secs_f64() * 1e6).collect();
    board.sample("tunnel.turns.p99", set.name, quantile(&times, 0.99).context("nothing came back")?);
    Ok(())
}

async fn connections(setting: &Setting, board: &mut Board, set: &TunnelSet) -> anyhow::Result<()> {
    let (port, count) = (set.ports[0], setting.amount(100, 2));
    let took = tokio::task::spawn_blocking(move || {
        let begin = Instant::now();
        for _ in 0..count {
            Client::connect(port)?.exchange(1)?;
        }
        std::io::Result::Ok(begin.elapsed())
    })
    .await?
    .with_context(|| format!("connecting through {}", set.name))?;
    board.sample("tunnel.connections", set.name, f64::from(count) / took.as_secs_f64());
    Ok(())
}

async fn memory(setting: &Setting, board: &mut Board, upstream: SocketAddr, identity: &Identity) -> anyhow::Result<()> {
    let further = setting.amount(50, 2);
    let ours = own_tunnel::start(&setting.program, upstream, identity, &setting.dir, 1 + further).await?;
    let mut open = vec![opened(ours.ports[0]).await?];
    let one = ours.memory()?;
    for port in &ours.ports[1..] {
        open.push(opened(*port).await?);
    }
    let per_tunnel = |all: u64, one: u64, further: usize| all.saturating_sub(one) as f64 / further as f64;
    board.sample("tunnel.memory", NAME, per_tunnel(ours.memory()?, one, further));
    let open = used(setting, open).await?;
    board.sample("tunnel.memory.used", NAME, per_tunnel(ours.memory()?, one, further));
    drop((open, ours));

    let further = setting.amount(5, 1);
    let Some(peer) = stunnel::start(upstream, identity, &setting.dir, 1 + further).await? else { return Ok(()) };
    let mut open = Vec::new();
    for port in &peer.ports {
        open.push(opened(*port).await?);
    }
    let each = |set: &TunnelSet| anyhow::Ok(set.memory()? as f64 / set.processes.len() as f64);
    board.sample("tunnel.memory", stunnel::NAME, each(&peer)?);
    let open = used(setting, open).await?;
    board.sample("tunnel.memory.used", stunnel::NAME, each(&peer)?);
    drop(open);
    Ok(())
}

/// Moves 32 MiB both ways through each connection, one after another, and waits until the tunnels have come to rest.
async fn used(setting: &Setting, clients: Vec<Client>) -> anyhow::Result<Vec<Client>> {
    let bytes = setting.amount(32 << 20, 1 << 20);
    let mut done = Vec::new();
    for client in clients {
        let client = moved(client, bytes, false).await?.0;
        done.push(moved(client, bytes, true).await?.0);
    }
    // The tunnel gives buffers back after five quiet seconds, looking every five seconds.
    tokio::time::sleep(setting.amount(Duration::from_secs(11), Duration::ZERO)).await;
    Ok(done)
}

async fn connect(port: u16) -> anyhow::Result<Client> {
    Ok(tokio::task::spawn_blocking(move || Client::connect(port)).await??)
}

/// A connection that has reached the server.
async fn opened(port: u16) -> anyhow::Result<Client> {
    let mut client = connect(port).await?;
    Ok(tokio::task::spawn_blocking(move || client.exchange(1).map(|_| client)).await??)
}

/// Moves bytes on a thread of its own.
async fn moved(mut client: Client, bytes: usize, receive: bool) -> anyhow::Result<(Client, Duration)> {
    let work = move || {
        let took = if receive { client.receive(bytes) } else { client.send(bytes) };
        took.map(|took| (client, took))
    };
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// MiB per second that one core seals into TLS 1.3 records of 16 KiB.
fn cipher_speed() -> anyhow::Result<f64> {
    let SupportedCipherSuite::Tls13(suite) = TLS13_AES_256_GCM_SHA384 else { bail!("not a suite of TLS 1.3") };
    let mut sealer = suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::new([9; 12]));
    let record = vec![0x5a; 16 * 1024];
    let begin = Instant::now();
    let mut sequence = 0;
    while begin.elapsed() < Duration::from_millis(200) {
        for _ in 0..64 {
            let message = OutboundPlainMessage {
                typ: ContentType::ApplicationData,
                version: ProtocolVersion::TLSv1_3,
                payload: OutboundChunks::Single(&record),
            };
            black_box(sealer.encrypt(message, sequence)?);
            sequence += 1;
        }
    }
    Ok((sequence * record.len() as u64) as f64 / MIB / begin.elapsed().as_secs_f64())
}
