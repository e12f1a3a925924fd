//! The Security Token Service, as far as credential chains need it: AssumeRole, AssumeRoleWithWebIdentity and
//! GetCallerIdentity, answered in XML, or in JSON for those who accept only that.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::reply::Reply;
use super::uri;
use crate::identities::{Credential, Identities, Role, Signatures};
use crate::world::scope::{self, Requester};

/// The parameters of a call.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the parameters from query or body; `None` if this is no call of the service.
    pub(super) fn read(query: &str, body: &[u8]) -> Option<Self> {
        let mut pairs = uri::query(query)?;
        pairs.extend(uri::query(std::str::from_utf8(body).ok()?)?);
        let form = Self(pairs);
        form.get("Action").is_some().then_some(form)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The operation's name.
    pub(super) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    /// The parameters for the journal, tokens left out.
    pub(super) fn arguments(&self) -> Value {
        let shown = self.0.iter().filter(|(key, _)| !matches!(key.as_str(), "Action" | "Version"));
        let pairs = shown.map(|(key, value)| {
            let value = if key == "WebIdentityToken" { "(hidden)" } else { value.as_str() };
            (key.clone(), Value::from(value))
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

/// Why a call is refused.
#[derive(Debug)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

/// What there is to call.
pub(super) const ACTIONS: [&str; 3] = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity"];

/// Answers a call.
pub(super) fn answer(
    form: &Form,
    requester: &Requester,
    identities: &Identities,
    now: Timestamp,
    accepts_json: bool,
    request_id: &str,
) -> Reply {
    let result = match form.action() {
        "AssumeRole" => assume_role(form, requester, identities, now),
        "AssumeRoleWithWebIdentity" => assume_role_with_web_identity(form, identities, now),
        "GetCallerIdentity" => Ok(json!({
            "Arn": requester.principal,
            "UserId": requester.access_key_id.as_deref().unwrap_or(&requester.scope.account),
            "Account": requester.scope.account,
        })),
        other => Err(Refusal::new(400, "InvalidAction", format!("Could not find operation {other}"))),
    };
    match result {
        Ok(result) => {
            let action = form.action();
            let mut outer = Map::new();
            outer.insert(format!("{action}Result"), result);
            outer.insert("ResponseMetadata".to_owned(), json!({ "RequestId": request_id }));
            render(&format!("{action}Response"), Value::Object(outer), 200, None, accepts_json)
        }
        Err(refusal) => error(refusal.status, refusal.code, &refusal.message, accepts_json, request_id),
    }
}

/// An error in the shape of the query protocol.
pub(super) fn error(status: u16, code: &str, message: &str, accepts_json: bool, request_id: &str) -> Reply {
    let kind = if status < 500 { "Sender" } else { "Receiver" };
    let body = json!({ "Error": { "Type": kind, "Code": code, "Message": message }, "RequestId": request_id });
    render("ErrorResponse", body, status, Some(code.to_owned()), accepts_json)
}

fn render(name: &str, value: Value, status: u16, error: Option<String>, accepts_json: bool) -> Reply {
    if accepts_json {
        let mut outer = Map::new();
        outer.insert(name.to_owned(), value);
        return Reply { error, ..Reply::json(status, Value::Object(outer).to_string().into_bytes()) };
    }
    let mut xml = format!("<{name} xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">");
    write_xml(&value, &mut xml);
    xml.push_str(&format!("</{name}>"));
    Reply { error, ..Reply::text(status, "text/xml", xml) }
}

/// Writes a value's members as elements.
fn write_xml(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                out.push_str(&format!("<{name}>"));
                write_xml(value, out);
                out.push_str(&format!("</{name}>"));
            }
        }
        Value::String(text) => {
            for c in text.chars() {
                match c {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '"' => out.push_str("&quot;"),
                    // XML 1.0 has no other control characters.
                    c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => out.push('\u{fffd}'),
                    c => out.push(c),
                }
            }
        }
        other => out.push_str(&other.to_string()),
    }
}

/// What AssumeRole and its sister have in common: the role, the session's name and its length.
struct Wanted<'a> {
    arn: &'a str,
    account: &'a str,
    name: &'a str,
    session: &'a str,
    lifetime: SignedDuration,
}

fn wanted(form: &Form) -> Result<Wanted<'_>, Refusal> {
    let invalid = |message: String| Refusal::new(400, "ValidationError", message);
    let null = |name: &str| {
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    };
    let arn = form.get("RoleArn").ok_or_else(|| null("roleArn"))?;
    let session = form.get("RoleSessionName").ok_or_else(|| null("roleSessionName"))?;
    let good = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(good) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: Member \
             must satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, path] = parts[..] else {
        return Err(invalid(format!("{arn} is invalid")));
    };
    let name = path.strip_prefix("role/").and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid(format!("{arn} is invalid")))?;
    let seconds = match form.get("DurationSeconds") {
        None => 3600,
        Some(text) => text.parse().ok().filter(|s| (900..=43_200).contains(s)).ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member \
                 must have value between 900 and 43200"
            ))
        })?,
    };
    Ok(Wanted { arn, account, name, session, lifetime: SignedDuration::from_secs(seconds) })
}

