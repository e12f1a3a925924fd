//! Faults on the wire, switched on and off by tests and the admin API.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bind::BindAnswer;
use super::connections::ConnectionView;
use crate::tls::ServerFlaw;

/// Most faults at a time.
const MOST: usize = 1000;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum WireEffect {
    /// The connection is reset instead of the request being read.
    Reset,
    /// The request is done, then the connection is reset without a reply.
    DropReply,
    /// The request is done and answered after this time.
    Delay {
        /// In milliseconds.
        milliseconds: u64,
    },
    /// The request is done, and it and its reply take as long as they would at this rate.
    Slow {
        /// Bytes a second; 0 counts as 1.
        bytes_per_second: u64,
    },
    /// The request is not done and never answered; the connection stays open.
    Stall,
    /// TLS is refused: the connection is closed after the client's first bytes.
    RefuseTls,
    /// The server shows a certificate that clients must not accept.
    BadCertificate {
        /// What is wrong with it.
        flaw: ServerFlaw,
    },
    /// A call that binds the connection to a partition is answered in another way. Other requests pass, and don't count.
    BindAnswer {
        /// In which way.
        answer: BindAnswer,
    },
}

/// What can be struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Handshake,
    Request,
    /// A request that binds the connection to a partition.
    Bind,
}

impl WireEffect {
    fn strikes(&self, moment: Moment) -> bool {
        match self {
            Self::RefuseTls | Self::BadCertificate { .. } => moment == Moment::Handshake,
            Self::BindAnswer { .. } => moment == Moment::Bind,
            _ => moment != Moment::Handshake,
        }
    }
}

/// Which connections a fault strikes, and what it does. What is not said doesn't matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireFault {
    /// Given when it is added.
    #[serde(default)]
    pub id: u64,
    /// Connections of this file system only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_id: Option<String>,
    /// Connections of this access point only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_point_id: Option<String>,
    /// Connections of this mount target only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_target_id: Option<String>,
    /// Requests (or, for faults of the handshake, connections, and for `bind-answer` calls that bind) that pass before the first
    /// is struck.
    #[serde(default)]
    pub skip: u64,
    /// How many are struck; without end if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What happens.
    pub effect: WireEffect,
}

impl WireFault {
    /// Strikes everything, without end.
    pub fn new(effect: WireEffect) -> Self {
        Self { id: 0, file_system_id: None, access_point_id: None, mount_target_id: None, skip: 0, times: None, effect }
    }

    /// Strikes so many times only.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Strikes one access point's connections only.
    #[must_use]
    pub fn on_access_point(self, id: &str) -> Self {
        Self { access_point_id: Some(id.to_owned()), ..self }
    }

