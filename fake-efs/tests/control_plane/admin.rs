use serde_json::json;

use crate::support::{client, exchange, fake, file_system, get, page, send};

#[tokio::test]
async fn rules_set_over_http_strike_and_can_be_switched() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let rule = json!({"operation": "DescribeFileSystems", "effect": {"kind": "error", "name": "InternalServerError"}});
    let (status, made) = send(&fake, "POST", "/_fake/faults", &rule).await;
    assert_eq!(status, 200);
    let id = made["id"].as_u64().unwrap();
    let error = client.describe_file_systems().send().await.unwrap_err();
    assert!(error.into_service_error().is_internal_server_error());
    assert_eq!(send(&fake, "POST", &format!("/_fake/faults/{id}/disable"), &json!({})).await.0, 200);
    client.describe_file_systems().send().await.unwrap();
    assert_eq!(send(&fake, "DELETE", &format!("/_fake/faults/{id}"), &json!({})).await.0, 200);
    assert_eq!(send(&fake, "DELETE", &format!("/_fake/faults/{id}"), &json!({})).await.0, 404);
    let bad = json!({"effect": {"kind": "nonsense"}});
    assert_eq!(send(&fake, "POST", "/_fake/faults", &bad).await.0, 400);
}

#[tokio::test]
async fn the_journal_is_queried_over_http() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    client.describe_lifecycle_configuration().file_system_id(&fs).send().await.unwrap();
    let (_, all) = get(&fake, "/_fake/journal", &[]).await;
    assert_eq!(all["entries"].as_array().unwrap().len(), 2);
    let (_, some) = get(&fake, &format!("/_fake/journal?mentions={fs}&limit=5"), &[]).await;
    assert_eq!(some["entries"][0]["operation"], "DescribeLifecycleConfiguration");
    assert_eq!(some["entries"][0]["arguments"]["FileSystemId"], json!(fs));
    assert_eq!(get(&fake, "/_fake/journal?colour=red", &[]).await.0, 400);
    send(&fake, "DELETE", "/_fake/journal", &json!({})).await;
    assert_eq!(get(&fake, "/_fake/journal", &[]).await.1["entries"], json!([]));
}

#[tokio::test]
async fn clock_limits_and_delays_are_set_over_http() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    assert_eq!(send(&fake, "PUT", "/_fake/delays", &json!({"file_system_create": 3600})).await.0, 200);
    let fs = file_system(&client).await;
    let state = || async {
        let page = client.describe_file_systems().file_system_id(&fs).send().await.unwrap();
        page.file_systems()[0].life_cycle_state().as_str().to_owned()
    };
    assert_eq!(state().await, "creating");
    assert_eq!(send(&fake, "POST", "/_fake/clock", &json!({"advance_seconds": 3600.5})).await.0, 200);
    assert_eq!(state().await, "available");
    let (_, limits) = send(&fake, "PUT", "/_fake/limits", &json!({"file_systems": 1})).await;
    assert_eq!((&limits["file_systems"], &limits["access_points"]), (&json!(1), &json!(10_000)));
    let full = client.create_file_system().send().await.unwrap_err();
    assert!(full.into_service_error().is_file_system_limit_exceeded());
    assert_eq!(send(&fake, "PUT", "/_fake/limits", &json!({"nonsense": 1})).await.0, 400);
    assert_eq!(send(&fake, "POST", "/_fake/clock", &json!({"advance_seconds": -1})).await.0, 400);
}

#[tokio::test]
async fn the_speed_of_connections_is_set_over_http_and_at_the_start() {
    use std::time::{Duration, Instant};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    // A call of procedure 0 of program 100003, 40 bytes, and its answer, 28 bytes; 64 KiB go at once.
    const CALLS: usize = 2048;
    let call: Vec<u8> =
        [0x8000_0028_u32, 7, 0, 2, 100_003, 4, 0, 0, 0, 0, 0].iter().flat_map(|w| w.to_be_bytes()).collect();
    let calls = call.repeat(CALLS);
    let fake = fake(|settings| settings.limits.connection_bytes_per_second = 1000).await;
    file_system(&client(&fake)).await;
    assert_eq!(get(&fake, "/_fake/limits", &[]).await.1["connection_bytes_per_second"], json!(1000));
    let mut stream = tokio::net::TcpStream::connect(fake.nfs_addr()).await.unwrap();
    let start = Instant::now();
    stream.write_all(&calls).await.unwrap();
    let mut answers = vec![0; CALLS * 28];
    let early = tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut answers)).await;
    assert!(early.is_err(), "90,112 bytes went at once");
    let mut stream = tokio::net::TcpStream::connect(fake.nfs_addr()).await.unwrap();
    stream.write_all(&calls).await.unwrap();
    let waiting = tokio::spawn(async move { stream.read_exact(&mut answers).await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    let (status, limits) = send(&fake, "PUT", "/_fake/limits", &json!({"connection_bytes_per_second": 0})).await;
    assert_eq!((status, &limits["connection_bytes_per_second"]), (200, &json!(0)));
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(15));
}

