//! What the kubelet, STS and the agent can get wrong: the code, words without secrets, nothing mounted and nothing left.

use std::sync::Arc;

use efs_csi_driver::node::cluster::ThisNode;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};

use crate::scene::{Choice, MARK, Pod, Scene, TEAM_A, TEAM_B, TOKENS, role};

/// An API server where every service account has this annotation, or none, or that forbids to read them.
fn cluster(status: u16, role: Option<&str>) -> Arc<ThisNode> {
    let annotations = role.map(|role| serde_json::json!({ "eks.amazonaws.com/role-arn": role }));
    let body = match status {
        200 => {
            serde_json::json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "app", "annotations": annotations } })
        }
        _ => {
            serde_json::json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "Forbidden", "code": status })
        }
    };
    let service = tower::service_fn(move |_: Request<kube::client::Body>| {
        let answer = Response::builder().status(status).body(kube::client::Body::from(body.to_string().into_bytes()));
        async move { Ok::<_, std::convert::Infallible>(answer.unwrap()) }
    });
    Arc::new(ThisNode::with_client("a".to_owned(), kube::Client::new(service, "default")))
}

async fn refused(scene: &Scene, pod: &Pod, code: Code, words: &[&str]) -> Status {
    let status = scene.publish(pod, "bad").await.unwrap_err();
    check(&status, code, words);
    scene.assert_nothing_left().await;
    status
}

fn check(status: &Status, code: Code, words: &[&str]) {
    assert_eq!(status.code(), code, "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "{word} is missing: {status:?}");
    }
    assert!(!status.message().contains(MARK), "a token is shown: {status:?}");
}

#[tokio::test]
async fn tokens_that_are_missing_or_wrong_are_refused_with_the_fix() {
    let scene = Scene::start().await;
    let mut none = Pod::irsa(TEAM_A);
    none.tokens.clear();
    let of_a = "service account team-a/app";
    // An empty object: there are tokens, for nobody.
    refused(
        &scene,
        &none,
        Code::FailedPrecondition,
        &["no token for audience sts.amazonaws.com", of_a, "tokenRequests"],
    )
    .await;
    let wrong = Pod::agent(TEAM_A).with("roleArn", &role(TEAM_A));
    refused(&scene, &wrong, Code::FailedPrecondition, &["sts.amazonaws.com", "only for [pods.eks.amazonaws.com]"])
        .await;
    let others = Pod::irsa(TEAM_A).changed(|jwt| TEAM_B.clone_into(&mut jwt.namespace));
    refused(&scene, &others, Code::InvalidArgument, &["system:serviceaccount:team-b:app's", of_a]).await;
    for (tokens, code, word) in [
        ("", Code::FailedPrecondition, "tokenRequests"),
        ("no JSON", Code::InvalidArgument, "no JSON object"),
        (&*"x".repeat(50_000), Code::InvalidArgument, "50000 bytes"),
    ] {
        let mut request = scene.request(&Pod::irsa(TEAM_A), "bad");
        request.volume_context.insert(TOKENS.to_owned(), tokens.to_owned());
        check(&scene.send(request).await.unwrap_err(), code, &[word, of_a]);
    }
    let mut unnamed = scene.request(&Pod::irsa(TEAM_A), "bad");
    unnamed.volume_context.remove("csi.storage.k8s.io/serviceAccount.name");
    check(&scene.send(unnamed).await.unwrap_err(), Code::FailedPrecondition, &["podInfoOnMount: true"]);
    scene.assert_nothing_left().await;
    assert!(scene.calls("AssumeRoleWithWebIdentity").is_empty(), "nobody was asked");
}

#[tokio::test]
async fn what_sts_and_the_agent_refuse_is_told_with_service_account_and_role() {
    let scene = Scene::start().await;
    let expired = |pod: Pod| pod.changed(|jwt| jwt.expires = 1_600_000_000);
    refused(&scene, &expired(Pod::irsa(TEAM_A)), Code::Unauthenticated, &["ExpiredToken", "team-a/app", &role(TEAM_A)])
        .await;
    refused(&scene, &expired(Pod::agent(TEAM_A)), Code::Unauthenticated, &["token is expired", "team-a/app"]).await;
    let another = Pod::irsa(TEAM_A).with("roleArn", &role(TEAM_B));
    refused(&scene, &another, Code::PermissionDenied, &["AccessDenied", "team-a/app", &role(TEAM_B)]).await;
    scene.fake.identities().dissociate(TEAM_B, "app");
    let words = ["ResourceNotFound", "team-b/app", "is there a pod identity association"];
    refused(&scene, &Pod::agent(TEAM_B), Code::PermissionDenied, &words).await;
    assert!(scene.calls("Connect").is_empty(), "nobody has spoken with the file system");
}

