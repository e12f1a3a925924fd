//! What the attempts of a call came to, of which the SDK tells the last one's error alone. It repeats a call whose answer it did not get; when
//! the next attempt is then refused, the refusal alone would say that nothing was made, although the lost attempt may have made it. And it
//! waits after AWS has throttled a call; when the call's time is over then, the error alone would blame the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_efs::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_efs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::http::Response;

use super::errors::{EfsError, EfsErrorKind};
use super::refusal::refusal;

/// Watches the attempts of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// There was one at all.
    begun: AtomicBool,
    /// One is under way.
    sent: AtomicBool,
    /// The answer of one was lost.
    lost: AtomicBool,
    /// The last that is over was throttled.
    throttled: AtomicBool,
}

impl Attempts {
    /// Says that a call ran out of time because AWS throttles, if that is why.
    pub(super) fn explain(&self, error: EfsError) -> EfsError {
        let is = |what: &AtomicBool| what.load(Ordering::Relaxed);
        if error.kind != EfsErrorKind::Timeout {
            return error;
        }
        let message = match () {
            () if is(&self.0.throttled) => {
                format!(
                    "AWS throttled the last attempt, and then there was no time left for another: {}",
                    error.message
                )
            }
            // Only a retry strategy that has seen throttling keeps a call from its first attempt.
            () if !is(&self.0.begun) => {
                format!(
                    "AWS throttled earlier calls, so this one was held back until its time was over: {}",
                    error.message
                )
            }
            () => return error,
        };
        // An attempt that is under way may still do its work.
        let kind = if is(&self.0.sent) { EfsErrorKind::Timeout } else { EfsErrorKind::Throttled };
        EfsError { kind, message, ..error }
    }

    /// The same for a mutation; marks a refusal that came after a lost attempt, so that nobody takes it for the end.
    pub(super) fn mark(&self, error: EfsError) -> EfsError {
        let error = self.explain(error);
        if self.0.lost.load(Ordering::Relaxed) && error.kind.made_nothing() {
            return EfsError { kind: EfsErrorKind::AfterLostAttempt(Box::new(error.kind)), ..error };
        }
        error
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.sent.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = self.0.sent.swap(false, Ordering::Relaxed);
        let failed = !matches!(context.output_or_error(), Some(Ok(_)));
        // A refusal by a status of 4xx is the only failure that leaves nothing open.
        let refused = context.response().is_some_and(|response| response.status().is_client_error());
        if sent && failed && !refused {
            self.0.lost.store(true, Ordering::Relaxed);
        }
        self.0.throttled.store(context.response().is_some_and(is_throttled), Ordering::Relaxed);
        Ok(())
    }
}

fn is_throttled(response: &Response) -> bool {
    refusal(response).is_some_and(|(_, throttled)| throttled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::efs::{AwsClients, EfsClients as _};
    use crate::metrics::Metrics;
    use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
    use aws_credential_types::Credentials;
    use fake_efs::FakeEfs;
    use fake_efs::faults::{Effect, Rule};
    use std::time::Duration;

    #[tokio::test]
    async fn a_call_that_runs_out_of_time_because_aws_throttles_says_so() {
        let fake = FakeEfs::builder().start().await.unwrap();
        fake.faults().add(Rule::on("DescribeAccessPoints", Effect::Throttle)).unwrap();
        let base = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
            .retry_config(RetryConfig::adaptive().with_max_attempts(50).with_initial_backoff(Duration::from_secs(5)))
            .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(1)).build())
            .endpoint_url(fake.http_url())
            .load()
            .await;
        let clients = AwsClients::with_base(base, Metrics::new());
        let error = clients
            .client(crate::volume::FileSystemKind::Efs, None)
            .await
            .unwrap()
            .access_points(None, 1, None)
            .await
            .unwrap_err();
        assert_eq!(error.kind, EfsErrorKind::Throttled, "{error}");
        assert!(error.to_string().contains("ThrottlingException: AWS throttled"), "{error}");
        assert!(crate::efs::mount_targets::ListMountTargets::throttled_lately(&clients));
    }

    #[test]
    fn what_is_under_way_may_still_be_done() {
        let timeout = || EfsError {
            operation: "CreateAccessPoint",
            kind: EfsErrorKind::Timeout,
            message: "too late".to_owned(),
            request_id: None,
        };
        let attempts = Attempts::default();
        let held_back = attempts.mark(timeout());
        assert_eq!(held_back.kind, EfsErrorKind::Throttled, "no attempt was begun");
        attempts.0.begun.store(true, Ordering::Relaxed);
        assert_eq!(attempts.mark(timeout()), timeout(), "it was slow, not throttled");
        attempts.0.throttled.store(true, Ordering::Relaxed);
        attempts.0.sent.store(true, Ordering::Relaxed);
        let open = attempts.mark(timeout());
        assert!(open.kind == EfsErrorKind::Timeout && open.message.contains("AWS throttled"), "{open}");
        attempts.0.sent.store(false, Ordering::Relaxed);
        assert_eq!(attempts.mark(timeout()).kind, EfsErrorKind::Throttled);
        attempts.0.lost.store(true, Ordering::Relaxed);
        let lost = EfsErrorKind::AfterLostAttempt(Box::new(EfsErrorKind::Throttled));
        assert_eq!(attempts.mark(timeout()).kind, lost);
    }
}
