//! Mounts with the identity of the pod: the node service in process, with a data plane of its own, against a fake that checks every
//! signature. Nothing is mounted here: who has connected to the file system, and with what success, is the fake's to say.

#![allow(clippy::unwrap_used, reason = "a test that panics fails, as it should")]

#[path = "pod_identity/scene.rs"]
mod scene;
mod support;

use scene::{Pod, Scene, TEAM_A, TEAM_B};

/// From the kubelet's token to the policy's verdict, both ways.
#[tokio::test]
async fn a_mount_is_its_pods_and_the_policy_decides() {
    let scene = Scene::start().await;
    scene.allow_only(&[TEAM_A]).await;
    for pod in [Pod::irsa(TEAM_A), Pod::agent(TEAM_A)] {
        let got_as_far = scene.publish(&pod, "a").await.unwrap_err();
        assert!(Scene::is_kernels(&got_as_far), "the policy lets it in: {got_as_far:?}");
    }
    let who = scene.connected();
    let session = |name: &str| format!("arn:aws:sts::123456789012:assumed-role/team-a/{name}");
    assert_eq!(who.into_iter().collect::<Vec<_>>(), [session("app@team-a"), session("eks-pod")]);
    for pod in [Pod::irsa(TEAM_B), Pod::agent(TEAM_B)] {
        // The file system says no to the kernel's first call, which isn't made here; its journal says why.
        let status = scene.publish(&pod, "b").await.unwrap_err();
        assert!(status.message().contains("(as service account team-b/app"), "{status:?}");
    }
    let refused: Vec<String> = scene.calls("Connect").into_iter().filter_map(|(_, error)| error).collect();
    for name in ["app@team-b", "eks-pod"] {
        let denied =
            format!("denies elasticfilesystem:ClientMount to arn:aws:sts::123456789012:assumed-role/team-b/{name}");
        assert!(refused.iter().any(|error| error.contains(&denied)), "{refused:?}");
    }
    assert_eq!(scene.connected().len(), 2, "team-a's alone");
    scene.assert_nothing_left().await;
}
