//! Attempts whose answer was lost. The SDK repeats a call whose answer it did not get; when the next attempt is then refused, the
//! refusal alone would say that nothing was made, although the lost attempt may have made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_efs::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_efs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;

use super::errors::{EfsError, EfsErrorKind};

/// Watches the attempts of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct LostAttempts {
    sent: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
}

impl LostAttempts {
    /// Marks a refusal that came after a lost attempt, so that nobody takes it for the end.
    pub(super) fn mark(&self, error: EfsError) -> EfsError {
        if self.lost.load(Ordering::Relaxed) && error.kind.made_nothing() {
            return EfsError { kind: EfsErrorKind::AfterLostAttempt(Box::new(error.kind)), ..error };
        }
        error
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for LostAttempts {
    fn name(&self) -> &'static str {
        "LostAttempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.sent.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let sent = self.sent.swap(false, Ordering::Relaxed);
        let failed = !matches!(context.output_or_error(), Some(Ok(_)));
        // A refusal by a status of 4xx is the only failure that leaves nothing open.
        let refused = context.response().is_some_and(|response| response.status().is_client_error());
        if sent && failed && !refused {
            self.lost.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}
