//! Calls of the services: who calls, what the fault rules say, the answer, and the note in the journal.

use std::time::Duration;

use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::inquiry::Inquiry;
use super::operations::{self, Label, Operation};
use super::reply::{Abort, Reply, disturb};
use super::signature::{Claim, SignatureError, Signed};
use super::{Front, imds, sts};
use crate::faults::Effect;
use crate::identities::Signatures;
use crate::journal::Entry;
use crate::world::errors::ErrorName;
use crate::world::scope::{Requester, Scope, Service};

/// What the journal wants to know about a call.
pub(super) struct Subject {
    pub(super) service: &'static str,
    pub(super) operation: String,
    pub(super) requester: Requester,
    pub(super) arguments: Value,
}

impl Front {
    /// A call of STS.
    pub(super) async fn sts(&self, inquiry: &Inquiry, form: &sts::Form) -> Result<Response, Abort> {
        let json = inquiry.header("accept").is_some_and(|accepts| accepts.contains("json"));
        // A web identity's caller has nothing to sign with.
        let needs_no_signature = form.action() == "AssumeRoleWithWebIdentity";
        let identified = match self.identify(&inquiry.signed(), "sts", Service::Efs) {
            Err(_) if needs_no_signature => Ok(Requester::root(self.world.home().clone())),
            identified => identified,
        };
        let requester = identified.as_ref().ok().cloned();
        let subject = Subject {
            service: "sts",
            operation: form.action().to_owned(),
            requester: requester.unwrap_or_else(|| Requester::root(self.world.home().clone())),
            arguments: form.arguments(),
        };
        let strike = self.strike(&subject).await?;
        let reply = match (strike.as_ref().and_then(|(_, effect)| injected(effect)), identified) {
            (Some((status, name, message)), _) => sts::error(status, &name, &message, json, &inquiry.id),
            (None, Err(error)) => sts::error(403, query_refusal_name(&error), &error.to_string(), json, &inquiry.id),
            (None, Ok(requester)) => {
                sts::answer(form, &requester, &self.identities, self.world.now(), json, &inquiry.id)
            }
        };
        self.finish(inquiry, subject, reply, strike)
    }

    /// A call of the metadata service.
    pub(super) async fn imds(&self, inquiry: &Inquiry) -> Result<Response, Abort> {
        let operation = imds::Metadata::operation(inquiry.parts.method.as_str(), inquiry.path());
        let reply = || self.metadata.answer(inquiry, &self.identities, self.world.now());
        self.machine_call(inquiry, "imds", operation, reply).await
    }

    /// A call of EKS Pod Identity's agent.
    pub(super) async fn pod_identity(&self, inquiry: &Inquiry) -> Result<Response, Abort> {
        let reply = || self.metadata.pod_identity(inquiry, &self.identities, self.world.now());
        self.machine_call(inquiry, "pod-identity", imds::GET_CREDENTIALS.to_owned(), reply).await
    }

    /// A call of something on the machine, whose callers nobody knows.
    async fn machine_call(
        &self,
        inquiry: &Inquiry,
        service: &'static str,
        operation: String,
        reply: impl FnOnce() -> Reply,
    ) -> Result<Response, Abort> {
        let requester = Requester { principal: "anonymous".to_owned(), ..Requester::root(self.world.home().clone()) };
        let subject = Subject { service, operation, requester, arguments: json!({}) };
        let strike = self.strike(&subject).await?;
        let struck = strike.as_ref().and_then(|(_, effect)| injected(effect));
        let reply = match struck {
            Some((status, name, message)) => Reply::error(status, &name, &message, None),
            None => reply(),
        };
        self.finish(inquiry, subject, reply, strike)
    }

