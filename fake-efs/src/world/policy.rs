//! Policies: those of file systems, which decide what a client of the file server may do, and those of IAM principals, which
//! decide about calls of the API.

mod actions;

use std::collections::HashSet;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::errors::{EfsError, ErrorName};
use super::scope::Service;

/// `elasticfilesystem:ClientMount`, `…ClientWrite` and `…ClientRootAccess`, or those of S3 Files.
const CLIENT_ACTIONS: [&str; 3] = ["ClientMount", "ClientWrite", "ClientRootAccess"];

/// A file system's policy that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy(Vec<Statement>);

/// A policy that is attached to an IAM principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityPolicy(Vec<Statement>);

/// Says what a condition's key (in lower case) stands for in a request: nothing, a value, or several.
type Facts<'a> = &'a dyn Fn(&str) -> Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    allow: bool,
    principals: Principals,
    /// Patterns, and whether they exclude.
    actions: (Vec<String>, bool),
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Principals {
    Everybody,
    Named(Vec<String>),
    AllBut(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    test: Test,
    /// Lower case.
    key: String,
    values: Vec<String>,
    negated: bool,
    set: Set,
    /// `…IfExists`: a missing key is fine.
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoringCase,
    Like,
    Bool,
    Address,
    Missing,
}

/// How many of a key's values have to pass (IAM user guide, "Set operators for multi-valued context keys").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// No operator: the key has one value.
    One,
    /// `ForAllValues:`, which a key without values passes.
    All,
    /// `ForAnyValue:`, which needs a value.
    Any,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// Whose file system it is.
    pub(crate) service: Service,
    /// ARN of the principal; `None` for anonymous clients.
    pub(crate) principal: Option<&'a str>,
    /// ARN of the file system.
    pub(crate) file_system: &'a str,
    /// ARN of the access point that is used.
    pub(crate) access_point: Option<&'a str>,
    /// Whether the connection is encrypted.
    pub(crate) secure: bool,
    /// Where it comes from.
    pub(crate) source: Option<IpAddr>,
}

/// What is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grants {
    pub(crate) mount: bool,
    pub(crate) write: bool,
    pub(crate) root: bool,
}

impl Grants {
    /// AWS's default without a policy.
    pub(crate) const ALL: Self = Self { mount: true, write: true, root: true };
}

/// The document as JSON has it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Document {
    version: Option<String>,
    #[serde(rename = "Id")]
    _id: Option<String>,
    statement: OneOrMore<RawStatement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RawStatement {
    sid: Option<String>,
    effect: String,
    principal: Option<Value>,
    not_principal: Option<Value>,
    action: Option<OneOrMore<String>>,
    not_action: Option<OneOrMore<String>>,
    resource: Option<OneOrMore<String>>,
    condition: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a value, or a list of them, is not what it has to be")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(item) => vec![item],
            Self::More(items) => items,
        }
    }
}

impl Document {
    fn statements(text: &str) -> Result<Vec<RawStatement>, EfsError> {
        let document: Self = serde_json::from_str(text).map_err(|e| invalid(format!("Malformed policy: {e}")))?;
        if document.version.as_deref().is_some_and(|v| v != "2012-10-17" && v != "2008-10-17") {
            return Err(invalid("The policy's version must be 2012-10-17."));
        }
        let statements = document.statement.into_vec();
        if statements.is_empty() {
            return Err(invalid("The policy has no statement."));
        }
        let mut names = HashSet::new();
        if let Some(twice) = statements.iter().filter_map(|s| s.sid.as_deref()).find(|sid| !names.insert(*sid)) {
            return Err(invalid(format!(
                "Statement IDs (SID) in a single policy must be unique: '{twice}' is there twice."
            )));
        }
        Ok(statements)
    }
}

fn invalid(why: impl Into<String>) -> EfsError {
    EfsError::new(ErrorName::InvalidPolicyException, why)
}

impl Policy {
    /// Reads a policy of one of the service's file systems; whatever AWS or this fake does not understand is refused.
    pub(crate) fn parse(text: &str, service: Service) -> Result<Self, EfsError> {
        let statements = Document::statements(text)?.into_iter();
        statements.map(|raw| Statement::of_resource(raw, service)).collect::<Result<_, _>>().map(Self)
    }

    /// What the policy allows a client. A denial beats every permission.
    pub(crate) fn grants(&self, question: &Question<'_>) -> Grants {
        self.verdicts(question).grants()
    }

