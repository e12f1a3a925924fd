//! The RSA key that every tunnel of this node presents.
//!
//! EFS accepts any self-signed client certificate: what counts is that the IAM signature inside covers the hash of this
//! key. One key per node, made once and kept in the state directory, is therefore enough, and a restarted driver keeps
//! its identity. Making an RSA-3072 key takes some hundred milliseconds, so it happens in the background at start.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::PrivateKeyDer;
use sha1::{Digest, Sha1};
use tokio_rustls::rustls::crypto::aws_lc_rs::sign::any_supported_type;
use tokio_rustls::rustls::sign::SigningKey;

use efs_common::disk::Unwritable;
use efs_common::durable;

const FILE_NAME: &str = "client-key.pem";
/// A key of 3,072 bits has some 2,500 bytes as PEM.
const SIZE_MAX: u64 = 64 * 1024;

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The state directory can't be read or written.
    #[error("cannot use the key file {path}: {}", Unwritable::of(source).map_or_else(|| source.to_string(), |disk| disk.to_string()))]
    File {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Key generation failed in the crypto library.
    #[error("cannot make an RSA-3072 key: {0}")]
    Generate(#[source] rcgen::Error),
    /// The task that makes it panicked, or the runtime is going.
    #[error("no key was made: {0}")]
    Interrupted(#[source] tokio::task::JoinError),
    /// The TLS library refused the key.
    #[error("the TLS library refuses the client key: {0}")]
    Refused(#[source] tokio_rustls::rustls::Error),
}

/// An RSA-3072 key pair, ready to sign certificates and TLS handshakes.
pub struct ClientKey {
    pair: KeyPair,
    signer: Arc<dyn SigningKey>,
    public_key_hash: [u8; 20],
}

impl std::fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientKey").field("public_key_hash", &hex::encode(self.public_key_hash)).finish_non_exhaustive()
    }
}

impl ClientKey {
    /// Reads the key from `state_dir`, or makes one and keeps it there (mode 0600). An unreadable, empty or foreign key
    /// file is replaced: nothing but this node's own certificates depends on it.
    ///
    /// Blocks for the time of an RSA key generation; call it from a blocking task.
    pub fn load_or_create(state_dir: &Path) -> Result<Self, KeyError> {
        let path = state_dir.join(FILE_NAME);
        match read(&path) {
            Ok(pem) => match KeyPair::from_pem(&pem).map_err(KeyError::Generate).and_then(Self::from_pair) {
                Ok(key) => {
                    restrict(&path).map_err(|source| KeyError::File { path, source })?;
                    return Ok(key);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "replacing an unusable client key"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeyError::File { path, source }),
        }
        let key = Self::generate()?;
        durable::write(&path, 0o600, |file| file.write_all(key.pair.serialize_pem().as_bytes()))
            .map_err(|source| KeyError::File { path, source })?;
        Ok(key)
    }

    /// Makes a key that lives in memory only.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).map_err(KeyError::Generate)?;
        Self::from_pair(pair)
    }

    fn from_pair(pair: KeyPair) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::try_from(pair.serialize_der())
            .map_err(|what| KeyError::Refused(tokio_rustls::rustls::Error::General(what.to_owned())))?;
        let signer = any_supported_type(&der).map_err(KeyError::Refused)?;
        let public_key_hash = Sha1::digest(pair.public_key_raw()).into();
        Ok(Self { pair, signer, public_key_hash })
    }

    /// SHA-1 of the PKCS#1 public key (the content of the certificate's subjectPublicKey bit string).
    pub fn public_key_hash(&self) -> [u8; 20] {
        self.public_key_hash
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn signer(&self) -> Arc<dyn SigningKey> {
        Arc::clone(&self.signer)
    }
}

/// What stands in the file. Anything else in its place, such as a pipe or a device, could keep who reads it for ever.
fn read(path: &Path) -> io::Result<String> {
    let open = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(open.bits() as i32).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file; remove it"));
    }
    let mut pem = Vec::new();
    file.take(SIZE_MAX).read_to_end(&mut pem)?;
    // Whatever isn't text is no key.
    Ok(String::from_utf8_lossy(&pem).into_owned())
}

/// Takes away what group and others may do with a key that someone copied with the wrong mode.
fn restrict(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_uses_the_same_key_and_a_broken_file_is_replaced() {
        let dir = tempfile::tempdir().expect("temp dir");
        let first = ClientKey::load_or_create(dir.path()).expect("first");
        let path = dir.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        let second = ClientKey::load_or_create(dir.path()).expect("second");
        assert_eq!(first.public_key_hash(), second.public_key_hash());
        assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);

        fs::write(&path, "").expect("truncate");
        let third = ClientKey::load_or_create(dir.path()).expect("third");
        assert_ne!(first.public_key_hash(), third.public_key_hash());
    }

    /// A pipe is never read to its end, and a device has none.
    #[test]
    fn what_is_no_file_is_an_error_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(FILE_NAME);
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a pipe");
        let error = ClientKey::load_or_create(dir.path()).expect_err("a pipe");
        assert!(error.to_string().contains("not a regular file"), "{error}");
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        ClientKey::load_or_create(dir.path()).expect_err("a link");
    }
}