    /// Who calls. With checked signatures, only those who can prove it.
    pub(super) fn identify(
        &self,
        request: &Signed<'_>,
        signed_for: &str,
        service: Service,
    ) -> Result<Requester, SignatureError> {
        let home = self.world.home();
        let claim = Claim::read(request);
        if self.identities.signatures == Signatures::Checked {
            let claim = claim.ok_or(SignatureError::Missing)??;
            let credential = claim.verify(request, signed_for, &self.identities, self.world.now())?;
            let scope = Scope::new(credential.account, claim.region).of(service);
            let access_key_id = Some(credential.access_key_id);
            return Ok(Requester { scope, principal: credential.principal, access_key_id });
        }
        Ok(match claim {
            Some(Ok(claim)) => {
                let (account, principal) = self.identities.principal(&claim.access_key_id);
                let region = if claim.region.is_empty() { home.region.clone() } else { claim.region };
                let scope = Scope::new(account, region).of(service);
                Requester { scope, principal, access_key_id: Some(claim.access_key_id) }
            }
            _ => Requester::root(home.clone().of(service)),
        })
    }

    /// A call of one of the JSON APIs.
    pub(super) async fn call<O: Operation>(
        &self,
        inquiry: &Inquiry,
        operation: O,
        labels: Vec<Label>,
    ) -> Result<Response, Abort> {
        let requester = match self.identify(&inquiry.signed(), O::SERVICE.signing_name(), O::SERVICE) {
            Ok(requester) => requester,
            Err(error) => {
                let subject = Subject {
                    service: O::SERVICE.name(),
                    operation: operation.name().to_owned(),
                    requester: Requester {
                        principal: "anonymous".to_owned(),
                        ..Requester::root(self.world.home().clone())
                    },
                    arguments: json!({}),
                };
                let reply = O::front_error(403, refusal_name(&error), &error.to_string());
                return self.finish(inquiry, subject, reply, None);
            }
        };
        let gathered = operations::gather(operation, labels, inquiry.query(), &inquiry.body);
        let subject = Subject {
            service: O::SERVICE.name(),
            operation: operation.name().to_owned(),
            requester: requester.clone(),
            arguments: gathered.as_ref().map_or_else(|_| json!({}), |call| Value::Object(call.input.clone())),
        };
        let strike = self.strike(&subject).await?;
        if let Some(reply) = strike.as_ref().and_then(|(_, effect)| struck_down::<O>(effect)) {
            return self.finish(inquiry, subject, reply, strike);
        }
        if let Ok(call) = &gathered
            && let Err(denied) = self.authorize(&requester, operation, &call.input)
        {
            return self.finish(inquiry, subject, denied, strike);
        }
        let counted = self.world.count_call(&requester.scope, operation.name());
        let performed = counted.and(gathered).and_then(|call| operations::perform(&self.world, &requester, call));
        let reply = match performed {
            Ok(answer) => Reply::json(answer.status, answer.body),
            Err(error) => O::refusal(&error),
        };
        self.finish(inquiry, subject, reply, strike)
    }

    /// Asks the caller's own policy, if it has one. Who makes something with tags must also be allowed to tag it, as S3 Files asks for.
    fn authorize<O: Operation>(
        &self,
        requester: &Requester,
        operation: O,
        input: &Map<String, Value>,
    ) -> Result<(), Reply> {
        let Some(policy) = self.identities.policy(&requester.principal) else { return Ok(()) };
        let subject = self.world.subject(requester, operation.name(), input);
        let tags_too = O::SERVICE == Service::S3Files && subject.makes_tags();
        let tagging = tags_too.then_some("TagResource");
        for name in std::iter::once(operation.name()).chain(tagging) {
            let action = O::SERVICE.action(name);
            if !policy.allows(&action, &subject.resource, &|key| subject.facts(key)) {
                let principal = &requester.principal;
                let text =
                    format!("User: {principal} is not authorized to perform: {action} on the specified resource");
                return Err(O::front_error(403, "AccessDeniedException", &text));
            }
        }
        Ok(())
    }

