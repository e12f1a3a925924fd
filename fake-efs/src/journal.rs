//! The journal: what was asked of the fake, by whom, and how it ended. Tests assert on it and the console shows it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

/// Entries that are kept; older ones are forgotten.
const CAPACITY: usize = 10_000;
/// Longest arguments that are kept, in bytes of JSON; longer ones are replaced by their size.
const LONGEST_ARGUMENTS: usize = 8192;

/// One call or connection.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its number, counting from 1.
    pub number: u64,
    /// When it was answered, by the world's clock.
    pub time: Timestamp,
    /// `efs`, `sts`, `imds`, `pod-identity` or `nfs`.
    pub service: &'static str,
    /// The operation's name.
    pub operation: String,
    /// The caller's account.
    pub account: String,
    /// The region that was asked.
    pub region: String,
    /// The ARN of the caller, or `anonymous`.
    pub principal: String,
    /// The access key that signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The request id in the answer.
    pub request_id: String,
    /// What was asked.
    pub arguments: Value,
    /// HTTP status; 0 if there was no answer.
    pub status: u16,
    /// The error's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The fault rule that struck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
    /// How long the work took, in microseconds.
    pub micros: u64,
}

/// Which entries are wanted; what is not said doesn't matter.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Entries with higher numbers only.
    pub after: u64,
    /// This service only.
    pub service: Option<String>,
    /// This operation only.
    pub operation: Option<String>,
    /// This error only.
    pub error: Option<String>,
    /// Entries whose arguments mention this text.
    pub mentions: Option<String>,
    /// At most so many of the newest.
    pub limit: Option<usize>,
}

/// The last [`CAPACITY`] entries.
#[derive(Debug)]
pub struct Journal {
    entries: Mutex<(u64, VecDeque<Entry>)>,
    newest: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { entries: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Journal {
    /// Adds an entry and numbers it.
    pub fn record(&self, mut entry: Entry) {
        let size = entry.arguments.to_string().len();
        if size > LONGEST_ARGUMENTS {
            entry.arguments = serde_json::json!({ "omitted_bytes": size });
        }
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, entries) = &mut *guard;
        *last += 1;
        entry.number = *last;
        if entries.len() == CAPACITY {
            entries.pop_front();
        }
        entries.push_back(entry);
        self.newest.send_replace(*last);
    }

    /// The entries that match, oldest first.
    pub fn query(&self, query: &Query) -> Vec<Entry> {
        let guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        let newest_first = guard.1.iter().rev().take_while(|entry| entry.number > query.after);
        let mut found: Vec<_> = newest_first
            .filter(|entry| is(&query.service, entry.service) && is(&query.operation, &entry.operation))
            .filter(|entry| query.error.is_none() || entry.error == query.error)
            .filter(|entry| query.mentions.as_ref().is_none_or(|text| entry.arguments.to_string().contains(text)))
            .take(query.limit.unwrap_or(CAPACITY))
            .cloned()
            .collect();
        found.reverse();
        found
    }

    /// Number of calls of an operation so far, as far as they are kept.
    pub fn count(&self, operation: &str) -> usize {
        self.query(&Query { operation: Some(operation.to_owned()), ..Query::default() }).len()
    }

    /// Forgets all entries; numbers go on.
    pub fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    /// Changes to the newest entry's number whenever one is added.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(operation: &str) -> Entry {
        Entry {
            number: 0,
            time: Timestamp::UNIX_EPOCH,
            service: "efs",
            operation: operation.to_owned(),
            account: String::new(),
            region: String::new(),
            principal: String::new(),
            access_key_id: None,
            request_id: String::new(),
            arguments: serde_json::json!({ "FileSystemId": "fs-01234567" }),
            status: 200,
            error: None,
            fault: None,
            micros: 0,
        }
    }

    #[test]
    fn the_oldest_entries_are_forgotten_first() {
        let journal = Journal::default();
        for _ in 0..CAPACITY + 5 {
            journal.record(entry("DescribeFileSystems"));
        }
        let all = journal.query(&Query::default());
        assert_eq!((all.len(), all[0].number), (CAPACITY, 6));
    }

    #[test]
    fn entries_are_found_by_operation_and_by_what_they_mention() {
        let journal = Journal::default();
        journal.record(entry("A"));
        journal.record(entry("B"));
        assert_eq!(journal.count("A"), 1);
        let mentions = |text: &str| Query { mentions: Some(text.to_owned()), ..Query::default() };
        assert_eq!(journal.query(&mentions("fs-01234567")).len(), 2);
        assert_eq!(journal.query(&mentions("fs-76543210")).len(), 0);
        assert_eq!(journal.query(&Query { after: 1, limit: Some(9), ..Query::default() })[0].operation, "B");
    }
}
