//! The instance metadata service, version 2 only, and the agent of EKS Pod Identity.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::inquiry::Inquiry;
use super::reply::Reply;
use super::sts;
use crate::identities::{Credential, Identities, PodAssociation};
use crate::world::scope::{self, Scope};

/// The only operation of EKS Pod Identity's agent.
pub(super) const GET_CREDENTIALS: &str = "GetCredentials";

/// Longest life of a session token, in seconds.
const LONGEST_TOKEN: i64 = 21_600;
/// Life of the credentials that are handed out.
const CREDENTIAL_LIFETIME: SignedDuration = SignedDuration::from_hours(6);

/// The instance that clients believe to be on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// `i-…`
    pub instance_id: String,
    /// For example `m7g.large`.
    pub instance_type: String,
    /// For example `us-east-1a`; the first zone of the region if empty.
    pub zone: String,
    /// For example `use1-az1`; by rule if empty.
    pub zone_id: String,
    /// Private address.
    pub private_ip: String,
    /// Name of the instance's role.
    pub role: String,
    /// The token that EKS Pod Identity's callers must bring; any will do if empty.
    pub pod_token: String,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            instance_id: "i-0fa4e0ef500000001".to_owned(),
            instance_type: "m7g.large".to_owned(),
            zone: String::new(),
            zone_id: String::new(),
            private_ip: "10.0.0.10".to_owned(),
            role: "fake-node".to_owned(),
            pod_token: String::new(),
        }
    }
}

/// Metadata of one machine.
pub(crate) struct Metadata {
    machine: Machine,
    home: Scope,
    /// Signs session tokens, so that they need not be kept.
    key: [u8; 32],
}

impl Metadata {
    pub(crate) fn new(mut machine: Machine, home: Scope) -> Self {
        if machine.zone.is_empty() {
            machine.zone = format!("{}a", home.region);
        }
        if machine.zone_id.is_empty() {
            let zone = crate::world::network::Zone::by_rule(&home.region, &machine.zone);
            machine.zone_id = zone.map(|zone| zone.id).unwrap_or_default();
        }
        Self { machine, home, key: rand::random() }
    }

    /// Whether some request's operation has this name.
    pub(super) fn is_operation(name: &str) -> bool {
        name.split_once(' ').is_some_and(|(_, path)| path.starts_with("/latest"))
    }

    /// Name of the operation for journal and faults.
    pub(super) fn operation(method: &str, path: &str) -> String {
        format!("{method} {path}")
    }

    /// Answers a request below `/latest`.
    pub(super) fn answer(&self, inquiry: &Inquiry, identities: &Identities, now: Timestamp) -> Reply {
        let path = inquiry.path();
        if path == "/latest/api/token" {
            if inquiry.parts.method != http::Method::PUT {
                return plain(405, "");
            }
            let ttl = inquiry.header("x-aws-ec2-metadata-token-ttl-seconds").and_then(|text| text.parse().ok());
            return match ttl.filter(|ttl| (1..=LONGEST_TOKEN).contains(ttl)) {
                Some(ttl) => {
                    let mut reply = plain(200, &self.token(now.as_second().saturating_add(ttl)));
                    reply.headers.push(("x-aws-ec2-metadata-token-ttl-seconds", ttl.to_string()));
                    reply
                }
                None => plain(400, "Bad Request"),
            };
        }
        if !inquiry.header("x-aws-ec2-metadata-token").is_some_and(|token| self.is_valid(token, now)) {
            return plain(401, "Unauthorized");
        }
        if inquiry.parts.method != http::Method::GET {
            return plain(405, "");
        }
        self.document(path.trim_end_matches('/'), identities, now).unwrap_or_else(|| plain(404, "Not Found"))
    }

    fn token(&self, expires: i64) -> String {
        let seal = Sha256::new().chain_update(self.key).chain_update(expires.to_be_bytes()).finalize();
        format!("{expires:x}-{}", hex::encode(&seal[..24]))
    }

    fn is_valid(&self, token: &str, now: Timestamp) -> bool {
        let expires = token.split('-').next().and_then(|text| i64::from_str_radix(text, 16).ok());
        expires.is_some_and(|expires| expires > now.as_second() && self.token(expires) == token)
    }

