//! What AWS refuses an attempt with, read off its answer's head.

use aws_smithy_runtime_api::http::Response;

/// What an attempt was refused with, and whether that is throttling; `None` if it was not refused.
pub(super) fn refusal(response: &Response) -> Option<(String, bool)> {
    let status = response.status();
    if status.is_success() {
        return None;
    }
    let code = response.headers().get("x-amzn-errortype").unwrap_or_default();
    let code = code.split([':', '#']).next().unwrap_or_default();
    let code = if code.is_empty() { status.as_u16().to_string() } else { code.to_owned() };
    let throttled = is_throttle(&code) || code == "429";
    Some((code, throttled))
}

/// The SDKs' common list of throttling codes.
pub(super) fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "ProvisionedThroughputExceededException"
            | "TransactionInProgressException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "LimitExceededException"
            | "SlowDown"
            | "PriorRequestNotComplete"
            | "EC2ThrottledException"
    )
}
