//! The API server: objects in memory behind the REST paths that kube's client uses.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use crate::controllers::{self, Defect};

/// plural, namespace, name
pub(crate) type Key = (String, String, String);

/// What the server knows.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) objects: BTreeMap<Key, Value>,
    /// The fake's access points: id, client token, group id.
    pub(crate) access_points: BTreeMap<String, (String, u64)>,
    pub(crate) faults: bool,
    pub(crate) journal: Vec<String>,
    /// Roles by namespace and service account.
    pub(crate) associations: BTreeMap<(String, String), String>,
    pub(crate) defect: Option<Defect>,
    /// Numbers that the writer has printed.
    pub(crate) written: u64,
    next: u64,
}

impl World {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    pub(crate) fn put(&mut self, plural: &str, object: Value) {
        let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        self.objects.insert((plural.to_owned(), part("namespace"), part("name")), object);
    }

    pub(crate) fn of(&self, plural: &str) -> Vec<(Key, Value)> {
        self.objects.iter().filter(|(key, _)| key.0 == plural).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}

/// A cluster to which clients can be made.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<Mutex<World>>);

impl Server {
    pub(crate) fn new(defect: Option<Defect>) -> Self {
        let mut world = World { defect, ..World::default() };
        controllers::populate(&mut world);
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn client(&self) -> kube::Client {
        let world = self.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let world = world.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("bodies of tests are whole").to_bytes();
                let path = parts.uri.path().to_owned();
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let (status, answer) =
                    handle(&mut world.lock().expect("no test panics in here"), &parts.method, &path, &query, &body);
                let response = Response::builder().status(status).header("content-type", "application/json");
                Ok::<_, Infallible>(response.body(Body::from(answer.into_bytes())).expect("a valid answer"))
            }
        });
        kube::Client::new(service, "default")
    }
}

fn not_found(path: &str) -> (u16, String) {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404, "reason": "NotFound",
        "message": format!("{path} not found"),
    });
    (404, status.to_string())
}

fn handle(world: &mut World, method: &Method, path: &str, query: &str, body: &[u8]) -> (u16, String) {
    controllers::reconcile(world);
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = match segments[0] {
        "api" => &segments[2..],
        _ => &segments[3..],
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    match rest {
        ["pods", pod, "log"] => {
            let previous = query.contains("previous=true");
            controllers::log(world, namespace, pod)
                .filter(|_| !previous)
                .map_or_else(|| not_found(path), |log| (200, log))
        }
        [_, target, "proxy", page @ ..] => controllers::page(world, method, target, &page.join("/"), body),
        [plural] => match *method {
            Method::POST => {
                let mut object: Value = serde_json::from_slice(body).expect("clients send JSON");
                object["metadata"]["uid"] = json!(format!("uid-{}", world.number()));
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if world.objects.contains_key(&((*plural).to_owned(), namespace.to_owned(), name.clone())) {
                    let status = json!({"kind": "Status", "status": "Failure", "code": 409, "reason": "AlreadyExists", "message": name});
                    return (409, status.to_string());
                }
                world.put(plural, object.clone());
                controllers::reconcile(world);
                (201, object.to_string())
            }
            _ => (200, list(world, plural, namespace, query).to_string()),
        },
        [plural, name] => {
            let key = ((*plural).to_owned(), namespace.to_owned(), (*name).to_owned());
            let Some(object) = world.objects.get(&key).cloned() else { return not_found(path) };
            match *method {
                Method::DELETE => {
                    controllers::delete(world, &key);
                    (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}).to_string())
                }
                Method::PATCH => {
                    let mut changed = object;
                    merge(&mut changed, &serde_json::from_slice(body).expect("clients send JSON"));
                    world.objects.insert(key, changed.clone());
                    (200, changed.to_string())
                }
                _ => (200, object.to_string()),
            }
        }
        _ => not_found(path),
    }
}

fn list(world: &World, plural: &str, namespace: &str, query: &str) -> Value {
    let selector = query.split('&').find_map(|pair| pair.strip_prefix("labelSelector=")).unwrap_or_default();
    let selector = selector.replace("%3D", "=").replace("%2F", "/");
    let matches =
        |object: &Value| selector.split_once('=').is_none_or(|(key, value)| object["metadata"]["labels"][key] == value);
    let items: Vec<Value> = world
        .of(plural)
        .into_iter()
        .filter(|(key, object)| (namespace.is_empty() || key.1 == namespace) && matches(object))
        .map(|(_, object)| object)
        .collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn merge(object: &mut Value, changes: &Value) {
    match (object, changes) {
        (Value::Object(object), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (object, changes) => *object = changes.clone(),
    }
}
