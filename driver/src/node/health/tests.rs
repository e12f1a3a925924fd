use csi_proto::csi::StorageHealthErrorType;
use efs_tunnel::plane::FailureKind;
use tonic::Code;

use super::*;

fn mount(name: &str, port: Option<u16>) -> Mount {
    Mount { target: PathBuf::from(name), port, served: true }
}

fn tunnel(port: u16) -> TunnelReport {
    TunnelReport {
        port,
        file_system: "fs-12345678".to_owned(),
        access_point: None,
        iam: None,
        connections: 1,
        connected: 1,
        reconnected: 0,
        multiplexed: 0,
        partition: None,
        lost_connections: 0,
        resent_calls: 0,
        upstream: Vec::new(),
        added_connections: 0,
        last_stall: None,
        sent_bytes: 0,
        received_bytes: 0,
        handshakes: 1,
        handshake_failures: 0,
        dial_failures: 0,
        refused: 0,
        certificate_expires_in: Some(3600),
        trouble: None,
        trouble_kind: None,
        not_renewed: None,
    }
}

fn out_of_reach(port: u16, kind: FailureKind) -> TunnelReport {
    let trouble = Some(("no way".to_owned(), 5));
    TunnelReport { connections: 0, trouble, trouble_kind: Some(kind), ..tunnel(port) }
}

fn seen(tunnels: impl IntoIterator<Item = TunnelReport>) -> Seen {
    Seen {
        at: Instant::now(),
        tunnels: tunnels.into_iter().map(|it| (it.port, it)).collect(),
        away: false,
        unmounted: HashSet::new(),
        silent: HashMap::new(),
    }
}

fn reasons(mount: &Mount, seen: &Seen) -> Vec<Reason> {
    wrong(mount, seen).into_iter().map(|condition| condition.reason).collect()
}

#[test]
fn a_mount_that_works_has_nothing_wrong() {
    assert_eq!(reasons(&mount("/a", Some(1)), &seen([tunnel(1)])), []);
    assert_eq!(reasons(&mount("/a", None), &seen([])), [], "one without encryption needs no tunnel");
    assert_eq!(reasons(&mount("/a", Some(1)), &seen([])), [], "one that is younger than the last look");
}

#[test]
fn each_trouble_of_a_mount_has_its_reason() {
    let (a, well) = (mount("/a", Some(1)), seen([tunnel(1)]));
    assert_eq!(reasons(&a, &Seen { unmounted: [a.target.clone()].into(), ..well.clone() }), [Reason::MountMissing]);
    assert_eq!(reasons(&a, &Seen { away: true, ..well.clone() }), [Reason::TunnelDown]);
    assert_eq!(reasons(&Mount { served: false, ..a.clone() }, &well), [Reason::PortTaken]);
    let silent = [(a.target.clone(), Duration::from_secs(20))].into();
    assert_eq!(reasons(&a, &Seen { silent, ..well }), [Reason::ServerNotAnswering]);
    for (kind, reason) in [
        (FailureKind::Missing, Reason::MountTargetMissing),
        (FailureKind::Unreachable, Reason::MountTargetUnreachable),
        (FailureKind::Refused, Reason::AccessDenied),
        (FailureKind::NotTheServer, Reason::NotTheServer),
        (FailureKind::Credentials, Reason::CredentialsMissing),
        (FailureKind::Files, Reason::TooManyOpenFiles),
        (FailureKind::Internal, Reason::TunnelBroken),
    ] {
        assert_eq!(reasons(&a, &seen([out_of_reach(1, kind)])), [reason]);
    }
    let old = TunnelReport { trouble_kind: None, ..out_of_reach(1, FailureKind::Refused) };
    assert_eq!(reasons(&a, &seen([old])), [Reason::MountTargetUnreachable], "a data plane of an earlier release");
    let some = TunnelReport { connections: 3, ..out_of_reach(1, FailureKind::Unreachable) };
    assert_eq!(reasons(&a, &seen([some])), [Reason::ConnectionsFailing]);
    let aged = TunnelReport { not_renewed: Some(("STS is away".to_owned(), 9)), ..tunnel(1) };
    let told = wrong(&a, &seen([aged]));
    assert_eq!(told[0].reason, Reason::CertificateNotRenewed);
    assert!(told[0].seen.contains("STS is away") && told[0].seen.contains("3600 s"), "{told:?}");
}

