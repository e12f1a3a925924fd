//! The list of connections, for the console and for tests, with what went over each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::bind::Binding;
use super::recent::{Recent, RecentCall};
use crate::admission::Caller;

/// One connection as it is now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConnectionView {
    /// Its number, counting from 1.
    pub number: u64,
    /// The address that was connected to.
    pub local: String,
    /// The peer's address.
    pub remote: String,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The file system, when admitted.
    pub file_system_id: Option<String>,
    /// The access point that the certificate names.
    pub access_point_id: Option<String>,
    /// The mount target, when admitted.
    pub mount_target_id: Option<String>,
    /// The IAM principal, or `anonymous`.
    pub principal: Option<String>,
    /// Why it was turned away.
    pub refusal: Option<String>,
    /// The partition of the file system on which it has landed, counting from 0, when admitted.
    pub partition: Option<u32>,
    /// Who its client said it is when it last asked for the partition's name, whatever it was answered.
    pub binding: Option<Binding>,
    /// The client's software and its version, if the certificate says so.
    pub client: Option<(String, String)>,
    /// When it arrived.
    pub since: jiff::Timestamp,
    /// RPC calls so far.
    pub calls: u64,
    /// Bytes of requests so far, without TLS.
    pub bytes_in: u64,
    /// Bytes of replies so far, without TLS.
    pub bytes_out: u64,
}

/// What a connection counts.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    caller: Caller,
    since: jiff::Timestamp,
    verdict: Mutex<Verdict>,
    binding: Mutex<Option<Binding>>,
    pub(super) calls: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) recent: Recent,
    /// Ends this connection.
    pub(super) end: CancellationToken,
}

#[derive(Debug, Default)]
struct Verdict {
    file_system_id: Option<String>,
    mount_target_id: Option<String>,
    principal: Option<String>,
    refusal: Option<String>,
    partition: Option<u32>,
}

impl Entry {
    /// Notes how the caller was received.
    pub(super) fn judged(&self, verdict: &Result<crate::admission::Admission, crate::admission::Refusal>) {
        let verdict = match verdict {
            Ok(admission) => Verdict {
                file_system_id: Some(admission.file_system_id.clone()),
                mount_target_id: admission.mount_target_id.clone(),
                principal: Some(admission.principal.clone()),
                refusal: None,
                partition: None,
            },
            Err(refusal) => Verdict { refusal: Some(refusal.to_string()), ..Verdict::default() },
        };
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// Notes where an admitted caller has landed.
    pub(super) fn landed(&self, partition: u32) {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).partition = Some(partition);
    }

    /// Notes who has bound the connection, if anybody did.
    pub(super) fn bound(&self, binding: Option<Binding>) {
        if binding.is_some() {
            *self.binding.lock().unwrap_or_else(PoisonError::into_inner) = binding;
        }
    }

    pub(super) fn view(&self) -> ConnectionView {
        let verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = self.caller.certificate.as_ref();
        ConnectionView {
            number: self.number,
            local: self.caller.local.to_string(),
            remote: self.caller.remote.to_string(),
            tls: self.caller.certificate.is_some(),
            file_system_id: verdict.file_system_id.clone(),
            access_point_id: certificate.and_then(|claims| claims.access_point_id.clone()),
            mount_target_id: verdict.mount_target_id.clone(),
            principal: verdict.principal.clone(),
            refusal: verdict.refusal.clone(),
            partition: verdict.partition,
            binding: *self.binding.lock().unwrap_or_else(PoisonError::into_inner),
            client: certificate.and_then(|claims| claims.client_info.clone()),
            since: self.since,
            calls: self.calls.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}

/// All connections of a server.
#[derive(Debug, Default)]
pub struct Connections {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Entry>>>,
}

impl Connections {
    /// The connections that are open now, oldest first.
    pub fn list(&self) -> Vec<ConnectionView> {
        self.lock().values().map(|entry| entry.view()).collect()
    }

    /// A connection's last requests, the newest first; none if it is not open.
    pub fn recent(&self, number: u64) -> Vec<RecentCall> {
        let entry = self.lock().get(&number).cloned();
        entry.map_or_else(Vec::new, |entry| entry.recent.list())
    }

    /// Ends the connections that match, as if the network had broken; how many there were.
    pub fn close(&self, matches: impl Fn(&ConnectionView) -> bool) -> usize {
        let closed: Vec<_> = self.lock().values().filter(|entry| matches(&entry.view())).cloned().collect();
        closed.iter().for_each(|entry| entry.end.cancel());
        closed.len()
    }

    /// Adds a connection for as long as the guard lives.
    pub(super) fn add(self: &Arc<Self>, caller: &Caller) -> Registered {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Arc::new(Entry {
            number,
            caller: caller.clone(),
            since: jiff::Timestamp::now(),
            verdict: Mutex::default(),
            binding: Mutex::default(),
            calls: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            recent: Recent::default(),
            end: CancellationToken::new(),
        });
        self.lock().insert(number, Arc::clone(&entry));
        Registered { connections: Arc::clone(self), entry }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Arc<Entry>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is on the list.
pub(super) struct Registered {
    connections: Arc<Connections>,
    pub(super) entry: Arc<Entry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.entry.number);
    }
}
