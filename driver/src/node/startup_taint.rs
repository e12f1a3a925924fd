//! The start-up taint: nodes may be born with `efs.csi.aws.com/agent-not-ready`, so that no pod with an EFS volume is placed on
//! them before the driver can mount it. The driver takes the taint off, once, when the kubelet lists it among its drivers.
//!
//! Nothing here is ever fatal: a node that keeps its taint is an inconvenience, a driver that stops is an outage.

use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use rand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cluster::{ClusterError, ThisNode};
use crate::identity::PLUGIN_NAME;

/// The taint's key; its effect may be any.
pub const KEY: &str = "efs.csi.aws.com/agent-not-ready";
/// First and longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Where an attempt has come to.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There is no such taint (any more).
    Clean,
    /// The taint stays until the kubelet has registered the driver.
    NotRegistered,
}

/// Takes the taint off as soon as the kubelet lists the driver. With `limited`, it must also list the driver's limit of
/// volumes: pods placed before that would not be counted.
pub async fn remove(node: &ThisNode, limited: bool, shutdown: CancellationToken) {
    let mut pause = BACKOFF.0;
    let mut complaint = None;
    loop {
        match attempt(node, limited).await {
            Ok(Step::Clean) => return,
            Ok(Step::NotRegistered) => {
                tracing::debug!(node = node.name(), taint = KEY, "waiting for the kubelet to register the driver");
            }
            Err(error) => {
                if complaint.as_ref() != Some(&error) {
                    tracing::warn!(node = node.name(), taint = KEY, %error, "cannot remove the start-up taint yet");
                    complaint = Some(error);
                }
            }
        }
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = sleep(pause.mul_f64(jitter)) => {}
        }
        pause = (pause * 2).min(BACKOFF.1);
    }
}

