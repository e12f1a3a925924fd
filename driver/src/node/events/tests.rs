//! An API server in memory, and what it is asked.

use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::super::cluster::tests::{node, refusal};
use super::*;

const HANDLE: &str = "fs-0123456789abcdef0::fsap-0123456789abcdef0";

/// Calls as `METHOD path`, with the body.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

fn target(uid: &str) -> PathBuf {
    format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/pv-1/mount").into()
}

/// Two pods of one claim, and a node. `events` is how it answers to events.
fn api_server(events: u16) -> (Arc<ThisNode>, Calls) {
    let calls = Calls::default();
    let seen = Arc::clone(&calls);
    let this = node(move |method, path, body| {
        seen.lock().unwrap().push((format!("{method} {path}"), body.clone()));
        let pod = |uid: &str| json!({"metadata": {"name": format!("app-{uid}"), "namespace": "team-a", "uid": uid}});
        match path {
            "/api/v1/persistentvolumes/pv-1" => {
                let claim = json!({"namespace": "team-a", "name": "data", "uid": "claim-1"});
                let csi = json!({"driver": "efs.csi.aws.com", "volumeHandle": HANDLE});
                (200, json!({"metadata": {"name": "pv-1"}, "spec": {"claimRef": claim, "csi": csi}}))
            }
            "/api/v1/namespaces/team-a/pods" => {
                (200, json!({"kind": "PartialObjectMetadataList", "metadata": {}, "items": [pod("u1"), pod("u2")]}))
            }
            "/api/v1/nodes/node-a" => (200, json!({"metadata": {"name": "node-a", "uid": "node-1"}})),
            _ if path.contains("/events") && events == 200 => (200, body),
            _ if path.contains("/events") => refusal(events, "events is forbidden"),
            _ => refusal(404, "not found"),
        }
    });
    (Arc::new(this), calls)
}

fn denied() -> Condition {
    Condition::new(Reason::AccessDenied, "the policy refuses role team-a")
}

/// Bodies of calls to events that begin like this.
fn events(calls: &Calls, begin: &str) -> Vec<Value> {
    let calls = calls.lock().unwrap();
    let here = calls.iter().filter(|(call, _)| call.starts_with(begin) && call.contains("/events"));
    here.map(|(_, body)| body.clone()).collect()
}

