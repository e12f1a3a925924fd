//! The fake's own API below `/_fake`: what AWS does not have and tests need.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, Path, RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use http::request::Parts;
use jiff::SignedDuration;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::efs::Operation;
use super::inquiry::Inquiry;
use super::reply::Reply;
use super::{Front, imds, s3, s3files, sts, uri};
use crate::faults::{Effect, Rule};
use crate::identities::{Credential, Identities, PodAssociation, Role};
use crate::journal::Query;
use crate::nfs::{WireEffect, WireFault};
use crate::world::errors::EfsError;
use crate::world::ids::FileSystemId;
use crate::world::limits::Delays;
use crate::world::scope::Requester;

/// A request that can't be understood.
fn bad(why: impl std::fmt::Display) -> Reply {
    Reply::error(400, "BadRequest", &why.to_string(), None)
}

fn answer(value: Value) -> Reply {
    Reply::json(200, value.to_string().into_bytes())
}

/// The answer when there is nothing to say.
fn done() -> Reply {
    answer(json!({}))
}

/// The answer to something that is about one rule.
fn found(found: bool) -> Reply {
    if found { done() } else { nothing() }
}

fn serialised(value: impl serde::Serialize) -> Reply {
    serde_json::to_vec(&value).map_or_else(bad, |body| Reply::json(200, body))
}

/// Overwrites the members of `target` that `changes` has.
fn merge<T: serde::Serialize + DeserializeOwned>(target: &T, changes: &Value) -> Result<T, Reply> {
    let mut value = serde_json::to_value(target).map_err(bad)?;
    let (Value::Object(all), Value::Object(changes)) = (&mut value, changes) else { return Err(bad("not an object")) };
    all.extend(changes.clone());
    serde_json::from_value(value).map_err(bad)
}

/// A key to be declared.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    principal: Option<String>,
}

/// A policy and whose it is.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachedPolicy {
    /// ARN of a user or role.
    pub(crate) principal: String,
    /// The document.
    policy: Value,
}

impl AttachedPolicy {
    pub(crate) fn attach(&self, identities: &Identities) -> Result<(), EfsError> {
        identities.attach_policy(&self.principal, &self.policy.to_string())
    }
}

/// How to restart the file server.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartFiles {
    /// Whether clients may claim their opens and locks back.
    #[serde(default)]
    reclaim: bool,
}

impl NewKey {
    /// Fills in what is missing: the home account, and a user of that name.
    pub(crate) fn into_credential(self, home: &crate::world::scope::Scope) -> Credential {
        let account = self.account.unwrap_or_else(|| home.account.clone());
        let named = || format!("arn:{}:iam::{account}:user/{}", home.partition(), self.access_key_id);
        let principal = self.principal.unwrap_or_else(named);
        Credential {
            access_key_id: self.access_key_id,
            secret: self.secret_access_key,
            session_token: self.session_token,
            expires: None,
            account,
            principal,
        }
    }
}

/// A body in JSON; whoever sends it need not say so.
struct Input<T>(T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Input<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let inquiry = Inquiry::from_request(request, state).await?;
        serde_json::from_slice(&inquiry.body).map(Self).map_err(|error| bad(error).into_response())
    }
}

/// A rule's id in the path.
struct RuleId(u64);

impl<S: Send + Sync> FromRequestParts<S> for RuleId {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Reply> {
        let id = Path::<u64>::from_request_parts(parts, state).await;
        id.map(|Path(id)| Self(id)).map_err(|_| bad("a rule's id is a number"))
    }
}

/// The running fake.
type Fake = State<Arc<Front>>;

/// The routes below `/_fake`.
pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/health", get(async || answer(json!({ "status": "ok" }))))
        .route("/state", get(async |State(front): Fake| front.state()))
        .route("/events", get(async |State(front): Fake| front.events()))
        .route("/journal", get(read_journal).delete(clear_journal))
        .route("/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/faults/{id}", delete(remove_fault))
        .route("/faults/{id}/enable", post(enable_fault))
        .route("/faults/{id}/disable", post(disable_fault))
        .route("/connections", get(async |State(front): Fake| front.connections()).delete(end_connections))
        .route("/wire-faults", get(list_wire_faults).post(add_wire_fault).delete(clear_wire_faults))
        .route("/wire-faults/{id}", delete(remove_wire_fault))
        .route("/restart-files", post(restart_files))
        .route("/clock", get(async |State(front): Fake| front.clock()).post(advance_clock))
        .route("/limits", get(async |State(front): Fake| serialised(front.world.limits())).put(set_limits))
        .route("/delays", get(async |State(front): Fake| serialised(front.world.delays())).put(set_delays))
        .route("/keys", post(add_key))
        .route("/roles", post(add_role))
        .route("/pod-associations", post(add_pod_association))
        .route("/policies", post(attach_policy))
        .route("/misconfigured", put(misconfigure))
        .fallback(missing)
        .method_not_allowed_fallback(missing)
}