#[tokio::test]
async fn the_annotation_decides_and_without_one_there_is_no_other_role() {
    let with = async |status, role: Option<&str>| {
        Scene::start_with(Choice { kubernetes: Some(cluster(status, role)), elsewhere: None }).await
    };
    let scene = with(200, Some(&role(TEAM_A))).await;
    for pod in [Pod::annotated(TEAM_A), Pod::both(TEAM_A)] {
        assert!(Scene::is_kernels(&scene.publish(&pod, "a").await.unwrap_err()));
    }
    assert_eq!(scene.calls("AssumeRoleWithWebIdentity").len(), 2);
    assert!(scene.calls("GetCredentials").is_empty(), "the annotation means IRSA");
    let scene = with(200, None).await;
    refused(&scene, &Pod::annotated(TEAM_A), Code::FailedPrecondition, &["no role for service account team-a/app"])
        .await;
    assert!(Scene::is_kernels(&scene.publish(&Pod::both(TEAM_A), "a").await.unwrap_err()), "EKS Pod Identity");
    let scene = with(200, Some("a-role")).await;
    refused(&scene, &Pod::both(TEAM_A), Code::FailedPrecondition, &["\"a-role\", which is not the ARN of a role"])
        .await;
    let scene = with(403, None).await;
    refused(&scene, &Pod::both(TEAM_A), Code::FailedPrecondition, &["allow get on serviceaccounts"]).await;
    assert!(scene.calls("GetCredentials").is_empty(), "no other way is tried");
    assert!(Scene::is_kernels(&scene.publish(&Pod::agent(TEAM_A), "a").await.unwrap_err()), "nothing to be read");
    let scene = with(503, None).await;
    refused(&scene, &Pod::both(TEAM_A), Code::Unavailable, &["cannot read the role"]).await;
}

/// Something that answers every call like that, or hangs.
async fn answers(with: Option<&'static str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = vec![0; 16 * 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                match with {
                    // It repeats what it was sent.
                    Some("echo") => {
                        let body = String::from_utf8_lossy(&request[..read]).into_owned();
                        let head = format!("HTTP/1.1 403 Forbidden\r\nContent-Length: {}\r\n\r\n", body.len());
                        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                    }
                    Some(text) => drop(stream.write_all(text.as_bytes()).await),
                    None => std::future::pending().await,
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_sts_or_agent_that_hangs_or_answers_nonsense_is_away() {
    let html = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
    for with in [None, Some(html), Some("x"), Some("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")] {
        let elsewhere = Some(answers(with).await);
        let scene = Scene::start_with(Choice { elsewhere, kubernetes: None }).await;
        let begun = std::time::Instant::now();
        refused(&scene, &Pod::irsa(TEAM_A), Code::Unavailable, &["team-a/app", "AWS STS in us-east-1"]).await;
        refused(&scene, &Pod::agent(TEAM_A), Code::Unavailable, &["team-a/app", "the EKS Pod Identity agent at"]).await;
        assert!(begun.elapsed().as_secs() < 25, "{:?}", begun.elapsed());
    }
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let scene = Scene::start_with(Choice { elsewhere: Some(format!("http://{nobody}")), kubernetes: None }).await;
    refused(&scene, &Pod::agent(TEAM_A), Code::Unavailable, &["is the add-on eks-pod-identity-agent installed?"]).await;
}

/// Whoever answers may repeat what it was asked.
#[tokio::test]
async fn a_token_that_is_repeated_in_an_answer_is_hidden() {
    let scene = Scene::start_with(Choice { elsewhere: Some(answers(Some("echo")).await), kubernetes: None }).await;
    refused(&scene, &Pod::agent(TEAM_A), Code::PermissionDenied, &["***"]).await;
    refused(&scene, &Pod::irsa(TEAM_A), Code::Unavailable, &["team-a/app"]).await;
}
