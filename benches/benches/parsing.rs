//! Criterion benches of what has no peer and no process: handles, mount options, XDR, the client certificate.

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{Criterion, criterion_group, criterion_main};
use efs_csi_driver::mount::options::ParsedOptions;
use efs_csi_driver::volume::VolumeId;
use efs_tunnel::certificate::{Claims, Issuer};
use efs_tunnel::key::ClientKey;
use fake_efs::nfs::xdr::{Decoder, Encoder};

fn handles(criterion: &mut Criterion) {
    let handles = [
        ("file system", "fs-0123456789abcdef0"),
        ("access point", "efs:fs-0123456789abcdef0::fsap-0123456789abcdef0"),
        ("directory", "efs:fs-0123456789abcdef0:/tenants/../tenants/a//b/./c"),
        ("refused", "efs:fs-0123456789abcdef0::fsap-0123456789abcdefg"),
    ];
    let mut group = criterion.benchmark_group("handle");
    for (name, handle) in handles {
        group.bench_function(name, |bencher| bencher.iter(|| black_box(handle).parse::<VolumeId>()));
    }
    group.finish();
}

fn options(criterion: &mut Criterion) {
    let flags = ["tls", "iam", "nconnect=4,rsize=1048576", "mounttargetip=10.0.0.7", "noresvport"];
    criterion.bench_function("mount options", |bencher| {
        bencher.iter(|| ParsedOptions::parse(black_box(&flags), efs_csi_driver::volume::FileSystemKind::Efs));
    });
}

fn xdr(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("xdr");
    // What a WRITE of 1 MiB carries: a few words and a long opaque.
    let data = vec![0x5a; 1 << 20];
    let encode = || {
        let mut encoder = Encoder::after(Vec::with_capacity(data.len() + 64));
        encoder.u32(38).fixed(&[7; 16]).u64(0).u32(0).opaque(&data);
        encoder
    };
    group.throughput(criterion::Throughput::Bytes(1 << 20));
    group.bench_function("encode 1 MiB", |bencher| bencher.iter(|| black_box(encode())));
    let mut words = Vec::new();
    for word in 0..256u32 {
        words.extend(word.to_be_bytes());
    }
    group.throughput(criterion::Throughput::Bytes(words.len() as u64));
    group.bench_function("decode 256 words", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::new(black_box(&words));
            let mut sum = 0u32;
            while let Ok(word) = decoder.u32() {
                sum = sum.wrapping_add(word);
            }
            sum
        });
    });
    group.finish();
}

fn certificate(criterion: &mut Criterion) {
    let key = ClientKey::generate().expect("a key can be made");
    let issuer = Issuer::new(Arc::new(key));
    let claims = Claims {
        service: efs_tunnel::Service::Efs,
        host_name: "fs-12345678.efs.us-east-1.amazonaws.com",
        file_system: "fs-12345678",
        access_point: Some("fsap-0123456789abcdef0"),
        region: "us-east-1",
        source: "k8s",
        credentials: None,
    };
    criterion.bench_function("client certificate, RSA-3072", |bencher| {
        bencher.iter(|| issuer.issue(black_box(&claims), SystemTime::now()));
    });
}

criterion_group!(benches, handles, options, xdr, certificate);
criterion_main!(benches);