async fn read_journal(State(front): Fake, RawQuery(query): RawQuery) -> Result<Reply, Reply> {
    let entries = front.journal.query(&journal_query(&query.unwrap_or_default())?);
    Ok(serialised(json!({ "entries": entries })))
}

async fn clear_journal(State(front): Fake) -> Reply {
    front.journal.clear();
    done()
}

async fn list_faults(State(front): Fake) -> Reply {
    serialised(json!({ "rules": front.faults.list() }))
}

async fn add_fault(State(front): Fake, Input(rule): Input<Rule>) -> Result<Reply, Reply> {
    check_rule(&rule)?;
    let id = front.faults.add(rule).map_err(bad)?;
    Ok(answer(json!({ "id": id })))
}

/// Longest time for which a fault may hold an answer back: a day.
const MOST_MILLISECONDS: u64 = 86_400_000;
/// Longest time that a resource may take to change, in seconds: ten years.
const MOST_SECONDS: f64 = 315_360_000.0;

/// Refuses a rule that would never strike, or for ever.
fn check_rule(rule: &Rule) -> Result<(), Reply> {
    const SERVICES: [&str; 6] = ["efs", "s3files", "s3", "sts", "imds", "pod-identity"];
    let of = |service: &str| rule.service.as_deref().is_none_or(|wanted| wanted == service);
    if !SERVICES.into_iter().any(of) {
        return Err(bad(format!("service must be one of {}", SERVICES.join(", "))));
    }
    let known = |operation: &str| {
        of("efs") && Operation::ALL.iter().any(|known| known.name() == operation)
            || of("s3files") && s3files::Operation::ALL.iter().any(|known| known.name() == operation)
            || of("s3") && s3::is_operation(operation)
            || of("sts") && sts::ACTIONS.contains(&operation)
            || of("pod-identity") && operation == imds::GET_CREDENTIALS
            || of("imds") && imds::Metadata::is_operation(operation)
    };
    if let Some(operation) = rule.operation.as_deref().filter(|operation| !known(operation)) {
        return Err(bad(format!(
            "there is no operation {operation:?}; see GET /_fake/journal for those that were called"
        )));
    }
    let milliseconds = match rule.effect {
        Effect::Delay { milliseconds } => milliseconds,
        Effect::Slow { milliseconds_per_byte } => milliseconds_per_byte,
        _ => 0,
    };
    check_milliseconds(milliseconds)
}

fn check_milliseconds(milliseconds: u64) -> Result<(), Reply> {
    let text = || bad(format!("milliseconds must be at most {MOST_MILLISECONDS}"));
    if milliseconds > MOST_MILLISECONDS { Err(text()) } else { Ok(()) }
}

async fn clear_faults(State(front): Fake) -> Reply {
    front.faults.clear();
    done()
}

async fn remove_fault(State(front): Fake, RuleId(id): RuleId) -> Reply {
    found(front.faults.remove(id))
}

async fn enable_fault(State(front): Fake, RuleId(id): RuleId) -> Reply {
    found(front.faults.enable(id, true))
}

async fn disable_fault(State(front): Fake, RuleId(id): RuleId) -> Reply {
    found(front.faults.enable(id, false))
}

async fn end_connections(State(front): Fake) -> Reply {
    let ended = front.files.connections().close(|_| true);
    answer(json!({ "ended": ended }))
}

async fn list_wire_faults(State(front): Fake) -> Reply {
    serialised(json!({ "rules": front.files.faults().list() }))
}

async fn add_wire_fault(State(front): Fake, Input(fault): Input<WireFault>) -> Result<Reply, Reply> {
    if let WireEffect::Delay { milliseconds } = fault.effect {
        check_milliseconds(milliseconds)?;
    }
    let id = front.files.faults().add(fault).ok_or_else(|| bad("there are too many faults"))?;
    Ok(answer(json!({ "id": id })))
}

async fn clear_wire_faults(State(front): Fake) -> Reply {
    front.files.faults().clear();
    done()
}

async fn remove_wire_fault(State(front): Fake, RuleId(id): RuleId) -> Reply {
    found(front.files.faults().remove(id))
}

async fn restart_files(State(front): Fake, Input(options): Input<RestartFiles>) -> Reply {
    front.files.restart(options.reclaim);
    done()
}

async fn advance_clock(State(front): Fake, Input(body): Input<Value>) -> Result<Reply, Reply> {
    let seconds = body.get("advance_seconds").and_then(Value::as_f64).filter(|s| *s >= 0.0);
    let seconds = seconds.ok_or_else(|| bad("advance_seconds must be a number of at least 0"))?;
    front.world.advance(SignedDuration::try_from_secs_f64(seconds).map_err(bad)?);
    Ok(front.clock())
}