    /// What the policy says about each of a client's actions.
    fn verdicts(&self, question: &Question<'_>) -> Verdicts {
        Verdicts(CLIENT_ACTIONS.map(|action| {
            let action = question.service.action(action);
            Verdict::of(&self.0, |statement| statement.answers(&action, question))
        }))
    }

    /// Whether the policy forbids a principal to replace it.
    pub(crate) fn locks_out(&self, question: &Question<'_>) -> bool {
        let action = question.service.action("PutFileSystemPolicy");
        self.0.iter().any(|s| !s.allow && s.answers(&action, question))
    }
}

impl IdentityPolicy {
    /// Reads a policy. Actions of other services are nobody's business here.
    pub(crate) fn parse(text: &str) -> Result<Self, EfsError> {
        Document::statements(text)?.into_iter().map(Statement::of_identity).collect::<Result<_, _>>().map(Self)
    }

    /// Whether an action on a resource, by its ARN, is allowed. A denial beats every permission.
    pub(crate) fn allows(&self, action: &str, resource: &str, facts: Facts<'_>) -> bool {
        Verdict::of(&self.0, |statement| statement.applies(action, resource, facts)) == Verdict::Allowed
    }

    /// What the policy says about each of a client's actions.
    fn verdicts(&self, question: &Question<'_>) -> Verdicts {
        Verdicts(CLIENT_ACTIONS.map(|action| {
            let action = question.service.action(action);
            let facts = |key: &str| question.fact(key).into_iter().collect();
            Verdict::of(&self.0, |statement| statement.applies(&action, question.file_system, &facts))
        }))
    }
}

/// What a client of S3 Files may do: what either the principal's policy or the file system's allows and neither denies. Principals
/// without a policy may do everything.
pub(crate) fn joint_grants(
    identity: Option<&IdentityPolicy>,
    resource: Option<&Policy>,
    question: &Question<'_>,
) -> Grants {
    let own = identity.map_or(Verdicts::ALL, |policy| policy.verdicts(question));
    let other = resource.map_or(Verdicts::NONE, |policy| policy.verdicts(question));
    own.with(other).grants()
}

/// What a policy says about an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Silent,
    Allowed,
    /// The greatest: it beats every permission.
    Denied,
}

impl Verdict {
    fn of(statements: &[Statement], speaks: impl Fn(&Statement) -> bool) -> Self {
        let spoken = statements.iter().filter(|statement| speaks(statement));
        spoken.map(|statement| if statement.allow { Self::Allowed } else { Self::Denied }).max().unwrap_or(Self::Silent)
    }
}

/// Verdicts about [`CLIENT_ACTIONS`].
struct Verdicts([Verdict; 3]);

impl Verdicts {
    const ALL: Self = Self([Verdict::Allowed; 3]);
    const NONE: Self = Self([Verdict::Silent; 3]);

    fn with(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a.max(d), b.max(e), c.max(f)])
    }

    fn grants(&self) -> Grants {
        let [mount, write, root] = self.0.map(|verdict| verdict == Verdict::Allowed);
        Grants { mount, write, root }
    }
}

impl Question<'_> {
    fn fact(&self, key: &str) -> Option<String> {
        match key {
            "aws:securetransport" => Some(self.secure.to_string()),
            "elasticfilesystem:accessedviamounttarget" => Some("true".to_owned()),
            "elasticfilesystem:accesspointarn" | "s3files:accesspointarn" => self.access_point.map(str::to_owned),
            "aws:principalarn" => self.principal.map(str::to_owned),
            "aws:principalaccount" => self.principal.and_then(|p| p.split(':').nth(4)).map(str::to_owned),
            "aws:sourceip" => self.source.map(|source| source.to_string()),
            _ => None,
        }
    }
}