    fn matches(&self, connection: Option<&ConnectionView>) -> bool {
        let is = |wanted: &Option<String>, of: fn(&ConnectionView) -> &Option<String>| {
            wanted.is_none() || connection.is_some_and(|connection| of(connection) == wanted)
        };
        is(&self.file_system_id, |c| &c.file_system_id)
            && is(&self.access_point_id, |c| &c.access_point_id)
            && is(&self.mount_target_id, |c| &c.mount_target_id)
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub struct Faults(Mutex<(u64, Vec<WireFault>)>);

impl Faults {
    /// Switches a fault on; its id, or `None` when there are too many.
    pub fn add(&self, fault: WireFault) -> Option<u64> {
        let mut guard = self.lock();
        let (last, faults) = &mut *guard;
        if faults.len() >= MOST {
            return None;
        }
        *last += 1;
        faults.push(WireFault { id: *last, ..fault });
        Some(*last)
    }

    /// The faults that are on.
    pub fn list(&self) -> Vec<WireFault> {
        self.lock().1.clone()
    }

    /// Switches one off; whether it was on.
    pub fn remove(&self, id: u64) -> bool {
        let faults = &mut self.lock().1;
        let before = faults.len();
        faults.retain(|fault| fault.id != id);
        faults.len() < before
    }

    /// Switches all off.
    pub fn clear(&self) {
        self.lock().1.clear();
    }

    /// Whether looking for one is worth while.
    pub(super) fn any(&self) -> bool {
        !self.lock().1.is_empty()
    }

    /// The fault that strikes the beginning of a connection.
    pub(super) fn strike_handshake(&self) -> Option<WireEffect> {
        self.strike(None, Moment::Handshake)
    }

    /// The fault that strikes a request, which may be one that binds the connection to a partition.
    pub(super) fn strike_request(&self, connection: &ConnectionView, binds: bool) -> Option<WireEffect> {
        self.strike(Some(connection), if binds { Moment::Bind } else { Moment::Request })
    }

    fn strike(&self, connection: Option<&ConnectionView>, moment: Moment) -> Option<WireEffect> {
        let faults = &mut self.lock().1;
        let mut struck = None;
        for fault in faults.iter_mut().filter(|fault| fault.effect.strikes(moment)) {
            if !fault.matches(connection) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.times = fault.times.map(|times| times.saturating_sub(1));
            struck = Some(fault.effect.clone());
            break;
        }
        faults.retain(|fault| fault.times != Some(0));
        struck
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (u64, Vec<WireFault>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a fault holds a reply back, when request and reply have this many bytes.
pub(super) fn delay(effect: &WireEffect, bytes: u64) -> Option<Duration> {
    match effect {
        WireEffect::Delay { milliseconds } => Some(Duration::from_millis(*milliseconds)),
        WireEffect::Slow { bytes_per_second } => {
            Some(Duration::from_millis(bytes.saturating_mul(1000) / (*bytes_per_second).max(1)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_strikes_and_is_used_up() {
        let faults = Faults::default();
        let id = faults.add(WireFault { skip: 1, ..WireFault::new(WireEffect::RefuseTls).times(2) });
        assert_eq!(faults.strike_handshake(), None);
        assert_eq!(faults.strike_handshake(), Some(WireEffect::RefuseTls));
        assert_eq!(faults.list().len(), 1);
        assert_eq!(faults.strike_handshake(), Some(WireEffect::RefuseTls));
        assert_eq!(faults.strike_handshake(), None);
        assert!(!faults.remove(id.unwrap()));
    }

    #[test]
    fn slowness_is_a_rate() {
        let slow = |bytes_per_second| delay(&WireEffect::Slow { bytes_per_second }, 5000);
        assert_eq!(slow(1000), Some(Duration::from_secs(5)));
        assert_eq!(slow(0), Some(Duration::from_secs(5000)));
        assert_eq!(delay(&WireEffect::Reset, 5000), None);
    }

    #[test]
    fn the_json_form_is_stable() {
        let fault = WireFault::new(WireEffect::Delay { milliseconds: 5 }).on_access_point("fsap-1").times(1);
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(
            json,
            r#"{"id":0,"access_point_id":"fsap-1","skip":0,"times":1,"effect":{"kind":"delay","milliseconds":5}}"#
        );
        assert_eq!(serde_json::from_str::<WireFault>(&json).unwrap(), fault);
        let minimal: WireFault =
            serde_json::from_str(r#"{"effect":{"kind":"bad-certificate","flaw":"expired"}}"#).unwrap();
        assert_eq!(minimal, WireFault::new(WireEffect::BadCertificate { flaw: ServerFlaw::Expired }));
        for (answer, json) in [
            (BindAnswer::Preferred, r#""preferred""#),
            (BindAnswer::Retry, r#""retry""#),
            (BindAnswer::RetryLater, r#""retry-later""#),
            (BindAnswer::Error("no".to_owned()), r#"{"error":"no"}"#),
            (BindAnswer::UnknownType, r#""unknown-type""#),
            (BindAnswer::ProgUnavail, r#""prog-unavail""#),
            (BindAnswer::GarbageArgs, r#""garbage-args""#),
            (BindAnswer::Silence, r#""silence""#),
            (BindAnswer::ThreeInts, r#""three-ints""#),
            (BindAnswer::WrongXid, r#""wrong-xid""#),
            (BindAnswer::EndlessRecord, r#""endless-record""#),
            (BindAnswer::OversizedRecord, r#""oversized-record""#),
            (BindAnswer::MaxConnections(1), r#"{"max-connections":1}"#),
            (BindAnswer::ChangingMax, r#""changing-max""#),
        ] {
            let json = format!(r#"{{"kind":"bind-answer","answer":{json}}}"#);
            let effect = WireEffect::BindAnswer { answer };
            assert_eq!(serde_json::to_string(&effect).unwrap(), json);
            assert_eq!(serde_json::from_str::<WireEffect>(&json).unwrap(), effect);
        }
    }
}
