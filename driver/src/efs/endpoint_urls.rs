//! Endpoints that the environment or the AWS profile names in place of AWS's own. The SDK takes them unread: an empty one makes every call
//! panic, and one without a scheme fails with words that name neither the variable nor the fix.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use http::Uri;

/// As all AWS SDKs name it. With `_` and a service's name behind it, it is for that service.
const VARIABLE: &str = "AWS_ENDPOINT_URL";
/// Its name in a profile.
const PROFILE_KEY: &str = "endpoint_url";
/// Services that the driver calls.
const SERVICES: [&str; 3] = ["EFS", "S3FILES", "STS"];

/// An endpoint that can't be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{named_by}={value:?} is not the URL of an endpoint: {fix}")]
pub struct WrongEndpoint {
    /// The variable, or the key of the profile.
    pub named_by: String,
    /// What it says.
    pub value: String,
    /// What to do.
    pub fix: &'static str,
}

/// Names of the variables that are set to nothing, which count as none.
pub fn empty(variables: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let is_ours = |name: &str| name.strip_prefix(VARIABLE).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    variables.filter(|(name, value)| is_ours(name) && value.trim().is_empty()).map(|(name, _)| name).collect()
}

/// Checks the variables that the driver's calls would follow.
///
/// # Errors
/// The first that is no URL.
pub fn check(variable: impl Fn(&str) -> Option<String>) -> Result<(), WrongEndpoint> {
    // The SDK reads none of them then.
    if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    let names = SERVICES.iter().map(|service| format!("{VARIABLE}_{service}")).chain([VARIABLE.to_owned()]);
    for name in names {
        match variable(&name) {
            Some(value) if !value.trim().is_empty() => check_one(&name, &value)?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks what the SDK has found, in the environment or in a profile.
///
/// # Errors
/// The first that is no URL.
pub(super) fn check_loaded(config: &SdkConfig) -> Result<(), WrongEndpoint> {
    let Some(found) = config.service_config() else { return Ok(()) };
    for service in SERVICES {
        let key = ServiceConfigKey::builder().service_id(service).env(VARIABLE).profile(PROFILE_KEY).build();
        if let Some(value) = key.ok().and_then(|key| found.load_config(key)) {
            check_one(&format!("{VARIABLE}_{service}, {VARIABLE}, or {PROFILE_KEY} of the AWS profile"), &value)?;
        }
    }
    Ok(())
}

fn check_one(named_by: &str, value: &str) -> Result<(), WrongEndpoint> {
    let wrong = |fix| Err(WrongEndpoint { named_by: named_by.to_owned(), value: value.to_owned(), fix });
    let Some((scheme, _)) = value.split_once("://") else {
        return match value.is_empty() {
            true => wrong("take it away, or name the endpoint"),
            false => wrong("add http:// or https://"),
        };
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return wrong("it must begin with http:// or https://");
    }
    match value.parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        _ => wrong("write http://HOST:PORT or https://HOST:PORT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variables_of_any_service_are_found() {
        let set = [
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_ENDPOINT_URL_EFS", " "),
            ("AWS_ENDPOINT_URL_S3", "http://a"),
            ("AWS_ENDPOINT_URLS", ""),
        ];
        let found = empty(set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(found, ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EFS"]);
    }

    #[test]
    fn a_wrong_one_is_named_with_the_fix() {
        let told = |set: &[(&str, &str)]| {
            let get = |name: &str| set.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
            check(get).map_or_else(|error| error.to_string(), |()| "well".to_owned())
        };
        for well in ["http://127.0.0.1:4991", "HTTPS://efs.example/path", "http://[::1]:80", ""] {
            assert_eq!(told(&[("AWS_ENDPOINT_URL", well), ("AWS_ENDPOINT_URL_EFS", well)]), "well", "{well:?}");
        }
        for (wrong, fix) in [
            ("127.0.0.1:4991", "add http:// or https://"),
            ("efs.example", "add http:// or https://"),
            ("tcp://efs.example", "must begin with http://"),
            ("http://", "write http://HOST:PORT"),
            ("http://a b", "write http://HOST:PORT"),
        ] {
            let told = told(&[("AWS_ENDPOINT_URL", "http://a"), ("AWS_ENDPOINT_URL_STS", wrong)]);
            assert!(told.starts_with(&format!("AWS_ENDPOINT_URL_STS={wrong:?}")) && told.contains(fix), "{told}");
        }
        let ignored = [("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), ("AWS_ENDPOINT_URL", "x")];
        assert_eq!(told(&ignored), "well");
        assert_eq!(told(&[("AWS_ENDPOINT_URL_S3", "another service's")]), "well");
    }
}