/// What a proxy of AWS's says first on a connection.
#[tokio::test]
async fn connections_show_their_partition_and_who_has_bound_them() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let fake = fake_efs::FakeEfs::builder()
        .settings(|settings| settings.random_seed = 1)
        .files(|files| files.partitions = 3)
        .start()
        .await
        .unwrap();
    file_system(&client(&fake)).await;
    let head = [0x8000_0048_u32, 7, 0, 2, 400_123, 1, 2, 0, 0, 0, 0, 16].map(u32::to_be_bytes).concat();
    let call = [&head[..], &[0xab; 16], &[0, 0, 0, 8], &9_i64.to_be_bytes()].concat();
    assert_eq!(call.len(), 4 + 72);
    let (mut streams, mut told) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let mut stream = tokio::net::TcpStream::connect(fake.nfs_addr()).await.unwrap();
        stream.write_all(&call).await.unwrap();
        let mut answer = [0; 4 + 24 + 4 + 64 + 16];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..4], [0x80, 0, 0, 108]);
        told.push(u32::from_be_bytes(answer[40..44].try_into().unwrap()));
        streams.push(stream);
    }
    assert!(told.iter().any(|partition| *partition != told[0]) && told.iter().all(|partition| *partition < 3));
    let (_, shown) = get(&fake, "/_fake/connections", &[]).await;
    let shown = shown["Connections"].as_array().unwrap();
    assert_eq!(shown.iter().map(|c| c["Partition"].as_u64().unwrap() as u32).collect::<Vec<_>>(), told);
    let binding = json!({"Uuid": "abababab-abab-abab-abab-abababababab", "Incarnation": 9});
    assert!(shown.iter().all(|connection| connection["Binding"] == binding));
    // The console shows them too.
    let console = page(&fake).await;
    assert_eq!(console.matches("<td>abababab-abab-abab-abab-abababababab · 9</td>").count(), 8);
    let landed = |partition| told.iter().filter(|told| **told == partition).count();
    for partition in 0..3 {
        let cell = format!("<td>plain</td><td>{partition}</td>");
        assert_eq!(console.matches(&cell).count(), landed(partition), "partition {partition}");
    }
    let answer = json!({"effect": {"kind": "bind-answer", "answer": {"max-connections": 1}}, "times": 1});
    assert_eq!(send(&fake, "POST", "/_fake/wire-faults", &answer).await.0, 200);
    let (_, rules) = get(&fake, "/_fake/wire-faults", &[]).await;
    assert_eq!(rules["rules"][0]["effect"], answer["effect"]);
    let nonsense = json!({"effect": {"kind": "bind-answer", "answer": "nonsense"}});
    assert_eq!(send(&fake, "POST", "/_fake/wire-faults", &nonsense).await.0, 400);
}

#[tokio::test]
async fn the_state_shows_all_that_exists() {
    let fake = fake(|_| {}).await;
    let client = client(&fake);
    let fs = file_system(&client).await;
    client.create_access_point().file_system_id(&fs).send().await.unwrap();
    client.create_mount_target().file_system_id(&fs).subnet_id("subnet-01234560").send().await.unwrap();
    let (status, state) = get(&fake, "/_fake/state", &[]).await;
    assert_eq!(status, 200);
    assert_eq!(state["file_systems"][0]["id"], json!(fs));
    assert_eq!(state["access_points"][0]["file_system"], json!(fs));
    assert_eq!(state["mount_targets"][0]["file_system"], json!(fs));
}

