//! Which proxy a request goes through, by the environment variables that Go programs and curl read.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The variables for a scheme of requests, the first that is set counts. Names in capitals come first, as in Go.
const HTTP: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
const HTTPS: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Addresses that exist on this host only: instance metadata, EKS Pod Identity and the credentials of ECS tasks. A proxy would answer
/// for its own host, or not at all.
const HOST_ONLY: [&str; 5] = ["169.254.169.254", "fd00:ec2::254", "169.254.170.23", "fd00:ec2::23", "169.254.170.2"];

/// A proxy can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// A variable holds something else than a proxy's URL. Its text is not shown: it may hold a password.
    #[error("{variable} is not the URL of a proxy: write http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// The variable.
        variable: &'static str,
    },
    /// The proxy speaks a protocol that is of no use for the request.
    #[error("{proxy} can't be used for {what}: name a proxy with {schemes}, or put the host into NO_PROXY")]
    Protocol {
        /// The proxy.
        proxy: String,
        /// What was to be done.
        what: &'static str,
        /// What would do.
        schemes: &'static str,
    },
}

/// A proxy and the place that names it.
#[derive(Clone)]
pub struct Proxy {
    named_by: &'static str,
    url: String,
    /// What the URL comes to.
    reads: Intercept,
}

impl Proxy {
    /// Reads a proxy's URL; one without a scheme is of HTTP, as in Go and curl.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(named_by: &'static str, url: &str) -> Result<Self, ProxyError> {
        let reads = Matcher::builder().all(url).build().intercept(&Uri::from_static("http://any.invalid/"));
        let reads = reads.ok_or(ProxyError::Url { variable: named_by })?;
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        Ok(Self { named_by, url, reads })
    }

    /// Its URL with name and password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its scheme: `http`, `https` or one of SOCKS.
    pub(crate) fn scheme(&self) -> &str {
        self.reads.uri().scheme_str().unwrap_or_default()
    }

    /// Its address, and what to authenticate with.
    pub(crate) fn intercept(&self) -> &Intercept {
        &self.reads
    }
}

/// Without name and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.reads.uri().authority().map(http::uri::Authority::as_str).unwrap_or_default();
        write!(f, "the proxy {}://{authority} ({})", self.scheme(), self.named_by)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        (self.named_by, &self.url) == (other.named_by, &other.url)
    }
}

impl Eq for Proxy {}

/// The proxies of an environment.
#[derive(Debug)]
pub struct Proxies {
    http: Result<Option<Proxy>, ProxyError>,
    https: Result<Option<Proxy>, ProxyError>,
    direct: Vec<Direct>,
}

/// Hosts that are reached without a proxy.
#[derive(Debug)]
struct Direct {
    /// `None` for all of them.
    hosts: Option<Matcher>,
    port: Option<u16>,
}

impl Proxies {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Those of an environment. A variable that is empty counts as none.
    pub fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&'static str]| {
            let values = names.iter().map(|name| (*name, variable(name).unwrap_or_default()));
            values.into_iter().find(|(_, value)| !value.trim().is_empty())
        };
        let proxy = |names: &[&'static str]| first(names).map(|(name, url)| Proxy::new(name, url.trim())).transpose();
        let no = first(&NO).map(|(_, text)| text).unwrap_or_default();
        let entries = no.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let direct = entries.chain(HOST_ONLY).map(Direct::new).collect();
        Self { http: proxy(&HTTP), https: proxy(&HTTPS), direct }
    }

    /// Those that can be read.
    pub fn all(&self) -> impl Iterator<Item = &Proxy> {
        [&self.http, &self.https].into_iter().filter_map(|it| it.as_ref().ok()?.as_ref())
    }

    /// What is wrong with the variables.
    pub fn errors(&self) -> Vec<ProxyError> {
        let mut errors: Vec<_> =
            [&self.http, &self.https].into_iter().filter_map(|it| it.as_ref().err().cloned()).collect();
        errors.dedup();
        errors
    }

    /// The proxy for a request, `None` if it goes straight to its host.
    ///
    /// # Errors
    /// When the variable for it is no URL of a proxy.
    pub fn proxy_for(&self, target: &Uri) -> Result<Option<&Proxy>, ProxyError> {
        let proxy = match target.scheme_str() {
            Some("https") => &self.https,
            _ => &self.http,
        };
        // Before NO_PROXY is asked: nearly all have no proxy.
        if matches!(proxy, Ok(None)) || is_loopback(target) || self.direct.iter().any(|it| it.has(target)) {
            return Ok(None);
        }
        proxy.as_ref().map(Option::as_ref).map_err(Clone::clone)
    }
}