    fn document(&self, path: &str, identities: &Identities, now: Timestamp) -> Option<Reply> {
        let Machine { instance_id, instance_type, zone, zone_id, private_ip, role, .. } = &self.machine;
        let Scope { account, region, .. } = &self.home;
        if path == "/latest/dynamic/instance-identity/document" {
            let document = json!({
                "accountId": account,
                "architecture": "x86_64",
                "availabilityZone": zone,
                "imageId": "ami-0fa4e0ef500000001",
                "instanceId": instance_id,
                "instanceType": instance_type,
                "pendingTime": "2026-01-01T00:00:00Z",
                "privateIp": private_ip,
                "region": region,
                "version": "2017-09-30",
            });
            return Some(plain(200, &format!("{document:#}")));
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let name = format!("ip-{}.{region}.compute.internal", private_ip.replace('.', "-"));
        let text = match path.strip_prefix("/latest/meta-data")? {
            "" => {
                "ami-id\nhostname\niam/\ninstance-id\ninstance-type\nlocal-hostname\nlocal-ipv4\nplacement/\nservices/"
            }
            "/ami-id" => "ami-0fa4e0ef500000001",
            "/instance-id" => instance_id,
            "/instance-type" => instance_type,
            "/hostname" | "/local-hostname" => &name,
            "/local-ipv4" => private_ip,
            "/placement" => "availability-zone\navailability-zone-id\nregion",
            "/placement/availability-zone" => zone,
            "/placement/availability-zone-id" => zone_id,
            "/placement/region" => region,
            "/services" => "domain\npartition",
            "/services/domain" => domain,
            "/services/partition" => self.home.partition(),
            "/iam" => "info\nsecurity-credentials/",
            "/iam/info" => {
                let arn = format!("arn:{}:iam::{account}:instance-profile/{role}", self.home.partition());
                let info = json!({ "Code": "Success", "LastUpdated": stamp(now), "InstanceProfileArn": arn });
                return Some(plain(200, &info.to_string()));
            }
            "/iam/security-credentials" => role,
            other => {
                let asked = other.strip_prefix("/iam/security-credentials/")?;
                return (asked == role).then(|| {
                    let credential = self.credential(identities, instance_id, now);
                    plain(
                        200,
                        &json!({
                            "Code": "Success",
                            "LastUpdated": stamp(now),
                            "Type": "AWS-HMAC",
                            "AccessKeyId": credential.access_key_id,
                            "SecretAccessKey": credential.secret,
                            "Token": credential.session_token,
                            "Expiration": credential.expires.map(stamp),
                            "AccountId": account,
                        })
                        .to_string(),
                    )
                });
            }
        };
        Some(plain(200, text))
    }

    /// Answers EKS Pod Identity's `GET /v1/credentials`: with the role of the token's service account where there are associations,
    /// else with the machine's.
    pub(super) fn pod_identity(&self, inquiry: &Inquiry, identities: &Identities, now: Timestamp) -> Reply {
        let token = inquiry.header("authorization");
        let associations = identities.associations();
        if !associations.is_empty() {
            return match associated(token.unwrap_or_default(), &associations, now) {
                Ok(role) => {
                    let account = role.split(':').nth(4).unwrap_or(&self.home.account);
                    let name = role.rsplit('/').next().unwrap_or_default();
                    let partition = scope::partition(&self.home.region);
                    let principal = format!("arn:{partition}:sts::{account}:assumed-role/{name}/eks-pod");
                    pod_credentials(&identities.new_session(account, &principal, now, CREDENTIAL_LIFETIME))
                }
                Err((status, text)) => plain(status, text),
            };
        }
        let wanted = self.machine.pod_token.as_str();
        match token {
            Some(token) if !token.is_empty() && (wanted.is_empty() || token == wanted) => {}
            _ => {
                let mut reply = plain(401, "Unauthorized");
                reply.error = Some("Unauthorized".to_owned());
                return reply;
            }
        }
        pod_credentials(&self.credential(identities, "eks-pod", now))
    }

    fn credential(&self, identities: &Identities, session: &str, now: Timestamp) -> Credential {
        let Scope { account, region, .. } = &self.home;
        let partition = scope::partition(region);
        let principal = format!("arn:{partition}:sts::{account}:assumed-role/{}/{session}", self.machine.role);
        identities.new_session(account, &principal, now, CREDENTIAL_LIFETIME)
    }
}

/// The role of a token's service account, or status and words of the refusal, by the order of the agent's checks.
fn associated(token: &str, associations: &[PodAssociation], now: Timestamp) -> Result<String, (u16, &'static str)> {
    let claims = sts::claims(token).ok_or((400, "unable to parse token"))?;
    if sts::is_over(&claims, now) {
        return Err((400, "token is expired"));
    }
    if !sts::is_for(&claims, "pods.eks.amazonaws.com") {
        return Err((400, "InvalidTokenException: wrong audience"));
    }
    let subject = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or_default();
    let is_its =
        |it: &&PodAssociation| subject == format!("system:serviceaccount:{}:{}", it.namespace, it.service_account);
    let found = associations.iter().find(is_its).ok_or((404, "ResourceNotFoundException: no association"))?;
    Ok(found.role.clone())
}

fn pod_credentials(credential: &Credential) -> Reply {
    let body = json!({
        "AccessKeyId": credential.access_key_id,
        "SecretAccessKey": credential.secret,
        "Token": credential.session_token,
        "Expiration": credential.expires.map(stamp),
        "AccountId": credential.account,
    });
    Reply::json(200, body.to_string().into_bytes())
}

fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn plain(status: u16, text: &str) -> Reply {
    let mut reply = Reply::text(status, "text/plain", text);
    if status >= 400 {
        reply.error = Some(text.replace(' ', ""));
    }
    reply
}
