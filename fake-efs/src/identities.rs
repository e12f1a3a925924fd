//! Who is who: access keys, the principals behind them, and roles that can be assumed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::world::errors::EfsError;
use crate::world::policy::{IdentityPolicy, is_principal};
use crate::world::scope::{self, Scope};

/// Session credentials that are kept; when there are more, the ones that expire first are forgotten.
const MOST_SESSIONS: usize = 10_000;

/// An access key and what it stands for.
#[derive(Clone)]
pub struct Credential {
    /// `AKIA…`, or `ASIA…` for session credentials.
    pub access_key_id: String,
    /// Signs.
    pub secret: String,
    /// Goes with session credentials.
    pub session_token: Option<String>,
    /// When session credentials end.
    pub expires: Option<Timestamp>,
    /// 12 digits.
    pub account: String,
    /// ARN of the principal.
    pub principal: String,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::ACCOUNT:role/NAME`
    pub arn: String,
    /// What AssumeRole must bring along, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// ARNs of principals that may assume it, and subjects of web identities (`system:serviceaccount:NAMESPACE:NAME`); empty for all.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// Whether web identities (IRSA) may assume it.
    #[serde(default = "yes")]
    pub web_identity: bool,
}

/// A pod identity association: the role that EKS gives a service account's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodAssociation {
    /// The namespace.
    pub namespace: String,
    /// The service account's name.
    pub service_account: String,
    /// ARN of the role.
    pub role: String,
}

/// The default of [`Role::web_identity`].
fn yes() -> bool {
    true
}

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signatures {
    /// Any credentials are accepted, and none too.
    #[default]
    Ignored,
    /// Every call must be signed by a known key, as with AWS.
    Checked,
}

/// All keys and roles.
pub struct Identities {
    /// Whether signatures are checked.
    pub signatures: Signatures,
    home: Scope,
    inner: Mutex<Inner>,
}

struct Inner {
    keys: HashMap<String, Credential>,
    roles: BTreeMap<String, Role>,
    associations: Vec<PodAssociation>,
    /// By the ARN of a user or role.
    policies: BTreeMap<String, Arc<IdentityPolicy>>,
    rng: StdRng,
}

impl Identities {
    /// No keys. Roles that nobody declared can be assumed as long as signatures are ignored.
    pub fn new(home: Scope, signatures: Signatures, seed: u64) -> Self {
        let inner = Inner {
            keys: HashMap::new(),
            roles: BTreeMap::new(),
            associations: Vec::new(),
            policies: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
        };
        Self { signatures, home, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Account and region of the fake.
    pub fn home(&self) -> &Scope {
        &self.home
    }

    /// Adds or replaces a key.
    pub fn add_key(&self, credential: Credential) {
        self.lock().keys.insert(credential.access_key_id.clone(), credential);
    }

    /// Adds or replaces a role.
    pub fn add_role(&self, role: Role) {
        self.lock().roles.insert(role.arn.clone(), role);
    }

    /// Takes a role away.
    pub fn remove_role(&self, arn: &str) {
        self.lock().roles.remove(arn);
    }

    /// Adds a pod identity association, in place of the one that the service account had.
    pub fn associate(&self, association: PodAssociation) {
        self.dissociate(&association.namespace, &association.service_account);
        self.lock().associations.push(association);
    }

    /// Removes a service account's association.
    pub fn dissociate(&self, namespace: &str, service_account: &str) {
        self.lock().associations.retain(|it| it.namespace != namespace || it.service_account != service_account);
    }

    /// All associations.
    pub fn associations(&self) -> Vec<PodAssociation> {
        self.lock().associations.clone()
    }

    /// Attaches a policy to a user or role, in place of the one before. Principals without a policy may do everything.
    ///
    /// # Errors
    /// When it is no policy.
    pub fn attach_policy(&self, principal: &str, policy: &str) -> Result<(), EfsError> {
        let policy = Arc::new(IdentityPolicy::parse(policy)?);
        self.lock().policies.insert(principal.to_owned(), policy);
        Ok(())
    }

    /// The policy of a principal, or of the role whose session it is.
    pub(crate) fn policy(&self, principal: &str) -> Option<Arc<IdentityPolicy>> {
        let inner = self.lock();
        let mut policies = inner.policies.iter();
        policies.find(|(name, _)| is_principal(name, Some(principal))).map(|(_, policy)| Arc::clone(policy))
    }

    /// The credential of an access key.
    pub fn find(&self, access_key_id: &str) -> Option<Credential> {
        self.lock().keys.get(access_key_id).cloned()
    }

    /// A declared role.
    pub fn role(&self, arn: &str) -> Option<Role> {
        self.lock().roles.get(arn).cloned()
    }

    /// Account and principal of an access key. An unknown key is a user of the home account.
    pub fn principal(&self, access_key_id: &str) -> (String, String) {
        match self.find(access_key_id) {
            Some(known) => (known.account, known.principal),
            None => {
                let partition = scope::partition(&self.home.region);
                let principal = format!("arn:{partition}:iam::{}:user/{access_key_id}", self.home.account);
                (self.home.account.clone(), principal)
            }
        }
    }

    /// Makes session credentials.
    pub fn new_session(&self, account: &str, principal: &str, now: Timestamp, lifetime: SignedDuration) -> Credential {
        let mut inner = self.lock();
        let mut letters = |length| {
            let mut text = String::new();
            Alphanumeric.append_string(&mut inner.rng, &mut text, length);
            text
        };
        let credential = Credential {
            access_key_id: format!("ASIA{}", letters(16).to_ascii_uppercase()),
            secret: letters(40),
            session_token: Some(format!("FAKE{}", letters(200))),
            expires: Some(now.checked_add(lifetime).unwrap_or(Timestamp::MAX)),
            account: account.to_owned(),
            principal: principal.to_owned(),
        };
        if inner.keys.len() >= MOST_SESSIONS {
            inner.keys.retain(|_, key| key.expires.is_none_or(|expires| expires > now));
            if inner.keys.len() >= MOST_SESSIONS {
                let first = inner.keys.values().filter(|key| key.expires.is_some()).min_by_key(|key| key.expires);
                if let Some(first) = first.map(|key| key.access_key_id.clone()) {
                    inner.keys.remove(&first);
                }
            }
        }
        inner.keys.insert(credential.access_key_id.clone(), credential.clone());
        credential
    }

    /// `AROA…`, the unique id of a role as it stands in answers.
    pub fn new_role_id(&self) -> String {
        format!("AROA{:017X}", self.lock().rng.next_u64() >> 4)
    }
}
