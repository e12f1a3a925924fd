//! Whom we believe: for EFS Amazon's own roots, or the authorities of a PEM file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use efs_common::regular_file;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::RootCertStore;

/// A disk that takes longer hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Why the certificate authorities can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The file can't be read or isn't PEM.
    #[error("cannot read certificate authorities from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
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
    let read = regular_file::read(path);
    let text = read.map_err(|error| RootsError::File { path: path.to_owned(), source: pem::Error::Io(error) })?;
    parse(path, &text)
}

/// The same on a thread that may hang, under a deadline.
///
/// # Errors
/// The same, and when its disk doesn't answer.
pub async fn load(path: &Path) -> Result<RootCertStore, RootsError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || from_file(&owned));
    let late = || {
        let reason =
            format!("it has not answered for {} s; see whether its disk is frozen or gone", ANSWERS_WITHIN.as_secs());
        let source = pem::Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason));
        RootsError::File { path: path.to_owned(), source }
    };
    match tokio::time::timeout(ANSWERS_WITHIN, read).await {
        Ok(read) => read.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic())),
        Err(_) => Err(late()),
    }
}

/// The authorities in the text of a PEM file.
///
/// # Errors
/// When it holds anything that is no authority, or nothing.
pub fn parse(path: &Path, text: &[u8]) -> Result<RootCertStore, RootsError> {
    let file_error = |source| RootsError::File { path: path.to_owned(), source };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        store
            .add(certificate.map_err(file_error)?)
            .map_err(|source| RootsError::Certificate { path: path.to_owned(), source })?;
    }
    if store.is_empty() {
        return Err(RootsError::Empty { path: path.to_owned() });
    }
    Ok(store)
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