/// A declared role, or one made up if signatures are ignored.
fn find_role(identities: &Identities, arn: &str) -> Option<Role> {
    identities.role(arn).or_else(|| {
        let any = identities.signatures == Signatures::Ignored;
        any.then(|| Role { arn: arn.to_owned(), external_id: None, trusted: Vec::new(), web_identity: true })
    })
}

fn assume_role(form: &Form, requester: &Requester, identities: &Identities, now: Timestamp) -> Result<Value, Refusal> {
    let wanted = wanted(form)?;
    let denied = || {
        let text = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
            requester.principal, wanted.arn
        );
        Refusal::new(403, "AccessDenied", text)
    };
    let role = find_role(identities, wanted.arn).ok_or_else(denied)?;
    let trusted = role.trusted.is_empty() || role.trusted.contains(&requester.principal);
    if !trusted || role.external_id.is_some() && role.external_id.as_deref() != form.get("ExternalId") {
        return Err(denied());
    }
    Ok(session(identities, &wanted, requester, now))
}

fn assume_role_with_web_identity(form: &Form, identities: &Identities, now: Timestamp) -> Result<Value, Refusal> {
    let wanted = wanted(form)?;
    let denied = || Refusal::new(403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
    let token = form.get("WebIdentityToken").ok_or_else(|| {
        Refusal::new(400, "ValidationError", "1 validation error detected: Value null at 'webIdentityToken' failed to satisfy constraint: Member must not be null")
    })?;
    let claims = claims(token);
    if claims.is_none() && identities.signatures == Signatures::Checked {
        return Err(Refusal::new(400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT."));
    }
    let claims = claims.unwrap_or_default();
    if is_over(&claims, now) {
        return Err(Refusal::new(
            400,
            "ExpiredTokenException",
            "Token expired: current date/time must be before the expiration date/time.",
        ));
    }
    if !is_for(&claims, "sts.amazonaws.com") {
        return Err(Refusal::new(400, "InvalidIdentityToken", "Incorrect token audience"));
    }
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let trusts = |role: &Role| role.trusted.is_empty() || role.trusted.iter().any(|trusted| trusted == subject);
    find_role(identities, wanted.arn).filter(|role| role.web_identity && trusts(role)).ok_or_else(denied)?;
    let region = identities.home().region.clone();
    let anonymous = Requester::root(scope::Scope::new(wanted.account, region));
    let mut result = session(identities, &wanted, &anonymous, now);
    let claim = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or("unknown").to_owned();
    result["SubjectFromWebIdentityToken"] = claim("sub").into();
    result["Provider"] = claim("iss").into();
    result["Audience"] = match claims.get("aud") {
        Some(Value::Array(all)) => all.first().cloned().unwrap_or_default(),
        Some(one) => one.clone(),
        None => "sts.amazonaws.com".into(),
    };
    Ok(result)
}

/// Whether a token is meant for `audience`. One that doesn't say is for everybody.
pub(super) fn is_for(claims: &Map<String, Value>, audience: &str) -> bool {
    match claims.get("aud") {
        None => true,
        Some(Value::Array(all)) => all.iter().any(|one| one == audience),
        Some(one) => one == audience,
    }
}

/// Whether a token has ended.
pub(super) fn is_over(claims: &Map<String, Value>, now: Timestamp) -> bool {
    claims.get("exp").and_then(Value::as_i64).is_some_and(|exp| exp <= now.as_second())
}

/// The payload of a JSON Web Token. Its signature isn't checked: there is no identity provider here.
pub(super) fn claims(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

fn session(identities: &Identities, wanted: &Wanted<'_>, requester: &Requester, now: Timestamp) -> Value {
    let partition = scope::partition(&requester.scope.region);
    let Wanted { account, name, session, lifetime, .. } = wanted;
    let principal = format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}");
    let credential = identities.new_session(account, &principal, now, *lifetime);
    json!({
        "Credentials": credentials(&credential),
        "AssumedRoleUser": {
            "AssumedRoleId": format!("{}:{session}", identities.new_role_id()),
            "Arn": principal,
        },
        "PackedPolicySize": 6,
    })
}

fn credentials(credential: &Credential) -> Value {
    json!({
        "AccessKeyId": credential.access_key_id,
        "SecretAccessKey": credential.secret,
        "SessionToken": credential.session_token,
        "Expiration": credential.expires.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    })
}