impl Statement {
    /// A statement of a file system's policy.
    fn of_resource(mut raw: RawStatement, service: Service) -> Result<Self, EfsError> {
        let principals = match (raw.principal.take(), raw.not_principal.take()) {
            (Some(principal), None) => match read_principals(&principal)? {
                names if names.iter().any(|name| name == "*") => Principals::Everybody,
                names => Principals::Named(names),
            },
            (None, Some(principal)) => Principals::AllBut(read_principals(&principal)?),
            _ => return Err(invalid("A statement needs either Principal or NotPrincipal.")),
        };
        let statement = Self::read(raw, principals)?;
        if let Some(action) = statement.actions.0.iter().find(|action| !actions::exists(action, service)) {
            return Err(invalid(format!("'{action}' is no action of {}.", service.signing_name())));
        }
        let is_ours = |arn: &&String| {
            *arn == "*" || arn.starts_with("arn:") && arn.split(':').nth(2) == Some(service.signing_name())
        };
        if let Some(resource) = statement.resources.iter().find(|arn| !is_ours(arn)) {
            return Err(invalid(format!("Resource '{resource}' is neither a file system's ARN nor '*'.")));
        }
        Ok(statement)
    }

    /// A statement of a principal's policy.
    fn of_identity(raw: RawStatement) -> Result<Self, EfsError> {
        if raw.principal.is_some() || raw.not_principal.is_some() {
            return Err(invalid("A principal's own policy names no principals."));
        }
        Self::read(raw, Principals::Everybody)
    }

    fn read(raw: RawStatement, principals: Principals) -> Result<Self, EfsError> {
        let allow = match raw.effect.as_str() {
            "Allow" => true,
            "Deny" => false,
            other => return Err(invalid(format!("Effect must be Allow or Deny, not '{other}'."))),
        };
        let actions = match (raw.action, raw.not_action) {
            (Some(actions), None) => (actions.into_vec(), false),
            (None, Some(actions)) => (actions.into_vec(), true),
            _ => return Err(invalid("A statement needs either Action or NotAction.")),
        };
        let resources = raw.resource.map_or_else(|| vec!["*".to_owned()], OneOrMore::into_vec);
        let mut conditions = Vec::new();
        for (operator, keys) in raw.condition.unwrap_or_default() {
            let Value::Object(keys) = keys else { return Err(invalid("A condition must be an object.")) };
            for (key, values) in keys {
                conditions.push(Condition::read(&operator, &key, &values)?);
            }
        }
        Ok(Self { allow, principals, actions, resources, conditions })
    }

    /// Whether it speaks about the one who asks, and about what is asked.
    fn answers(&self, action: &str, question: &Question<'_>) -> bool {
        let named = |names: &[String]| names.iter().any(|name| is_principal(name, question.principal));
        let principal = match &self.principals {
            Principals::Everybody => true,
            Principals::Named(names) => named(names),
            Principals::AllBut(names) => !named(names),
        };
        principal && self.applies(action, question.file_system, &|key| question.fact(key).into_iter().collect())
    }

    fn applies(&self, action: &str, resource: &str, facts: Facts<'_>) -> bool {
        let (actions, excluded) = &self.actions;
        let in_list = actions.iter().any(|pattern| like(&pattern.to_lowercase(), &action.to_lowercase()));
        in_list != *excluded
            && self.resources.iter().any(|pattern| like(pattern, resource))
            && self.conditions.iter().all(|condition| condition.holds(facts))
    }
}

/// Whether a text can be the name of an AWS principal: everybody, an account, or an ARN of IAM or STS.
fn is_aws_principal(name: &str) -> bool {
    let is_account = |text: &str| text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit());
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts[..] {
        [arn, partition, service, "", account, what] => {
            arn == "arn"
                && partition.starts_with("aws")
                && matches!(service, "iam" | "sts")
                && is_account(account)
                && !what.is_empty()
        }
        _ => name == "*" || is_account(name),
    }
}

/// Reads `"*"`, `{"AWS": …}` and their like.
fn read_principals(value: &Value) -> Result<Vec<String>, EfsError> {
    let text =
        |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| invalid("A principal must be a string."));
    match value {
        Value::String(everybody) if everybody == "*" => Ok(vec!["*".to_owned()]),
        Value::Object(kinds) if !kinds.is_empty() => {
            let mut names = Vec::new();
            for (kind, values) in kinds {
                if !matches!(kind.as_str(), "AWS" | "Service" | "Federated" | "CanonicalUser") {
                    return Err(invalid(format!("'{kind}' is no kind of principal.")));
                }
                let values = match values {
                    Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?,
                    value => vec![text(value)?],
                };
                if let Some(name) = values.iter().find(|name| kind == "AWS" && !is_aws_principal(name)) {
                    return Err(invalid(format!("Invalid principal in policy: '{name}' is no account, user or role.")));
                }
                names.extend(values);
            }
            Ok(names)
        }
        _ => Err(invalid("Invalid principal in policy.")),
    }
}