/// Files of both kinds of store, those that were made before and those made after.
#[tokio::test]
async fn the_times_of_files_follow_the_clock() {
    use std::sync::Arc;

    use fake_efs::store::{NewBody, NewNode, Time};
    use fake_efs::world::ids::FileSystemId;
    use fake_efs::world::volumes::{DirectoryVolumes, MemoryVolumes, Volumes};

    const YEAR: i64 = 365 * 24 * 60 * 60;
    let folder = tempfile::tempdir().unwrap();
    let kinds: [Arc<dyn Volumes>; 2] =
        [Arc::new(MemoryVolumes::default()), Arc::new(DirectoryVolumes::new(folder.path().join("files")))];
    for volumes in kinds {
        let fake = fake(|settings| settings.volumes = Arc::clone(&volumes)).await;
        let client = client(&fake);
        let store = |id: &str| volumes.store(&FileSystemId::parse(id).unwrap()).unwrap();
        let first = store(&file_system(&client).await);
        let node = NewNode { body: NewBody::Regular { verifier: None }, mode: 0o644, uid: 0, gid: 0 };
        let (old, _) = first.create(first.root(), b"old", &node).unwrap();
        let start = Time::now().seconds;
        assert!(old.modified.seconds <= start);
        let body = json!({ "advance_seconds": YEAR });
        assert_eq!(send(&fake, "POST", "/_fake/clock", &body).await.0, 200);
        let second = store(&file_system(&client).await);
        let (new, _) = second.create(second.root(), b"new", &node).unwrap();
        let written = first.write(old.id, 0, b"x").unwrap();
        let parent = second.attributes(second.root()).unwrap();
        for time in [new.created, new.changed, written.modified, written.changed, parent.created, parent.modified] {
            assert!((start + YEAR..start + YEAR + 3600).contains(&time.seconds), "{time:?}, a year after {start}");
        }
        assert_eq!(written.created, old.created);
        assert!(first.now().seconds >= start + YEAR);
    }
}

#[tokio::test]
async fn what_would_never_strike_or_for_ever_is_refused() {
    let fake = fake(|_| {}).await;
    let fault = |fields: serde_json::Value| {
        let mut rule = json!({"effect": {"kind": "throttle"}});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        rule
    };
    for (rule, status) in [
        (fault(json!({"operation": "CreateAccessPoint"})), 200),
        (fault(json!({"operation": "AssumeRole"})), 200),
        (fault(json!({"operation": "PUT /latest/api/token"})), 200),
        (fault(json!({"operation": "GetCredentials", "service": "pod-identity"})), 200),
        (fault(json!({"operation": "Nope"})), 400),
        (fault(json!({"operation": "AssumeRole", "service": "efs"})), 400),
        (fault(json!({"service": "nope"})), 400),
        (fault(json!({"effect": {"kind": "delay", "milliseconds": 86_400_000}})), 200),
        (fault(json!({"effect": {"kind": "delay", "milliseconds": u64::MAX}})), 400),
        (fault(json!({"effect": {"kind": "slow", "milliseconds_per_byte": u64::MAX}})), 400),
    ] {
        assert_eq!(send(&fake, "POST", "/_fake/faults", &rule).await.0, status, "{rule}");
    }
    for (milliseconds, status) in [(1, 200), (u64::MAX, 400)] {
        let fault = json!({"effect": {"kind": "delay", "milliseconds": milliseconds}});
        assert_eq!(send(&fake, "POST", "/_fake/wire-faults", &fault).await.0, status, "{fault}");
    }
    for (seconds, status) in [(json!(0), 200), (json!(5.5), 200), (json!(-1), 400), (json!(1e300), 400)] {
        let (got, body) = send(&fake, "PUT", "/_fake/delays", &json!({"file_system_create": seconds})).await;
        assert_eq!(got, status, "{seconds}");
        let named = body["Message"].as_str().is_none_or(|text| text.contains("file_system_create"));
        assert!(named, "{body}");
    }
}

/// A page that somebody looks at may not use a fake on the same machine in that person's name.
#[tokio::test]
async fn pages_of_other_sites_use_nothing() {
    let fake = fake(|_| {}).await;
    let own = fake.http_url();
    for (headers, allowed) in [
        (vec![], true),
        (vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")], true),
        (vec![("origin", "http://evil.example")], false),
        (vec![("origin", "null")], false),
        (vec![("sec-fetch-site", "cross-site")], false),
    ] {
        let expected = |done: u16| if allowed { done } else { 403 };
        for (method, path, done) in [
            ("GET", "/_fake/state", 200),
            ("DELETE", "/_fake/journal", 200),
            ("POST", "/_fake/clock", 400),
            ("POST", "/2015-02-01/access-points", 400),
        ] {
            let (status, _) = exchange(&fake, method, path, &headers, b"{}").await;
            assert_eq!(status, expected(done), "{method} {path} {headers:?}");
        }
        // A link to the console may be followed.
        assert_eq!(exchange(&fake, "GET", "/", &headers, b"").await.0, 200, "{headers:?}");
    }
}
