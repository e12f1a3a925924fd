//! The promises of the design and whether a run keeps them.

use Rule::{AtMost, AtMostMore, RatioAtLeast, RatioAtMost};

use crate::peers::nfs_servers::GANESHA;
use crate::peers::{moto, stunnel};
use crate::report::Measurement;
use crate::scenarios::{api, controller, directories, pods, publish, several, tunnel, walker};
use crate::stats::Summary;
use crate::verdict::{Outcome, Verdict};

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Our median is at most this.
    AtMost(f64),
    /// The median ratio to the peer is at most this.
    RatioAtMost(f64, &'static str),
    /// The median is at most this much more than the peer's.
    AtMostMore(f64, &'static str),
    /// The median ratio to the peer is at least this.
    RatioAtLeast(f64, &'static str),
}

/// One promise.
#[derive(Debug)]
struct Budget {
    what: &'static str,
    measurement: &'static str,
    rule: Rule,
    upstream: &'static str,
}

const fn budget(what: &'static str, measurement: &'static str, rule: Rule, upstream: &'static str) -> Budget {
    Budget { what, measurement, rule, upstream }
}

/// All promises. `upstream` is what the Go driver and its helpers took when they were measured, elsewhere and earlier.
const BUDGETS: &[Budget] = &[
    budget(
        "memory per further mounted TLS volume, idle",
        "memory.volume",
        AtMost(128.0),
        "12.8 MiB efs-proxy (71–88 MiB after some I/O), 9.5 MiB stunnel",
    ),
    budget("driver, idle RSS", "memory.driver", AtMost(12.0), "42 MB and a Python watchdog of 24 MiB"),
    budget("driver, start to first Probe", "start.probe", AtMost(25.0), "51 ms"),
    budget("EFS calls per CreateVolume, no access points", "create.calls.0", AtMost(1.0), "2 and more"),
    budget("EFS calls per CreateVolume, 900 access points", "create.calls.900", AtMost(1.0), "more than with none"),
    budget(
        "EFS calls per CreateVolume, 9,000 access points",
        "create.calls.9000",
        AtMost(1.0),
        "growing with the number of access points",
    ),
    budget(
        "CreateVolume at 9,000 access points",
        "create.latency",
        RatioAtMost(1.2, controller::EMPTY),
        "46 creates/s at 900 access points, 5/s at 9,900",
    ),
    budget("duplicate GIDs in 1,000 concurrent creates", "create.duplicates", AtMost(0.0), "282–290 of 320"),
    budget("access points doubled or left under faults, 1,000 volumes", "create.faults", AtMost(0.0), "–"),
    budget("controller, RSS after 10,000 volumes", "memory.controller", AtMost(40.0), "–"),
    budget(
        "CreateVolume of a directory, 32 at a time",
        "directory.create.32",
        RatioAtMost(2.0, directories::ACCESS_POINT),
        "–",
    ),
    budget(
        "DeleteVolume of a directory, 32 at a time",
        "directory.delete.32",
        RatioAtMost(5.0, directories::ACCESS_POINT),
        "–",
    ),
    budget(
        "100 claims deleted at once with their directories, the last",
        "directory.delete.claims",
        AtMost(15_000.0),
        "–",
    ),
    budget(
        "CreateVolume of a directory beside 5,000 others",
        "directory.full",
        RatioAtMost(1.2, directories::EMPTY),
        "–",
    ),
    budget("STS calls of 10 creates and 10 deletes with a role", "directory.sts", AtMost(2.0), "–"),
    budget(
        "NodePublishVolume, median",
        "publish.one",
        RatioAtMost(2.0, publish::BARE),
        "0.25 s of CPU to start Python; 1.5–5.7 s in the lab",
    ),
    budget("NodePublishVolume, 50 at once, 99th percentile", "publish.fifty.p99", RatioAtMost(5.0, publish::BARE), "–"),
    budget("NodeUnpublishVolume, median", "unpublish.one", RatioAtMost(1.5, publish::UMOUNT), "–"),
    budget("NodeGetVolumeHealth with every server frozen, 99th percentile", "health.frozen.p99", AtMost(10.0), "–"),
    budget("NodePublishVolume again, for a fresh token, at 200 mounts", "republish.many", AtMost(5.0), "–"),
    budget("memory per further mount with an identity of its own", "memory.identity", AtMost(128.0), "–"),
    budget("tunnel throughput, one stream, sending", "tunnel.send.1", RatioAtLeast(1.5, stunnel::NAME), "1 ×"),
    budget("tunnel throughput, one stream, receiving", "tunnel.receive.1", RatioAtLeast(1.5, stunnel::NAME), "1 ×"),
    budget("tunnel throughput, eight streams, sending", "tunnel.send.8", RatioAtLeast(1.5, stunnel::NAME), "1 ×"),
    budget("tunnel throughput, eight streams, receiving", "tunnel.receive.8", RatioAtLeast(1.5, stunnel::NAME), "1 ×"),
    budget(
        "answers beside a stream of calls, 99th percentile",
        "tunnel.turns.p99",
        RatioAtMost(3.0, tunnel::BARE),
        "–",
    ),
    budget("stall of running I/O when the driver is killed", "recovery.stall", AtMost(1000.0), "minutes, or for ever"),
    budget(
        "stall of I/O on 100 volumes when the driver is killed",
        "recovery.stall.many",
        AtMost(1000.0),
        "minutes, or for ever",
    ),
    budget("stall of running I/O when a successor takes over", "recovery.handover", AtMost(100.0), "–"),
    budget(
        "rolling update, 1 volume",
        "pods.update",
        AtMostMore(500.0, pods::UNDISTURBED),
        "4.6 s, this driver before",
    ),
    budget("rolling update, 100 volumes", "pods.update.many", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("update whose pod never gets ready, 1 volume", "pods.failed", RatioAtMost(1.5, pods::UNDISTURBED), "–"),
    budget(
        "update whose pod never gets ready, 100 volumes",
        "pods.failed.many",
        RatioAtMost(1.5, pods::UNDISTURBED),
        "–",
    ),
    budget(
        "pod deleted by force, 1 volume",
        "pods.force",
        AtMostMore(500.0, pods::UNDISTURBED),
        "11 s, this driver before",
    ),
    budget("pod deleted by force, 100 volumes", "pods.force.many", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("container out of memory, 1 volume", "pods.memory", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("container out of memory, 100 volumes", "pods.memory.many", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("liveness kill, 1 volume", "pods.hung", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("liveness kill, 100 volumes", "pods.hung.many", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("data plane killed, 1 volume", "pods.plane", AtMostMore(150.0, pods::UNDISTURBED), "–"),
    budget("data plane killed, 100 volumes", "pods.plane.many", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("five connections of 40 MiB/s, sequential write", "several.write", RatioAtLeast(4.5, several::ONE), "–"),
    budget("five connections of 40 MiB/s, sequential read", "several.read", RatioAtLeast(4.5, several::ONE), "–"),
    budget("five connections of 8 MiB/s, sequential write", "several.slow.write", RatioAtLeast(4.5, several::ONE), "–"),
    budget("five connections of 8 MiB/s, sequential read", "several.slow.read", RatioAtLeast(4.5, several::ONE), "–"),
    budget("first further connection of a busy mount", "several.first", AtMost(5.0), "–"),
    budget("/healthz with a frozen state disk", "pods.frozen.health", AtMost(1000.0), "–"),
    budget("I/O with a frozen state disk", "pods.frozen.stall", AtMostMore(500.0, pods::UNDISTURBED), "–"),
    budget("statistics walker over 1,000,000 files", "walker.tree", RatioAtMost(0.5, walker::DU), "–"),
    budget("image, compressed", "image.size", AtMost(15.0), "more than ten times that"),
    budget("fake-efs, CreateAccessPoint", "api.create", RatioAtLeast(50.0, moto::NAME), "–"),
    budget("fake-efs, DescribeAccessPoints", "api.describe", RatioAtLeast(50.0, moto::NAME), "–"),
    budget("fake-efs, CreateAccessPoint at 10,000", "api.create.full", RatioAtMost(1.2, api::FEW), "–"),
    budget("fake-efs, DescribeAccessPoints at 10,000", "api.describe.full", RatioAtMost(1.2, api::FEW), "–"),
    budget("fake-efs, 5,000 idle connections, plain", "fake.idle.plain", AtMost(100.0), "–"),
    budget("fake-efs, 5,000 idle connections, TLS", "fake.idle.tls", AtMost(100.0), "–"),
    budget("fake NFS server, sequential write", "nfs.write", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, sequential read", "nfs.read", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, random writes with fsync", "nfs.random.write", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, random reads", "nfs.random.read", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, files made and removed", "nfs.metadata", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, walk over 50,000 files", "nfs.find", RatioAtLeast(1.0, GANESHA), "–"),
    budget("fake NFS server, 16 writers", "nfs.writers", RatioAtLeast(1.0, GANESHA), "–"),
    budget("csi-sanity, whole suite against the driver", "sanity.suite", AtMost(20.0), "–"),
];

/// Judges every budget by these measurements.
pub fn judge(measurements: &[Measurement]) -> Vec<Verdict> {
    BUDGETS.iter().map(|budget| budget.judge(measurements)).collect()
}

impl Budget {
    fn judge(&self, measurements: &[Measurement]) -> Verdict {
        let found = measurements.iter().find(|measurement| measurement.id == self.measurement);
        let unit = found.map_or("", |measurement| measurement.unit.as_str());
        let text = match self.rule {
            AtMost(limit) => format!("≤ {limit} {unit}").trim_end().to_owned(),
            RatioAtMost(limit, peer) => format!("≤ {limit} × {peer}"),
            AtMostMore(limit, peer) => format!("≤ {limit} {unit} more than {peer}"),
            RatioAtLeast(limit, peer) => format!("≥ {limit} × {peer}"),
        };
        let value = found.ok_or_else(|| "the scenario did not run".to_owned()).and_then(|m| self.value(m));
        let (value, outcome, reason) = match value {
            Ok(value) => (Some(value), self.outcome(&value), None),
            Err(reason) => (None, Outcome::NotMeasured, Some(reason)),
        };
        Verdict {
            what: self.what.to_owned(),
            budget: text,
            measurement: self.measurement.to_owned(),
            value,
            upstream: self.upstream.to_owned(),
            outcome,
            reason,
        }
    }

    fn value(&self, measurement: &Measurement) -> Result<Summary, String> {
        let ours = &measurement.ours;
        let nothing = || ours.missing.clone().unwrap_or_else(|| "no samples".to_owned());
        match self.rule {
            AtMost(_) => ours.summary().ok_or_else(nothing),
            RatioAtMost(_, name) | RatioAtLeast(_, name) | AtMostMore(_, name) => {
                if ours.samples.is_empty() {
                    return Err(nothing());
                }
                let peer = measurement.peer(name).ok_or_else(|| format!("{name} was not asked"))?;
                let value = match self.rule {
                    AtMostMore(..) => measurement.excess(peer),
                    _ => measurement.ratio(peer),
                };
                value.ok_or_else(|| format!("{name}: {}", peer.missing.as_deref().unwrap_or("no samples")))
            }
        }
    }

    fn outcome(&self, value: &Summary) -> Outcome {
        let keeps = |number: f64| match self.rule {
            AtMost(limit) | RatioAtMost(limit, _) | AtMostMore(limit, _) => number <= limit,
            RatioAtLeast(limit, _) => number >= limit,
        };
        match (keeps(value.median), keeps(value.low) && keeps(value.high)) {
            (true, true) => Outcome::Holds,
            (true, false) => Outcome::Close,
            (false, _) => Outcome::Misses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Better, Place, Series};

    fn measurement(id: &str, ours: &[f64], peer: Series) -> Measurement {
        Measurement {
            id: id.to_owned(),
            title: String::new(),
            place: Place::Host,
            unit: "MiB/s".to_owned(),
            better: Better::Higher,
            method: String::new(),
            ours: Series::of("ours", ours.to_vec()),
            peers: vec![peer],
        }
    }

    fn send(ours: &[f64], peer: Series) -> Verdict {
        let verdicts = judge(&[measurement("tunnel.send.1", ours, peer)]);
        verdicts.into_iter().find(|verdict| verdict.measurement == "tunnel.send.1").unwrap()
    }

    #[test]
    fn a_ratio_is_judged_by_its_median_and_its_spread() {
        let peer = || Series::of("stunnel4", vec![100.0, 100.0, 100.0]);
        assert_eq!(send(&[168.0, 170.0, 172.0], peer()).outcome, Outcome::Holds);
        assert_eq!(send(&[140.0, 170.0, 180.0], peer()).outcome, Outcome::Close);
        assert_eq!(send(&[140.0, 149.0, 180.0], peer()).outcome, Outcome::Misses);
    }

    #[test]
    fn what_is_more_than_the_peer_is_judged_round_by_round() {
        let judged = |ours: &[f64]| {
            let peer = Series::of(pods::UNDISTURBED, vec![100.0, 900.0, 200.0]);
            let verdicts = judge(&[measurement("pods.update", ours, peer)]);
            verdicts.into_iter().find(|verdict| verdict.measurement == "pods.update").unwrap()
        };
        assert_eq!(judged(&[500.0, 1300.0, 600.0]).outcome, Outcome::Holds);
        assert_eq!(judged(&[601.0, 1401.0, 701.0]).outcome, Outcome::Misses);
        assert_eq!(judged(&[601.0, 1401.0, 701.0]).value.unwrap().median, 501.0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let verdict = send(&[1.0], Series::missing("stunnel4", "it is not installed"));
        assert_eq!((verdict.outcome, verdict.value), (Outcome::NotMeasured, None));
        assert_eq!(verdict.reason.unwrap(), "stunnel4: it is not installed");
        assert!(judge(&[]).iter().all(|verdict| verdict.outcome == Outcome::NotMeasured && verdict.reason.is_some()));
    }

    #[test]
    fn an_absolute_budget_is_judged_by_our_own_median() {
        let verdicts = judge(&[measurement("memory.volume", &[100.0], Series::new("stunnel4"))]);
        assert_eq!(verdicts[0].outcome, Outcome::Holds);
        let verdicts = judge(&[measurement("memory.volume", &[129.0], Series::new("stunnel4"))]);
        assert_eq!(verdicts[0].outcome, Outcome::Misses);
    }
}