/// Whether a name of the policy means a principal: an account, the principal itself, or the role that it has assumed.
pub(crate) fn is_principal(name: &str, principal: Option<&str>) -> bool {
    if name == "*" {
        return true;
    }
    let Some(principal) = principal else { return false };
    let account = principal.split(':').nth(4).unwrap_or_default();
    if name == account || name.split(':').nth(4) == Some(account) && name.ends_with(":root") || name == principal {
        return true;
    }
    // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION has the rights of arn:aws:iam::ACCOUNT:role/[PATH/]ROLE.
    let role = principal.split_once(":assumed-role/").and_then(|(_, rest)| rest.split('/').next());
    role.is_some_and(|role| {
        name.split(':').nth(4) == Some(account)
            && name.split_once(":role/").is_some_and(|(_, path)| path.rsplit('/').next() == Some(role))
    })
}

impl Condition {
    fn read(operator: &str, key: &str, values: &Value) -> Result<Self, EfsError> {
        let (set, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Set::All, name),
            Some(("ForAnyValue", name)) => (Set::Any, name),
            _ => (Set::One, operator),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (test, negated) = match name {
            "StringEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoringCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like, true),
            "Bool" => (Test::Bool, false),
            "IpAddress" => (Test::Address, false),
            "NotIpAddress" => (Test::Address, true),
            // Whether a key is there is no matter of its values.
            "Null" if set == Set::One && !if_exists => (Test::Missing, false),
            _ => {
                let why = format!("The condition operator '{operator}' is not supported.");
                return Err(invalid(why));
            }
        };
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(flag) => Ok(flag.to_string()),
            _ => Err(invalid("A condition's value must be a string.")),
        };
        let values = match values {
            Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
            value => vec![text(value)?],
        };
        let is_flag = |value: &&String| value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
        if matches!(test, Test::Bool | Test::Missing)
            && let Some(value) = values.iter().find(|value| !is_flag(value))
        {
            return Err(invalid(format!("The condition {operator} of {key} must be true or false, not '{value}'.")));
        }
        Ok(Self { test, key: key.to_lowercase(), values, negated, set, if_exists })
    }

    fn holds(&self, facts: Facts<'_>) -> bool {
        let present = facts(&self.key);
        if self.test == Test::Missing {
            return self.values.iter().any(|value| (value == "true") == present.is_empty());
        }
        match self.set {
            _ if present.is_empty() && self.if_exists => true,
            Set::One if present.is_empty() => self.negated,
            Set::All => present.iter().all(|fact| self.passes(fact)),
            Set::One | Set::Any => present.iter().any(|fact| self.passes(fact)),
        }
    }

    /// Whether one value of the key fulfils the condition.
    fn passes(&self, fact: &str) -> bool {
        let matched = self.values.iter().any(|value| match self.test {
            Test::Equals => value == fact,
            Test::EqualsIgnoringCase | Test::Bool => value.eq_ignore_ascii_case(fact),
            Test::Like => like(value, fact),
            Test::Address => in_network(value, fact.parse().ok()),
            Test::Missing => false,
        });
        matched != self.negated
    }
}

