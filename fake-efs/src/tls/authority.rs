//! The certificate authority of a fake EFS, standing for the Amazon roots.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{self, ServerConfig};

use super::verifier::AnyKeyHolder;

/// DNS suffixes of the AWS partitions.
const SUFFIXES: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
    "amazonaws.eu",
];

/// The same for S3 Files.
const S3_FILES_SUFFIXES: [&str; 7] = [
    "on.aws",
    "on.amazonwebservices.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
    "amazonaws.eu",
];

/// The authority or a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Making or reading a certificate or key failed.
    #[error("certificate authority: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate can't be served.
    #[error("server certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority can't be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a server certificate that is made to be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerFlaw {
    /// Its time is over.
    Expired,
    /// It is for other names.
    WrongName,
}

/// A certificate authority of one's own.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    names: Vec<String>,
}

impl Authority {
    /// Makes an authority whose servers answer for all file systems of these regions, in any AWS partition.
    pub fn new(regions: &[&str]) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("fake-efs root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem, names: server_names(regions) })
    }

    /// The authority that is kept in a folder, made there if there is none, so that clients that trust it can go on after a
    /// restart.
    pub fn kept_in(folder: &Path, regions: &[&str]) -> Result<Self, AuthorityError> {
        let (certificate, key) = (folder.join("authority.pem"), folder.join("authority.key"));
        match (fs::read_to_string(&certificate), fs::read_to_string(&key)) {
            (Ok(pem), Ok(key)) => Self::load(&pem, &key, regions),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                let new = Self::new(regions)?;
                write_private(folder, &key, &new.issuer.key().serialize_pem())?;
                write_private(folder, &certificate, &new.pem)?;
                Ok(new)
            }
            (Err(source), _) => Err(AuthorityError::Io { path: certificate, source }),
            (_, Err(source)) => Err(AuthorityError::Io { path: key, source }),
        }
    }

    /// An authority that exists already, from its certificate and its private key in PEM.
    pub fn load(certificate: &str, key: &str, regions: &[&str]) -> Result<Self, AuthorityError> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, pem: certificate.to_owned(), names: server_names(regions) })
    }

    /// The authority's certificate in PEM, for clients to trust.
    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Configuration for a server with a fresh certificate for all names, or with one that has a flaw. TLS 1.2 and 1.3; a
    /// client certificate is asked for and not demanded.
    pub fn server_config(&self, flaw: Option<ServerFlaw>) -> Result<Arc<ServerConfig>, AuthorityError> {
        let names = match flaw {
            Some(ServerFlaw::WrongName) => vec!["*.efs.invalid".to_owned()],
            _ => self.names.clone(),
        };
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name("fake-efs");
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2001, 1, 1);
        let expires = if flaw == Some(ServerFlaw::Expired) { 2002 } else { 2098 };
        params.not_after = date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(AnyKeyHolder { provider: Arc::clone(&provider) });
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }
}

/// Names of all file systems of these regions, and of this machine.
fn server_names(regions: &[&str]) -> Vec<String> {
    let wildcards = |region: &&str| {
        let of_efs = SUFFIXES.map(|suffix| format!("*.efs.{region}.{suffix}"));
        of_efs.into_iter().chain(S3_FILES_SUFFIXES.map(|suffix| format!("*.s3files.{region}.{suffix}")))
    };
    let mut names: Vec<String> = regions.iter().flat_map(wildcards).collect();
    names.extend(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    names
}

/// Writes a file as a whole, readable by its owner only.
fn write_private(folder: &Path, path: &Path, text: &str) -> Result<(), AuthorityError> {
    let new = path.with_extension("new");
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    write().map_err(|source| AuthorityError::Io { path: path.to_owned(), source })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    async fn connect(flaw: Option<ServerFlaw>, name: &'static str) -> Result<(), std::io::Error> {
        let folder = tempfile::TempDir::new().unwrap();
        let regions = ["us-east-1", "cn-north-1"];
        Authority::kept_in(folder.path(), &regions).unwrap();
        // Read back, so that this is what a client meets after a restart.
        let authority = Authority::kept_in(folder.path(), &regions).unwrap();
        let acceptor = TlsAcceptor::from(authority.server_config(flaw).unwrap());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (a, b) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(async move { acceptor.accept(a).await.map(|_| ()) });
        let connector = TlsConnector::from(Arc::new(client));
        let connected = connector.connect(ServerName::try_from(name).unwrap(), b).await.map(|_| ());
        server.abort();
        connected
    }

    #[tokio::test]
    async fn every_file_systems_name_is_answered_for() {
        connect(None, "fs-0123456789abcdef0.efs.us-east-1.amazonaws.com").await.unwrap();
        connect(None, "fs-1.efs.cn-north-1.amazonaws.com.cn").await.unwrap();
        connect(None, "localhost").await.unwrap();
    }

    #[test]
    fn an_authority_is_kept_with_its_key() {
        let folder = tempfile::TempDir::new().unwrap();
        let first = Authority::kept_in(folder.path(), &["us-east-1"]).unwrap();
        let second = Authority::kept_in(folder.path(), &["us-east-1"]).unwrap();
        assert_eq!(first.pem(), second.pem());
        assert_eq!(first.issuer.key().serialize_pem(), second.issuer.key().serialize_pem());
        assert_ne!(Authority::new(&["us-east-1"]).unwrap().pem(), first.pem());
        fs::write(folder.path().join("authority.pem"), "junk").unwrap();
        assert!(Authority::kept_in(folder.path(), &["us-east-1"]).is_err());
    }

    #[tokio::test]
    async fn other_names_and_flawed_certificates_are_refused_by_clients() {
        connect(None, "fs-1.efs.eu-west-1.amazonaws.com").await.unwrap_err();
        connect(None, "a.fs-1.efs.us-east-1.amazonaws.com").await.unwrap_err();
        let name = "fs-1.efs.us-east-1.amazonaws.com";
        let expired = connect(Some(ServerFlaw::Expired), name).await.unwrap_err();
        assert!(expired.to_string().contains("expired"), "{expired}");
        let wrong = connect(Some(ServerFlaw::WrongName), name).await.unwrap_err();
        assert!(wrong.to_string().contains("not valid for"), "{wrong}");
    }
}
