//! Mounts with the identity of the pod: the node service in process, with a data plane of its own, against a fake that checks every
//! signature. Nothing is mounted here: who has connected to the file system, and with what success, is the fake's to say.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "pod_identity/bad_input.rs"]
mod bad_input;
#[path = "support/log.rs"]
mod log;
#[path = "pod_identity/scene.rs"]
mod scene;
mod support;

use scene::{MARK, Pod, Scene, TEAM_A, TEAM_B};

/// From the kubelet's token to the policy's verdict, both ways.
#[tokio::test]
async fn a_mount_is_its_pods_and_the_policy_decides() {
    let scene = Scene::start().await;
    scene.allow_only(&[TEAM_A]).await;
    for pod in [Pod::irsa(TEAM_A), Pod::agent(TEAM_A)] {
        let got_as_far = scene.publish(&pod, "a").await.unwrap_err();
        assert!(Scene::is_kernels(&got_as_far), "the policy lets it in: {got_as_far:?}");
    }
    let who = scene.connected(2).await;
    let session = |name: &str| format!("arn:aws:sts::123456789012:assumed-role/team-a/{name}");
    assert_eq!(who, [session("app@team-a"), session("eks-pod")]);
    for pod in [Pod::irsa(TEAM_B), Pod::agent(TEAM_B)] {
        // The file system says no to the kernel's first call, which isn't made here; its journal says why.
        let status = scene.publish(&pod, "b").await.unwrap_err();
        assert!(status.message().contains("(as service account team-b/app"), "{status:?}");
    }
    let refused = scene.refused(2).await;
    for name in ["app@team-b", "eks-pod"] {
        let denied =
            format!("denies elasticfilesystem:ClientMount to arn:aws:sts::123456789012:assumed-role/team-b/{name}");
        assert!(refused.iter().any(|error| error.contains(&denied)), "{refused:?}");
    }
    assert_eq!(scene.connected(2).await.len(), 2, "team-a's alone");
    scene.assert_nothing_left().await;
}

/// In secrets or in the volume context, accepted or refused.
#[tokio::test]
async fn no_token_is_in_the_log_the_metrics_the_report_or_on_disk() {
    log::collect();
    let scene = Scene::start().await;
    let mut in_secrets = Pod::irsa(TEAM_A);
    in_secrets.in_secrets = true;
    let refused = Pod::irsa(TEAM_A).with("roleArn", &scene::role(TEAM_B));
    for pod in [Pod::irsa(TEAM_A), Pod::agent(TEAM_A), Pod::both(TEAM_A), in_secrets, refused] {
        let status = scene.publish(&pod, "a").await.unwrap_err();
        assert!(!status.message().contains(MARK), "{status:?}");
    }
    let mut torn = scene.request(&Pod::irsa(TEAM_A), "a");
    torn.volume_context.get_mut(scene::TOKENS).unwrap().pop();
    scene.send(torn).await.unwrap_err();
    let node = scene.node.clone();
    let report = tokio::task::spawn_blocking(move || node.report()).await.unwrap();
    let shown =
        [log::text(), scene.metrics.page().unwrap(), serde_json::to_string(&report).unwrap(), format!("{report:?}")];
    assert!(shown[0].contains("serviceAccount.tokens"), "requests are logged");
    assert!(shown[1].contains("efs_csi_pod_identities 0"), "{}", shown[1]);
    for text in shown {
        assert!(!text.contains(MARK) && !text.contains("eyJ"), "a token is in {text}");
    }
    for (path, bytes) in scene.state() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(MARK), "a token is in {}", path.display());
    }
    let journal = format!("{:?}", scene.fake.journal().query(&fake_efs::journal::Query::default()));
    assert!(journal.contains("AssumeRoleWithWebIdentity") && !journal.contains(MARK), "{journal}");
}

/// Two pods want one volume at the same time, each with an identity of its own.
#[tokio::test]
async fn pods_of_two_service_accounts_that_race_for_a_volume_each_arrive_as_themselves() {
    let scene = Scene::start().await;
    let (a, b) = (Pod::irsa(TEAM_A), Pod::irsa(TEAM_B));
    let (a, b) = tokio::join!(scene.publish(&a, "a"), scene.publish(&b, "b"));
    for (team, status) in [(TEAM_A, a), (TEAM_B, b)] {
        let status = status.unwrap_err();
        assert!(Scene::is_kernels(&status) && status.message().contains(team), "{status:?}");
    }
    let principal = |team: &str| format!("arn:aws:sts::123456789012:assumed-role/{team}/app@{team}");
    assert_eq!(scene.connected(2).await, [principal(TEAM_A), principal(TEAM_B)]);
    scene.assert_nothing_left().await;
}
