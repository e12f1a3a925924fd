//! The protocols that a CSI driver speaks, as Rust types: [`csi`] (Container Storage Interface v1.13) and
//! [`registration`] (the kubelet's plugin registration v1), each with tonic clients and servers.
//!
//! The code is generated from the files in `proto/`; this is the only place that includes it. [`code_name`] is what both sides
//! call the codes of the answers.

mod codes;

pub use codes::code_name;

/// Container Storage Interface v1.13: messages, `*_client` and `*_server` modules.
/// Source: <https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md>.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// The kubelet's plugin registration API v1, served on a socket in `/var/lib/kubelet/plugins_registry`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod registration {
    tonic::include_proto!("pluginregistration");
}