/// Whether a text matches a pattern with `*` and `?`.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Whether an address lies in a network like `10.0.0.0/8`, or is the one that is given.
fn in_network(network: &str, address: Option<IpAddr>) -> bool {
    let (base, bits) = network.split_once('/').map_or((network, None), |(base, bits)| (base, Some(bits)));
    let (Ok(base), Some(address)) = (base.parse::<IpAddr>(), address) else { return false };
    let bits_of = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let ((base, length), (address, other)) = (bits_of(base), bits_of(address));
    let bits = bits.map_or(Some(length), |bits| bits.parse::<u32>().ok()).filter(|bits| *bits <= length);
    let Some(bits) = bits else { return false };
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    length == other && base & mask == address & mask
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FS: &str = "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-01234567";
    const AP: &str = "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-01234567";
    const ROLE: &str = "arn:aws:sts::123456789012:assumed-role/node/session";

    fn grants(statements: Value, principal: Option<&str>, access_point: Option<&str>, secure: bool) -> Grants {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let source = Some(IpAddr::from([127, 0, 0, 1]));
        let service = Service::Efs;
        let question = Question { service, principal, file_system: FS, access_point, secure, source };
        Policy::parse(&text, Service::Efs).unwrap().grants(&question)
    }

    #[test]
    fn set_operators_look_at_every_value_of_a_key() {
        let allows = |operator: &str, values: Value, present: &[&str]| {
            let condition = json!({ operator: { "aws:TagKeys": values } });
            let statement = json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition});
            let policy = IdentityPolicy::parse(&json!({ "Statement": [statement] }).to_string()).unwrap();
            let facts = |key: &str| {
                assert_eq!(key, "aws:tagkeys");
                present.iter().map(|&fact| fact.to_owned()).collect()
            };
            policy.allows("elasticfilesystem:CreateAccessPoint", "*", &facts)
        };
        for (operator, values, expected) in [
            ("ForAllValues:StringEquals", json!(["a", "b"]), [true, true, true, false, false]),
            ("ForAnyValue:StringEquals", json!(["a", "b"]), [false, true, true, true, false]),
            ("ForAllValues:StringNotEquals", json!("a"), [true, false, false, false, true]),
            ("ForAnyValue:StringNotEquals", json!("a"), [false, false, true, true, true]),
            ("ForAllValues:StringLike", json!("?"), [true, true, true, true, true]),
            ("ForAnyValue:StringEqualsIfExists", json!(["a", "b"]), [true, true, true, true, false]),
        ] {
            let present: [&[&str]; 5] = [&[], &["a"], &["a", "b"], &["a", "c"], &["c"]];
            assert_eq!(present.map(|present| allows(operator, values.clone(), present)), expected, "{operator}");
        }
        for operator in ["ForAllValues:Null", "ForSomeValues:StringEquals", "ForAllValues:", "NullIfExists"] {
            let condition = json!({ operator: { "aws:TagKeys": "true" } });
            let statement = json!({"Effect": "Allow", "Action": "*", "Condition": condition});
            let refused = IdentityPolicy::parse(&json!({ "Statement": [statement] }).to_string()).unwrap_err();
            assert!(refused.to_string().contains(operator), "{refused}");
        }
    }

    #[test]
    fn a_policy_grants_what_it_names_and_nothing_else() {
        let read_only =
            json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "elasticfilesystem:ClientMount"});
        let granted = grants(read_only, None, None, true);
        assert_eq!(granted, Grants { mount: true, write: false, root: false });
        let all = json!([{"Effect": "Allow", "Principal": "*", "Action": "elasticfilesystem:Client*", "Resource": FS}]);
        assert_eq!(grants(all, None, None, false), Grants::ALL);
        let other = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "arn:aws:elasticfilesystem:us-east-1:123456789012:file-system/fs-76543210"});
        assert!(!grants(other, None, None, true).mount);
    }

    #[test]
    fn a_denial_of_plain_connections_beats_every_permission() {
        let policy = json!([
            {"Effect": "Allow", "Principal": "*", "Action": "*"},
            {"Effect": "Deny", "Principal": "*", "Action": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        ]);
        assert_eq!(grants(policy.clone(), None, None, true), Grants::ALL);
        assert!(!grants(policy, None, None, false).mount);
    }

    #[test]
    fn principals_are_accounts_roles_and_their_sessions() {
        let allow = |principal: Value| json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "*"});
        for good in ["123456789012", "arn:aws:iam::123456789012:root", "arn:aws:iam::123456789012:role/path/node", ROLE]
        {
            assert!(grants(allow(json!([good])), Some(ROLE), None, true).mount, "{good}");
        }
        for bad in ["210987654321", "arn:aws:iam::123456789012:role/nodes", "arn:aws:iam::210987654321:role/node"] {
            assert!(!grants(allow(json!(bad)), Some(ROLE), None, true).mount, "{bad}");
        }
        assert!(!grants(allow(json!("123456789012")), None, None, true).mount);
    }

    #[test]
    fn access_points_can_be_required() {
        let policy = json!({"Effect": "Allow", "Principal": "*", "Action": "*",
            "Condition": {"StringEquals": {"elasticfilesystem:AccessPointArn": AP}}});
        assert!(grants(policy.clone(), None, Some(AP), true).mount);
        assert!(!grants(policy, None, None, true).mount);
        let all_but = json!([{"Effect": "Allow", "Principal": "*", "Action": "*"},
            {"Effect": "Deny", "NotPrincipal": {"AWS": "123456789012"}, "NotAction": "elasticfilesystem:ClientMount"}]);
        assert_eq!(grants(all_but.clone(), None, None, true), Grants { mount: true, write: false, root: false });
        assert_eq!(grants(all_but, Some(ROLE), None, true), Grants::ALL);
    }

    #[test]
    fn addresses_are_compared_as_networks() {
        let source = Some(IpAddr::from([10, 1, 2, 3]));
        assert!(in_network("10.0.0.0/8", source) && in_network("10.1.2.3", source) && in_network("0.0.0.0/0", source));
        assert!(!in_network("10.2.0.0/16", source) && !in_network("::/0", source) && !in_network("x", source));
    }

    #[test]
    fn nonsense_is_refused() {
        let allow = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","#;
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"Statement":[]}"#,
            r#"{"Statement":{"Effect":"Maybe","Principal":"*","Action":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Action":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}}"#,
            &format!(r#"{allow}"Condition":{{"Nonsense":{{"a":"b"}}}}}}}}"#),
            &format!(r#"{allow}"Colour":"red"}}}}"#),
            &format!(r#"{allow}"Resource":"arn:aws:s3:::x"}}}}"#),
            &format!(r#"{allow}"Resource":7}}}}"#),
            &format!(r#"{allow}"Condition":{{"Bool":{{"aws:SecureTransport":"maybe"}}}}}}}}"#),
            r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"elasticfilesystem:ClientMunt"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"junk"},"Action":"*"}}"#,
            r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":["*","arn:aws:iam::12:root"]},"Action":"*"}}"#,
            r#"{"Statement":[{"Sid":"a","Effect":"Allow","Principal":"*","Action":"*"},{"Sid":"a","Effect":"Deny","Principal":"*","Action":"*"}]}"#,
        ] {
            let name = Policy::parse(bad, Service::Efs).map_err(|error| error.name);
            assert_eq!(name, Err(ErrorName::InvalidPolicyException), "{bad}");
            let told = Policy::parse(bad, Service::Efs).unwrap_err().message;
            assert!(!told.contains("OneOrMore"), "{told}");
        }
        let ours = format!(
            r#"{allow}"Resource":"{FS}","Sid":"efs-statement-1","Condition":{{"Bool":{{"aws:SecureTransport":"false"}}}}}}}}"#
        );
        let named = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":["123456789012","arn:aws:iam::123456789012:role/a/b"]},"Action":["elasticfilesystem:ClientMount","elasticfilesystem:Describe*"]}}"#;
        for good in [&ours, named] {
            assert!(Policy::parse(good, Service::Efs).is_ok(), "{good}");
        }
    }

    #[test]
    fn stars_match_any_number_of_characters() {
        assert!(like("a*c", "abbc") && like("*", "") && like("a?c", "abc") && like("*b*", "abc"));
        assert!(!like("a*c", "ab") && !like("a?c", "ac") && !like("", "a"));
    }

    #[test]
    fn a_principal_s_policy_looks_at_action_resource_and_tags() {
        let policy = IdentityPolicy::parse(
            &json!({"Statement": [
                {"Effect": "Allow", "Action": ["elasticfilesystem:Describe*", "ec2:*"], "Resource": "*"},
                {"Effect": "Allow", "Action": "elasticfilesystem:CreateAccessPoint", "Resource": FS,
                 "Condition": {"StringLike": {"aws:RequestTag/Owner": "c*"}}},
                {"Effect": "Deny", "Action": "elasticfilesystem:DescribeTags", "Resource": "*"},
            ]})
            .to_string(),
        )
        .unwrap();
        let owner = |value: &'static str| {
            move |key: &str| (key == "aws:requesttag/owner").then(|| value.to_owned()).into_iter().collect()
        };
        let allows = |action: &str, resource: &str, value: &'static str| {
            policy.allows(&format!("elasticfilesystem:{action}"), resource, &owner(value))
        };
        assert!(
            allows("DescribeFileSystems", "*", "") && !allows("DescribeTags", FS, "") && !allows("TagResource", FS, "")
        );
        assert!(allows("CreateAccessPoint", FS, "csi") && !allows("CreateAccessPoint", FS, "me"));
        assert!(!allows("CreateAccessPoint", AP, "csi"));
        let named = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}});
        assert!(IdentityPolicy::parse(&named.to_string()).is_err());
    }
}