async fn attempt(node: &ThisNode, limited: bool) -> Result<Step, ClusterError> {
    let taints = node.node().await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let others: Vec<Taint> = taints.iter().filter(|taint| taint.key != KEY).cloned().collect();
    if others.len() == taints.len() {
        return Ok(Step::Clean);
    }
    let drivers = node.drivers().await?;
    let listed = drivers.iter().any(|(name, limit)| name == PLUGIN_NAME && (!limited || limit.is_some()));
    if !listed {
        return Ok(Step::NotRegistered);
    }
    node.replace_taints(&taints, &others).await?;
    tracing::info!(node = node.name(), taint = KEY, "the node is ready for EFS volumes, its start-up taint is removed");
    Ok(Step::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cluster::tests::{node, refusal};
    use serde_json::{Value, json};
    use std::sync::{Arc, Mutex};

    /// A cluster of one node.
    #[derive(Default)]
    struct World {
        taints: Vec<Value>,
        drivers: Vec<Value>,
        calls: Vec<String>,
        /// Happens before the n-th call is answered; `Some` is the answer.
        events: Vec<Event>,
    }

    type Event = (usize, Box<dyn FnOnce(&mut World) -> Option<(u16, Value)> + Send>);

    impl World {
        fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
            self.calls.push(format!("{method} {path}"));
            let due = self.calls.len();
            while let Some(at) = self.events.iter().position(|(call, _)| *call == due) {
                let (_, event) = self.events.remove(at);
                if let Some(answer) = event(self) {
                    return answer;
                }
            }
            match (method, path) {
                ("GET", "/api/v1/nodes/node-a") => (200, self.node()),
                ("GET", "/apis/storage.k8s.io/v1/csinodes/node-a") => {
                    (200, json!({"metadata": {"name": "node-a"}, "spec": {"drivers": self.drivers}}))
                }
                ("PATCH", "/api/v1/nodes/node-a") => {
                    assert_eq!((&body[0]["op"], &body[0]["path"]), (&json!("test"), &json!("/spec/taints")));
                    assert_eq!((&body[1]["op"], &body[1]["path"]), (&json!("replace"), &json!("/spec/taints")));
                    if body[0]["value"] != json!(self.taints) {
                        return refusal(422, "testing path '/spec/taints' value failed");
                    }
                    self.taints = body[1]["value"].as_array().unwrap().clone();
                    (200, self.node())
                }
                other => panic!("{other:?}"),
            }
        }

        fn node(&self) -> Value {
            json!({"metadata": {"name": "node-a"}, "spec": {"taints": self.taints}})
        }
    }

    fn ours() -> Value {
        json!({"key": KEY, "effect": "NoExecute"})
    }

    fn other() -> Value {
        json!({"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"})
    }

    fn registered() -> Value {
        json!({"name": PLUGIN_NAME, "nodeID": "i-0", "topologyKeys": []})
    }

    async fn run(world: World, limited: bool) -> (Vec<Value>, Vec<String>) {
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        let this = node(move |method, path, body| shared.lock().unwrap().answer(method, path, &body));
        remove(&this, limited, CancellationToken::new()).await;
        let world = world.lock().unwrap();
        (world.taints.clone(), world.calls.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn only_our_taint_goes_and_only_when_the_kubelet_lists_the_driver() {
        let register = |world: &mut World| {
            assert_eq!(world.taints.len(), 2, "the taint went before the driver was registered");
            world.drivers = vec![json!({"name": "other", "nodeID": "x"}), registered()];
            None
        };
        let world = World {
            taints: vec![other(), ours()],
            drivers: vec![json!({"name": "other", "nodeID": "x"})],
            events: vec![(5, Box::new(register))],
            ..World::default()
        };
        let (taints, calls) = run(world, false).await;
        assert_eq!(taints, [other()]);
        assert_eq!(calls.iter().filter(|call| call.starts_with("PATCH")).count(), 1);
        assert!(calls.len() >= 7, "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_the_taint_is_left_alone() {
        let world = World { taints: vec![other()], ..World::default() };
        let (taints, calls) = run(world, false).await;
        assert_eq!(taints, [other()]);
        assert_eq!(calls, ["GET /api/v1/nodes/node-a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_taint_that_somebody_adds_in_between_is_not_lost() {
        // The third call is the patch; by then the list is another.
        let add = |world: &mut World| {
            world.taints.push(other());
            None
        };
        let world = World {
            taints: vec![ours()],
            drivers: vec![registered()],
            events: vec![(3, Box::new(add))],
            ..World::default()
        };
        let (taints, calls) = run(world, false).await;
        assert_eq!(taints, [other()]);
        assert_eq!(calls.iter().filter(|call| call.starts_with("PATCH")).count(), 2, "the first patch must fail");
    }

    #[tokio::test(start_paused = true)]
    async fn outages_refusals_and_a_missing_csi_node_are_waited_out() {
        let world = World {
            taints: vec![ours()],
            drivers: vec![registered()],
            events: vec![
                (1, Box::new(|_| Some(refusal(503, "etcd is away")))),
                (2, Box::new(|_| Some(refusal(403, "forbidden")))),
                (4, Box::new(|_| Some(refusal(404, "csinodes \"node-a\" not found")))),
                (7, Box::new(|_| Some(refusal(500, "internal error")))),
            ],
            ..World::default()
        };
        let (taints, calls) = run(world, false).await;
        assert_eq!((taints, calls.len()), (Vec::new(), 10), "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_volume_limit_the_kubelet_must_list_that_too() {
        let announce = |world: &mut World| {
            assert_eq!(world.taints.len(), 1);
            world.drivers[0]["allocatable"] = json!({"count": 20});
            None
        };
        let world = World {
            taints: vec![ours()],
            drivers: vec![registered()],
            events: vec![(3, Box::new(announce))],
            ..World::default()
        };
        let (taints, calls) = run(world, true).await;
        assert_eq!((taints, calls.len()), (Vec::new(), 5), "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_attempts() {
        let this = node(|_, _, _| refusal(403, "forbidden for ever"));
        let stop = CancellationToken::new();
        let stopping = async {
            sleep(Duration::from_secs(3600)).await;
            stop.cancel();
        };
        tokio::join!(remove(&this, false, stop.clone()), stopping);
    }
}