    /// Asks the fault rules about a call, and lets those act that act before the work.
    pub(super) async fn strike(&self, subject: &Subject) -> Result<Option<(u64, Effect)>, Abort> {
        let strike = self.faults.strike(subject.service, &subject.operation, &subject.arguments);
        match &strike {
            Some((_, Effect::Delay { milliseconds })) => sleep(Duration::from_millis(*milliseconds)).await,
            Some((rule, Effect::DropBefore)) => {
                self.note(subject, "", 0, None, Some(*rule), Duration::ZERO);
                return Err(Abort);
            }
            _ => {}
        }
        Ok(strike)
    }

    /// Notes a call in the journal and sends its answer, as far as faults let it.
    fn finish(
        &self,
        inquiry: &Inquiry,
        subject: Subject,
        reply: Reply,
        strike: Option<(u64, Effect)>,
    ) -> Result<Response, Abort> {
        let took = inquiry.started.elapsed();
        let rule = strike.as_ref().map(|(rule, _)| *rule);
        self.note(&subject, &inquiry.id, reply.status, reply.error.clone(), rule, took);
        disturb(reply, &inquiry.id, strike.as_ref().map(|(_, effect)| effect))
    }

    pub(super) fn note(
        &self,
        subject: &Subject,
        request_id: &str,
        status: u16,
        error: Option<String>,
        fault: Option<u64>,
        took: Duration,
    ) {
        let Subject { service, operation, requester, arguments } = subject;
        self.journal.record(Entry {
            number: 0,
            time: self.world.now(),
            service,
            operation: operation.clone(),
            account: requester.scope.account.clone(),
            region: requester.scope.region.clone(),
            principal: requester.principal.clone(),
            access_key_id: requester.access_key_id.clone(),
            request_id: request_id.to_owned(),
            arguments: arguments.clone(),
            status,
            error,
            fault,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        });
    }
}

/// Status, name and message of the error that a fault gives in place of the work, if it does.
pub(super) fn injected(effect: &Effect) -> Option<(u16, String, String)> {
    match effect {
        Effect::Throttle => Some((429, ErrorName::ThrottlingException.as_str().to_owned(), "Rate exceeded".to_owned())),
        Effect::Error { name, status, message } => {
            let status = status.or_else(|| ErrorName::parse(name).map(ErrorName::status)).unwrap_or(400);
            let message = message.as_deref().unwrap_or("Injected by a fault rule.");
            Some((status, name.clone(), message.to_owned()))
        }
        _ => None,
    }
}

/// The same as an error of a JSON API.
fn struck_down<O: Operation>(effect: &Effect) -> Option<Reply> {
    injected(effect).map(|(status, name, message)| O::front_error(status, &name, &message))
}

/// The name that AWS's JSON services give a refused signature.
fn refusal_name(error: &SignatureError) -> &'static str {
    match error {
        SignatureError::Missing => "MissingAuthenticationTokenException",
        SignatureError::Incomplete | SignatureError::Timeless => "IncompleteSignatureException",
        SignatureError::UnknownKey => "UnrecognizedClientException",
        SignatureError::Expired => "ExpiredTokenException",
        SignatureError::Late(..)
        | SignatureError::Early(..)
        | SignatureError::Over
        | SignatureError::Scope
        | SignatureError::Mismatch => "InvalidSignatureException",
    }
}

/// The name that AWS's query services, such as STS, give a refused signature.
fn query_refusal_name(error: &SignatureError) -> &'static str {
    match error {
        SignatureError::Missing => "MissingAuthenticationToken",
        SignatureError::Incomplete | SignatureError::Timeless => "IncompleteSignature",
        SignatureError::UnknownKey => "InvalidClientTokenId",
        SignatureError::Expired => "ExpiredToken",
        SignatureError::Late(..)
        | SignatureError::Early(..)
        | SignatureError::Over
        | SignatureError::Scope
        | SignatureError::Mismatch => "SignatureDoesNotMatch",
    }
}
