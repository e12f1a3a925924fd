//! Which region the driver's own calls go to.

use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::profiles::Profiles;

/// The variables that name the region, as the AWS SDKs and the AWS CLI rank them.
const VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The region that the environment names. A variable that is blank names none: that is what a template leaves of a value that nobody set.
pub fn of_environment() -> Option<String> {
    named(|name| std::env::var(name).ok())
}

fn named(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    VARIABLES.iter().find_map(|name| variable(name).and_then(|value| told(&value)))
}

/// A region's name without the blanks around it, if anything is left.
fn told(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The region that is given by flag or by the environment. Nothing where the SDK may look for it by its own rules, for which a blank
/// variable counts as a region: past one, the profile and the metadata service are asked here.
pub(super) async fn known(given: Option<&str>, profiles: &Profiles, http: &SharedHttpClient) -> Option<String> {
    if let Some(region) = given.and_then(told).or_else(of_environment) {
        return Some(region);
    }
    if VARIABLES.iter().all(|name| std::env::var_os(name).is_none()) {
        return None;
    }
    let config = ProviderConfig::without_region().with_http_client(http.clone());
    let of_profile = ProfileFileRegionProvider::builder().configure(&config).profile_files(profiles.files()).build();
    let of_machine = ImdsRegionProvider::builder().configure(&config).build();
    let region = RegionProviderChain::first_try(of_profile).or_else(of_machine).region().await;
    region.and_then(|region| told(region.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_variable_names_no_region() {
        let region = |one: Option<&str>, other: Option<&str>| {
            named(|name| if name == VARIABLES[0] { one } else { other }.map(str::to_owned))
        };
        assert_eq!(region(Some("eu-west-1"), Some("us-east-1")).as_deref(), Some("eu-west-1"));
        for blank in [None, Some(""), Some(" \n")] {
            assert_eq!(region(blank, Some("us-east-1\n")).as_deref(), Some("us-east-1"), "{blank:?}");
            assert_eq!(region(blank, blank), None);
        }
    }
}
