//! Whom we believe: for EFS Amazon's own roots, or the authorities of a PEM file.

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::RootCertStore;

/// Why the certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file can't be read or isn't PEM.
    #[error("cannot read certificate authorities from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// A certificate in the file isn't one.
    #[error("{path} holds a certificate that is no certificate authority: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: tokio_rustls::rustls::Error,
    },
    /// Nothing to trust.
    #[error("{path} holds no certificate; it must be a PEM file with at least one certificate authority")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Amazon Root CA 1 to 4, the authorities in the bundle of AWS's own client. No other public authority is accepted.
pub fn amazon() -> RootCertStore {
    let is_amazon = |subject: &[u8]| subject.windows(14).any(|window| window == b"Amazon Root CA");
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.iter().filter(|root| is_amazon(&root.subject)).cloned().collect(),
    }
}

/// The authorities of a PEM file; they replace Amazon's.
///
/// # Errors
/// When it can't be read, or holds anything that is no authority, or nothing.
pub fn from_file(path: &Path) -> Result<RootCertStore, RootsError> {
    Ok(read(path)?.0)
}

/// The authorities of a PEM file, and its text.
pub fn read(path: &Path) -> Result<(RootCertStore, Vec<u8>), RootsError> {
    let file_error = |source| RootsError::File { path: path.to_owned(), source };
    let text = std::fs::read(path).map_err(|error| file_error(rustls_pki_types::pem::Error::Io(error)))?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        store
            .add(certificate.map_err(file_error)?)
            .map_err(|source| RootsError::Certificate { path: path.to_owned(), source })?;
    }
    if store.is_empty() {
        return Err(RootsError::Empty { path: path.to_owned() });
    }
    Ok((store, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_four_amazon_roots_are_trusted() {
        assert_eq!(amazon().roots.len(), 4);
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("ca.pem");
        assert!(matches!(from_file(&path), Err(RootsError::File { .. })));
        std::fs::write(&path, "nothing here\n").expect("write");
        assert!(matches!(from_file(&path), Err(RootsError::Empty { .. })));
    }
}
