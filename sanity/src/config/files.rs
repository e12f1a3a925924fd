//! The YAML files that a run is given.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::{Pairs, Secrets};

/// The largest file that is read, in bytes; parameters and secrets are 4 KiB each at most.
const SIZE_LIMIT: u64 = 1 << 20;

/// Why a YAML file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {what} from {path}: {source}")]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// Its path.
        path: String,
        /// The reason.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path} does not hold {what}: {reason}")]
    Malformed {
        /// What the file is for.
        what: &'static str,
        /// Its path.
        path: String,
        /// The reason, with the line.
        reason: String,
    },
}

fn load<T: DeserializeOwned + Default>(what: &'static str, path: &Path) -> Result<T, FileError> {
    let name = path.display().to_string();
    let unreadable = |source| FileError::Unreadable { what, path: name.clone(), source };
    let malformed = |reason: String| FileError::Malformed { what, path: name.clone(), reason };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > SIZE_LIMIT {
        return Err(malformed(format!("it has {size} bytes, the limit is {SIZE_LIMIT}")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Ok(T::default());
    }
    serde_yaml_ng::from_str::<Option<T>>(&text).map(Option::unwrap_or_default).map_err(|e| malformed(e.to_string()))
}

impl Secrets {
    /// Reads the Go suite's secrets file.
    ///
    /// # Errors
    /// [`FileError`] with the path and the reason.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        load("secrets (a map from names like CreateVolumeSecret to string maps)", path)
    }
}

/// Reads a flat map of strings.
///
/// # Errors
/// [`FileError`] with the path and the reason.
pub(crate) fn load_pairs(what: &'static str, path: &Path) -> Result<Pairs, FileError> {
    load::<std::collections::HashMap<String, Scalar>>(what, path)
        .map(|pairs| pairs.into_iter().map(|(key, Scalar(value))| (key, value)).collect())
}

/// A YAML scalar read as the text that Go's YAML library would give: `1000` and `true` need no quotes.
#[derive(Debug)]
struct Scalar(String);

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_yaml_ng::Value;
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Bool(value) => Ok(Self(value.to_string())),
            Value::Number(value) => Ok(Self(value.to_string())),
            Value::Null => Ok(Self(String::new())),
            other => Err(serde::de::Error::custom(format!("expected a string, found {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn secrets_are_read_by_the_names_of_the_go_suite() {
        let file = file("CreateVolumeSecret:\n  key: one\nNodePublishVolumeSecret:\n  key: two\n");
        let secrets = Secrets::load(file.path()).unwrap();
        assert_eq!(secrets.create_volume["key"], "one");
        assert_eq!(secrets.node_publish_volume["key"], "two");
        assert!(secrets.delete_volume.is_empty());
        assert!(!format!("{secrets:?}").contains("one"));
    }

    #[test]
    fn parameters_may_be_numbers_and_booleans() {
        let file = file("uid: 1000\nmode: \"0700\"\ntls: true\n");
        let pairs = load_pairs("parameters", file.path()).unwrap();
        assert_eq!((pairs["uid"].as_str(), pairs["mode"].as_str(), pairs["tls"].as_str()), ("1000", "0700", "true"));
    }

    #[test]
    fn an_empty_file_is_an_empty_map() {
        assert!(load_pairs("parameters", file("# nothing\n").path()).unwrap().is_empty());
    }

    #[test]
    fn wrong_files_are_named() {
        for text in ["- a\n- b\n", "a:\n  b: c\n", "a: [", "just text"] {
            let file = file(text);
            let error = load_pairs("parameters", file.path()).unwrap_err().to_string();
            assert!(error.contains(file.path().to_str().unwrap()), "{error}");
        }
        assert!(Secrets::load(file("NoSuchSecret: {}\n").path()).unwrap_err().to_string().contains("NoSuchSecret"));
        assert!(load_pairs("parameters", Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