/// Go sends nothing through a proxy that is meant for this machine, whatever NO_PROXY says.
fn is_loopback(target: &Uri) -> bool {
    let host = target.host().unwrap_or_default();
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || bare(host).parse().is_ok_and(is_loopback)
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

impl Direct {
    /// Reads an entry of NO_PROXY: `*`, an address, a block of addresses, a domain with all below it, each but `*` and a block
    /// with an optional port. hyper-util's matcher knows no ports, and `*` only for names.
    fn new(entry: &str) -> Self {
        if entry == "*" {
            return Self { hosts: None, port: None };
        }
        let is_address = bare(entry).parse::<IpAddr>().is_ok();
        let with_port = entry.rsplit_once(':').filter(|_| !is_address);
        let with_port = with_port.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = with_port.map_or((entry, None), |(host, port)| (host, Some(port)));
        // Go takes `*.example.com` for `.example.com`.
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        Self { hosts: Some(Matcher::builder().all("http://any.invalid").no(bare(host)).build()), port }
    }

    fn has(&self, target: &Uri) -> bool {
        let default = if target.scheme_str() == Some("https") { 443 } else { 80 };
        let port = target.port_u16().unwrap_or(default);
        self.port.is_none_or(|only| only == port)
            && self.hosts.as_ref().is_none_or(|hosts| hosts.intercept(target).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Proxies {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Proxies::new(|name| pairs.iter().find(|(it, _)| it == name).map(|(_, value)| value.clone()))
    }

    fn told(proxies: &Proxies, target: &str) -> String {
        match proxies.proxy_for(&target.parse().unwrap()) {
            Ok(Some(proxy)) => proxy.to_string(),
            Ok(None) => "direct".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_capitals_come_first() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("https_proxy", "http://x:1"), ("http_proxy", "plain:2")];
        let proxies = environment(&both);
        assert_eq!(told(&proxies, "https://a.example"), "the proxy http://s:1 (HTTPS_PROXY)");
        assert_eq!(told(&proxies, "http://a.example"), "the proxy http://plain:2 (http_proxy)");
        let all = environment(&[("HTTPS_PROXY", ""), ("ALL_PROXY", "https://all:3"), ("HTTP_PROXY", "http://h:4")]);
        assert_eq!(told(&all, "https://a.example"), "the proxy https://all:3 (ALL_PROXY)");
        assert_eq!(told(&all, "http://a.example"), "the proxy http://h:4 (HTTP_PROXY)");
        assert_eq!(told(&environment(&[]), "https://a.example"), "direct");
    }

    #[test]
    fn no_proxy_is_read_like_go_and_curl_read_it() {
        for (no, target, direct) in [
            ("example.com", "https://example.com", true),
            ("example.com", "https://a.b.example.com", true),
            ("EXAMPLE.com", "https://a.example.COM", true),
            ("example.com", "https://notexample.com", false),
            (".example.com", "https://a.example.com", true),
            (".example.com", "https://example.com", true),
            (".example.com", "https://notexample.com", false),
            ("*.example.com", "https://a.example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3:6443", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.0.0.0/8", "https://10.example.com", false),
            ("fd00::/8", "https://[fd12::1]", true),
            ("192.0.2.1", "https://192.0.2.1", true),
            ("192.0.2.1", "https://192.0.2.10", false),
            ("2001:db8::1", "https://[2001:db8::1]:8443", true),
            ("[2001:db8::1]", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:443", "https://[2001:db8::1]:444", false),
            ("example.com:8443", "https://example.com:8443", true),
            ("example.com:8443", "https://example.com", false),
            ("example.com:443", "https://a.example.com", true),
            ("192.0.2.1:6443", "https://192.0.2.1:6443", true),
            ("192.0.2.1:6443", "https://192.0.2.1", false),
            ("*", "https://example.com", true),
            ("*", "https://192.0.2.1", true),
            ("*", "https://[2001:db8::1]", true),
            (" a.example , b.example,,\tc.example ", "https://b.example", true),
            ("a.example b.example", "https://b.example", true),
            ("a.example,", "https://c.example", false),
            ("%%%, example.com", "https://example.com", true),
        ] {
            let proxies = environment(&[("HTTPS_PROXY", "http://proxy:3128"), ("no_proxy", no)]);
            assert_eq!(told(&proxies, target) == "direct", direct, "NO_PROXY={no:?} {target}");
        }
    }

    #[test]
    fn what_exists_on_this_host_only_is_never_asked_through_a_proxy() {
        let proxies = environment(&[("ALL_PROXY", "http://proxy:3128")]);
        for host in HOST_ONLY.into_iter().chain(["localhost", "127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"]) {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            for url in [format!("http://{host}/latest"), format!("http://{host}:8080/v1"), format!("https://{host}/")] {
                assert_eq!(told(&proxies, &url), "direct", "{url}");
            }
        }
        assert_ne!(told(&proxies, "http://169.254.169.253/"), "direct");
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_an_error_and_no_message_shows_a_password() {
        for text in ["ftp://user:hidden@proxy", "http://", "user:hidden@:::"] {
            let told = told(&environment(&[("HTTPS_PROXY", text)]), "https://a.example");
            assert!(told.starts_with("HTTPS_PROXY is not the URL of a proxy: write"), "{text}: {told}");
            assert!(!told.contains("hidden"), "{told}");
        }
        assert_eq!(environment(&[("ALL_PROXY", "http://")]).errors(), [ProxyError::Url { variable: "ALL_PROXY" }]);
        assert_eq!(environment(&[("HTTPS_PROXY", "http://proxy:1")]).errors(), []);
        let both = environment(&[("HTTPS_PROXY", "socks5://proxy:1"), ("HTTP_PROXY", "http://")]);
        assert_eq!(both.all().map(Proxy::scheme).collect::<Vec<_>>(), ["socks5"]);
        let proxies = environment(&[("HTTPS_PROXY", "http://user:hid%40den@proxy:3128")]);
        assert_eq!(told(&proxies, "https://a.example"), "the proxy http://proxy:3128 (HTTPS_PROXY)");
        assert!(!format!("{proxies:?}").contains("hid"), "{proxies:?}");
        let proxy = proxies.proxy_for(&Uri::from_static("https://a.example")).unwrap().unwrap();
        // user:hid@den
        assert_eq!(proxy.intercept().basic_auth().unwrap(), "Basic dXNlcjpoaWRAZGVu");
    }
}