#[test]
fn what_lasts_is_told_beside_what_comes_later() {
    let a = mount("/a", Some(1));
    let aged = TunnelReport { not_renewed: Some(("x".to_owned(), 9)), ..out_of_reach(1, FailureKind::Refused) };
    let all = Seen {
        unmounted: [a.target.clone()].into(),
        silent: [(a.target.clone(), Duration::from_secs(20))].into(),
        ..seen([aged])
    };
    let want = [Reason::MountMissing, Reason::AccessDenied, Reason::CertificateNotRenewed, Reason::ServerNotAnswering];
    assert_eq!(reasons(&a, &all), want);
}

#[test]
fn storage_is_out_of_reach_when_no_tunnel_reaches_its_server() {
    let (a, b) = (mount("/a", Some(1)), mount("/b", Some(2)));
    let told = |mounts: &[Mount], seen: &Seen| {
        let all = storage_wrong(mounts, seen);
        all.into_iter().map(|it| (it.status(), it.reason)).collect::<Vec<_>>()
    };
    let none: [(StorageHealthErrorType, String); 0] = [];
    let unreached = || (StorageHealthErrorType::StorageUnreachable, "NoServerReached".to_owned());
    let (lost_a, lost_b) = (out_of_reach(1, FailureKind::Unreachable), out_of_reach(2, FailureKind::Missing));
    let both = [a.clone(), b.clone()];
    assert_eq!(told(&both, &seen([tunnel(1), tunnel(2)])), none);
    assert_eq!(told(&both, &seen([lost_a.clone(), tunnel(2)])), none, "the other one reaches its server");
    assert_eq!(told(&both, &seen([lost_a.clone(), lost_b])), [unreached()]);
    let silent: HashMap<_, _> = [(b.target, Duration::from_secs(20))].into();
    assert_eq!(told(&both, &Seen { silent, ..seen([lost_a, tunnel(2)]) }), [unreached()]);
    assert_eq!(told(&[Mount { served: false, ..a }], &seen([])), [unreached()]);
    let down = told(&both, &Seen { away: true, ..seen([]) });
    assert_eq!(down, [(StorageHealthErrorType::StorageUnreachable, "DataPlaneDown".to_owned())]);
    assert_eq!(told(&[], &Seen { away: true, ..seen([]) }), none, "a node without volumes misses nothing");

    let iam = |port, not_renewed: Option<&str>| TunnelReport {
        iam: Some("default".to_owned()),
        not_renewed: not_renewed.map(|error| (error.to_owned(), 3)),
        ..tunnel(port)
    };
    assert_eq!(told(&both, &seen([iam(1, Some("STS")), iam(2, None)])), none);
    let failing = told(&both, &seen([iam(1, Some("STS")), iam(2, Some("STS"))]));
    assert_eq!(failing, [(StorageHealthErrorType::StorageDegraded, "CredentialsNotRenewed".to_owned())]);
}

#[test]
fn what_was_not_seen_lately_is_an_error_and_no_health() {
    let health = Health::default();
    let refused = |health: &Health| health.seen(|_| ()).map_err(|error| (error.code(), error.to_string()));
    let (code, words) = refused(&health).unwrap_err();
    assert!(code == Code::Unavailable && words.contains("first look"), "{words}");
    health.note(Ok(seen([])));
    assert_eq!(refused(&health), Ok(()));
    health.note(Err(io::Error::other("the mount table hangs")));
    assert_eq!(refused(&health), Ok(()), "one look that fails is no reason");
    let old = Instant::now().checked_sub(SEEN_WITHIN).expect("the machine runs for a minute");
    health.note(Ok(Seen { at: old, ..seen([]) }));
    health.note(Err(io::Error::other("the mount table hangs")));
    let (code, words) = refused(&health).unwrap_err();
    assert!(code == Code::Unavailable && words.contains("60 s ago") && words.contains("table hangs"), "{words}");
}

#[test]
fn a_mount_that_is_made_anew_is_well_before_the_next_look() {
    let (health, target) = (Health::default(), Path::new("/a"));
    health.note(Ok(Seen { unmounted: [target.to_owned()].into(), ..seen([]) }));
    health.lost("v", target);
    health.published("v", target, Ok(()));
    assert!(health.failures.of("v", None).is_empty());
    assert_eq!(health.seen(|seen| reasons(&mount("/a", None), seen)).expect("seen"), []);
}

#[test]
fn a_volume_above_its_soft_limit_is_degraded() {
    assert_eq!(over(100, 100), None);
    let told = over(100, 101).expect("above");
    assert_eq!(told.reason, Reason::UsageOverSoftLimit);
    assert!(told.seen.contains("101 bytes") && told.seen.contains("limit is 100"), "{told:?}");
}
