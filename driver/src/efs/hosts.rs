//! The hosts file (hosts(5)), which Kubernetes' `hostAliases` write to. The system's resolver looks there only for names without a trailing
//! dot, and asks for those in every search domain, too, where a wildcard may answer with anything.

use std::net::IpAddr;

/// The addresses that a hosts file gives to a name, in its order.
pub(super) fn addresses_of(name: &str, text: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
        if words.any(|alias| alias.trim_end_matches('.').eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_found_in_any_case() {
        let text = "127.0.0.1\tlocalhost\n# 10.9.9.9 fs-1.efs\n10.0.0.7 other FS-1.efs.example # 10.0.0.8\nfd00::7 fs-1.efs.example.\n\
            nonsense fs-1.efs.example\n10.0.0.7 fs-1.efs.example\n";
        let found = |name| addresses_of(name, text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found("fs-1.efs.example"), ["10.0.0.7", "fd00::7"]);
        assert_eq!(found("fs-1.efs"), [""; 0]);
        assert_eq!(found("nowhere"), [""; 0]);
    }
}