async fn set_limits(State(front): Fake, Input(changes): Input<Value>) -> Result<Reply, Reply> {
    let limits = merge(&front.world.limits(), &changes)?;
    front.world.set_limits(|old| *old = limits);
    Ok(serialised(front.world.limits()))
}

async fn set_delays(State(front): Fake, Input(changes): Input<Value>) -> Result<Reply, Reply> {
    let delays: Delays = merge(&front.world.delays(), &changes)?;
    let all = serde_json::to_value(&delays).map_err(bad)?;
    let impossible =
        |(_, seconds): &(&String, &Value)| !seconds.as_f64().is_some_and(|s| (0.0..=MOST_SECONDS).contains(&s));
    if let Some((name, _)) = all.as_object().and_then(|all| all.iter().find(impossible)) {
        return Err(bad(format!("{name} must be a number of seconds from 0 to {MOST_SECONDS}")));
    }
    front.world.set_delays(|old| *old = delays);
    Ok(serialised(front.world.delays()))
}

async fn add_key(State(front): Fake, Input(key): Input<NewKey>) -> Reply {
    front.identities.add_key(key.into_credential(front.world.home()));
    done()
}

async fn add_role(State(front): Fake, Input(role): Input<Role>) -> Reply {
    front.identities.add_role(role);
    done()
}

async fn add_pod_association(State(front): Fake, Input(association): Input<PodAssociation>) -> Reply {
    front.identities.associate(association);
    done()
}

async fn attach_policy(State(front): Fake, Input(attached): Input<AttachedPolicy>) -> Result<Reply, Reply> {
    attached.attach(&front.identities).map_err(bad)?;
    Ok(done())
}

/// Which file system of S3 Files is in trouble, or no longer.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Trouble {
    file_system_id: FileSystemId,
    /// What AWS says; `null` when all is well.
    status_message: Option<String>,
}

async fn misconfigure(State(front): Fake, Input(trouble): Input<Trouble>) -> Reply {
    found(front.world.misconfigure(&trouble.file_system_id, trouble.status_message))
}

impl Front {
    /// The world's time.
    fn clock(&self) -> Reply {
        answer(json!({ "now": self.world.now().to_string() }))
    }

    /// The living connections to the file server, in the words of the EFS API.
    fn connections(&self) -> Reply {
        let connections = self.files.connections().list();
        let shown: Vec<_> = connections
            .into_iter()
            .map(|c| {
                json!({
                    "Number": c.number,
                    "FileSystemId": c.file_system_id,
                    "AccessPointId": c.access_point_id,
                    "MountTargetId": c.mount_target_id,
                    "Principal": c.principal,
                    "Refusal": c.refusal,
                    "Partition": c.partition,
                    "Binding": c.binding,
                    "Client": c.client.map(|(name, version)| format!("{name}/{version}")),
                    "Tls": c.tls,
                    "Remote": c.remote,
                    "Local": c.local,
                    "Since": c.since.to_string(),
                    "Calls": c.calls,
                    "BytesIn": c.bytes_in,
                    "BytesOut": c.bytes_out,
                })
            })
            .collect();
        answer(json!({ "Connections": shown }))
    }

    /// All that exists in the accounts and regions that have anything, for the console.
    fn state(&self) -> Reply {
        let all = self.world.overview();
        let pending = all.file_systems.iter().filter_map(|shown| {
            let (changed, removed) = self.world.pending_exports(&shown.row.id)?;
            Some((shown.row.id.to_string(), json!({ "changed": changed, "removed": removed })))
        });
        let pending: Map<_, _> = pending.collect();
        serialised(json!({
            "now": self.world.now().to_string(),
            "home": self.world.home(),
            "principal": Requester::root(self.world.home().clone()).principal,
            "file_systems": all.file_systems,
            "access_points": all.access_points,
            "access_points_total": all.access_points_total,
            "mount_targets": all.mount_targets,
            "buckets": self.world.buckets().list(),
            "bucket_bytes": self.world.buckets().bytes(),
            "pending_exports": pending,
        }))
    }
}

async fn missing(_: Inquiry) -> Reply {
    nothing()
}

fn nothing() -> Reply {
    Reply::error(404, "NotFound", "The fake's own API has nothing here.", None)
}

fn journal_query(query: &str) -> Result<Query, Reply> {
    let mut wanted = Query::default();
    for (name, value) in uri::query(query).ok_or_else(|| bad("the query is not UTF-8"))? {
        let number = || value.parse().map_err(|_| bad(format!("`{value}` is no number")));
        match name.as_str() {
            "after" => wanted.after = number()?,
            "limit" => wanted.limit = Some(usize::try_from(number()?).unwrap_or(usize::MAX)),
            "service" => wanted.service = Some(value),
            "operation" => wanted.operation = Some(value),
            "error" => wanted.error = Some(value),
            "mentions" => wanted.mentions = Some(value),
            other => return Err(bad(format!("there is no parameter `{other}`"))),
        }
    }
    Ok(wanted)
}
