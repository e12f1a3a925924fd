//! The gate between the file server and the control plane: checks the signatures of clients, asks the world, and notes every
//! connection in the journal.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;

use crate::admission::{Admission, Admit, Caller, CertificateClaims, Dialect, IamClaim, Refusal};
use crate::identities::{Identities, Signatures};
use crate::journal::{Entry, Journal};
use crate::world::World;
use crate::world::connections::Visitor;
use crate::world::scope::{Requester, Service};

/// How long a signature in a certificate counts; clients say so themselves in `X-Amz-Expires`.
const SIGNATURE_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// Checks the signature in a certificate against a secret key, for a region and the signing name of a service.
pub(crate) type CheckSignature = fn(&CertificateClaims, secret_key: &str, region: &str, service: &str) -> bool;

/// Decides who may connect.
pub(crate) struct Gate {
    pub(crate) world: Arc<World>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) check_signature: CheckSignature,
}

impl Admit for Gate {
    fn admit(&self, caller: &Caller) -> Result<Admission, Refusal> {
        let verdict = self.decide(caller);
        self.note(caller, &verdict);
        verdict
    }

    fn dialect(&self, caller: &Caller) -> Dialect {
        let named = caller.certificate.as_ref().and_then(|claims| self.world.scope_of(&claims.file_system_id));
        named.map_or_else(Dialect::default, |scope| scope.service.into())
    }
}

impl From<Service> for Dialect {
    fn from(service: Service) -> Self {
        match service {
            Service::Efs => Self::Efs,
            Service::S3Files => Self::S3Files,
        }
    }
}

impl Gate {
    fn decide(&self, caller: &Caller) -> Result<Admission, Refusal> {
        let claims = caller.certificate.as_ref();
        let principal = match claims.and_then(|claims| Some((claims, claims.iam.as_ref()?))) {
            Some((claims, iam)) => Some(self.principal(claims, iam)?),
            None => None,
        };
        self.world.admit(&Visitor {
            local: caller.local,
            remote: caller.remote,
            named: claims.map(|claims| (claims.file_system_id.as_str(), claims.access_point_id.as_deref())),
            principal: principal.as_deref(),
            policy: principal.as_deref().and_then(|principal| self.identities.policy(principal)),
        })
    }

    /// The principal that signed. A key that nobody declared can't be checked: it is refused if signatures are checked, and
    /// else stands for a user of the home account, as it does for the API.
    fn principal(&self, claims: &CertificateClaims, iam: &IamClaim) -> Result<String, Refusal> {
        let refuse = |why: &str| Err(Refusal::Signature(why.to_owned()));
        let now = self.world.now();
        if now.duration_since(iam.signed_at) > SIGNATURE_LIFETIME {
            return refuse("the signature is older than 24 hours");
        }
        let Some(credential) = self.identities.find(&iam.access_key_id) else {
            return match self.identities.signatures {
                Signatures::Checked => refuse("nobody has that access key"),
                Signatures::Ignored => Ok(self.identities.principal(&iam.access_key_id).1),
            };
        };
        if credential.session_token != iam.session_token {
            return refuse("the session token is not the one that goes with the access key");
        }
        if credential.expires.is_some_and(|expires| expires <= now) {
            return refuse("the session is over");
        }
        let Some(scope) = self.world.scope_of(&claims.file_system_id) else {
            return Err(Refusal::FileSystem(claims.file_system_id.clone()));
        };
        if (self.check_signature)(claims, &credential.secret, &scope.region, scope.service.signing_name()) {
            Ok(credential.principal)
        } else {
            refuse("the signature does not match")
        }
    }

    fn note(&self, caller: &Caller, verdict: &Result<Admission, Refusal>) {
        let claims = caller.certificate.as_ref();
        let named = claims.map(|claims| claims.file_system_id.as_str());
        let admitted = verdict.as_ref().ok();
        let file_system = admitted.map(|admission| admission.file_system_id.as_str()).or(named);
        let scope = file_system.and_then(|id| self.world.scope_of(id)).unwrap_or_else(|| self.world.home().clone());
        let iam = claims.and_then(|claims| claims.iam.as_ref());
        let Requester { scope, .. } = Requester::root(scope);
        self.journal.record(Entry {
            number: 0,
            time: self.world.now(),
            service: "nfs",
            operation: "Connect".to_owned(),
            account: scope.account,
            region: scope.region,
            principal: admitted.map_or_else(|| "anonymous".to_owned(), |admission| admission.principal.clone()),
            access_key_id: iam.map(|iam| iam.access_key_id.clone()),
            request_id: String::new(),
            arguments: json!({
                "FileSystemId": file_system,
                "AccessPointId": claims.and_then(|claims| claims.access_point_id.as_deref()),
                "MountTargetId": admitted.and_then(|admission| admission.mount_target_id.as_deref()),
                "Local": caller.local.to_string(),
                "Remote": caller.remote.to_string(),
                "Tls": claims.is_some(),
                "Client": claims.and_then(|claims| claims.client_info.as_ref()).map(|(name, version)| format!("{name}/{version}")),
            }),
            status: if verdict.is_ok() { 200 } else { 403 },
            error: verdict.as_ref().err().map(ToString::to_string),
            fault: None,
            micros: 0,
        });
    }
}
