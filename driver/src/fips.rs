//! Whether this build's cryptography is a FIPS 140-3 module: the feature `fips` links AWS-LC-FIPS instead of AWS-LC, for tunnels,
//! AWS calls and the HTTP endpoint alike. It needs CMake and Go to build.

/// True in a build with the feature `fips`.
pub const MODULE: bool = cfg!(feature = "fips");

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    /// The feature must reach the library that does the work, and only the feature.
    #[test]
    fn the_tls_library_says_the_same() {
        assert_eq!(aws_lc_rs::default_provider().fips(), MODULE);
    }
}