async fn until(calls: &Calls, begin: &str, count: usize) -> Vec<Value> {
    let wait = async {
        while events(calls, begin).len() < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = timeout(Duration::from_secs(10), wait).await;
    let found = events(calls, begin);
    assert_eq!(found.len(), count, "{:?}", calls.lock().unwrap());
    found
}

#[tokio::test]
async fn what_is_wrong_with_a_mount_is_told_of_its_claim_and_its_pod() {
    let (this, calls) = api_server(200);
    let events = Events::start(this, CancellationToken::new());
    let not_told = Condition::new(Reason::ServerNotAnswering, "silent");
    events.of_mount(HANDLE, &target("u2"), [denied(), not_told]);
    let made = until(&calls, "POST /apis/events.k8s.io/v1/namespaces/team-a", 2).await;
    let about: Vec<_> =
        made.iter().map(|it| (it["regarding"]["kind"].clone(), it["regarding"]["uid"].clone())).collect();
    assert_eq!(about, [("PersistentVolumeClaim".into(), "claim-1".into()), ("Pod".into(), "u2".into())]);
    for event in made {
        assert_eq!((&event["reason"], &event["type"]), (&json!("AccessDenied"), &json!("Warning")));
        assert_eq!(event["reportingController"], "efs.csi.aws.com");
        assert_eq!(event["reportingInstance"], "node-a");
        let note = event["note"].as_str().unwrap();
        assert!(note.starts_with("the policy refuses role team-a; check that"), "{note}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_and_what_all_tunnels_lack_are_told_of_the_node_too() {
    let (this, calls) = api_server(200);
    let told = Events::start(this, CancellationToken::new());
    told.of_mount(HANDLE, &target("u1"), [Condition::new(Reason::PortTaken, "port 20049")]);
    told.of_node(&[conditions::storage(StorageReason::CredentialsNotRenewed, "none can be renewed")]);
    told.of_walk(HANDLE, &target("u1"), "nothing more to count for 300 s");
    let made = until(&calls, "POST", 6).await;
    let mut told: Vec<_> = made
        .iter()
        .map(|it| format!("{} {}", it["regarding"]["kind"].as_str().unwrap(), it["reason"].as_str().unwrap()))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "Node CredentialsNotRenewed",
            "Node PortTaken",
            "PersistentVolumeClaim PortTaken",
            "PersistentVolumeClaim UsageNotCounted",
            "Pod PortTaken",
            "Pod UsageNotCounted",
        ]
    );
    assert_eq!(
        events(&calls, "POST /apis/events.k8s.io/v1/namespaces/default").len(),
        2,
        "of an object without namespace"
    );
}

#[tokio::test]
async fn what_lasts_is_told_once_in_a_while_and_counted_in_the_same_event() {
    let (this, calls) = api_server(200);
    let told = Events::start_with(this, CancellationToken::new(), Duration::from_millis(300));
    for _ in 0..100 {
        told.of_mount(HANDLE, &target("u1"), [denied()]);
        told.of_mount(HANDLE, &target("u2"), [denied()]);
    }
    until(&calls, "POST", 3).await;
    sleep(Duration::from_millis(400)).await;
    told.of_mount(HANDLE, &target("u1"), [denied()]);
    let again = until(&calls, "PATCH", 2).await;
    assert!(again.iter().all(|event| event["series"]["count"] == 2), "{again:?}");
    assert_eq!(events(&calls, "POST").len(), 3, "one of the claim, one of each pod");
}

/// The pace, with a clock that is moved on.
#[tokio::test(start_paused = true)]
async fn a_node_in_trouble_tells_so_many_events_in_a_while_and_holds_nobody_up() {
    let (this, calls) = api_server(200);
    let told = Events::start(this, CancellationToken::new());
    let begun = Instant::now();
    for n in 0..1000 {
        told.of_node(&[conditions::storage(StorageReason::NoServerReached, "no way")]);
        told.of_walk(&format!("v{n}"), &target("u1"), "slow");
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "whoever tells doesn't wait");
    let asked = || calls.lock().unwrap().iter().filter(|(call, _)| call.contains("persistentvolumes")).count();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((events(&calls, "POST").len(), asked()), (1, 19), "the node's, and what fits the pace");
    sleep(PER * 10).await;
    assert_eq!(asked(), QUEUE - 1, "the queue has a bound");
    told.of_walk("v999", &target("u1"), "slow");
    sleep(PER).await;
    assert_eq!(asked(), QUEUE, "what was dropped can be told again");
}

#[tokio::test]
async fn an_api_server_that_forbids_events_is_no_trouble_and_a_foreign_target_has_none() {
    let (this, calls) = api_server(403);
    let told = Events::start(Arc::clone(&this), CancellationToken::new());
    told.of_mount(HANDLE, &target("u1"), [denied()]);
    until(&calls, "POST", 1).await;
    let publisher = Publisher { this, recorder: OnceCell::new(), claims: Cache::new(10) };
    let denied = |about| Told { about, reason: "AccessDenied".to_owned(), note: "x".to_owned() };
    let error = publisher.publish(&denied(About::Node)).await.unwrap_err().to_string();
    assert!(error.contains("allow create and patch on events of events.k8s.io"), "{error}");
    let before = calls.lock().unwrap().len();
    let other = About::Mount { target: target("u1"), volume: "fs-1".to_owned() };
    publisher.publish(&denied(other)).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), before + 1, "the PersistentVolume of that name is another volume's");
    let foreign = About::Mount { target: "/mnt".into(), volume: HANDLE.to_owned() };
    publisher.publish(&denied(foreign)).await.unwrap();
    assert_eq!(calls.lock().unwrap().len(), before + 1, "nobody is asked about a target that isn't the kubelet's");
}

#[test]
fn the_kubelets_paths_name_pod_and_volume() {
    assert_eq!(pod_and_volume(&target("u1")), Some(("u1", "pv-1")));
    for foreign in ["/", "/mnt", "/pods/u1/volumes/kubernetes.io~nfs/pv/mount", "/pods/u1/volumes/kubernetes.io~csi/pv"]
    {
        assert_eq!(pod_and_volume(Path::new(foreign)), None, "{foreign}");
    }
}

/// Notes are as long as Kubernetes takes them.
#[tokio::test]
async fn notes_have_a_bound() {
    let (this, calls) = api_server(200);
    let told = Events::start(this, CancellationToken::new());
    told.of_walk(HANDLE, &target("u1"), &"é".repeat(2000));
    for event in until(&calls, "POST", 2).await {
        assert!(event["note"].as_str().unwrap().len() <= 1024);
    }
}
