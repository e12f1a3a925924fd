//! How busy the file server was in the last minutes: calls and bytes a second, by file system and by connection.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::html::{bytes, escape, link};
use super::view::View;
use crate::nfs::ConnectionView;
use crate::world::ids::FileSystemId;

/// Time between two looks.
const STEP: Duration = Duration::from_secs(1);
/// Looks that are kept: two minutes.
const KEPT: usize = 120;
/// Most file systems, and most connections, that are followed; the oldest ones go first.
const MOST: usize = 256;
/// Most graphs on a page.
const SHOWN: usize = 8;
/// Height of a graph in its own units; a second is two units wide.
const HEIGHT: u64 = 40;

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    FileSystem(FileSystemId),
    Connection(u64),
}

/// Calls and bytes of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    calls: u64,
    bytes: u64,
}

impl Done {
    fn plus(self, other: Self) -> Self {
        Self { calls: self.calls + other.calls, bytes: self.bytes + other.bytes }
    }
}

#[derive(Debug, Default)]
struct History {
    /// What each connection had done at the last look.
    before: BTreeMap<u64, Done>,
    series: BTreeMap<Subject, VecDeque<Done>>,
}

/// What was done in the last two minutes.
#[derive(Debug, Default)]
pub(crate) struct Activity(Mutex<History>);

impl Activity {
    /// Notes what connections have done since the last look.
    fn look(&self, connections: &[ConnectionView]) {
        let mut step: BTreeMap<Subject, Done> = BTreeMap::new();
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = BTreeMap::new();
        for connection in connections {
            let now = Done { calls: connection.calls, bytes: connection.bytes_in + connection.bytes_out };
            let then = history.before.get(&connection.number).copied().unwrap_or_default();
            let done = Done { calls: now.calls - then.calls, bytes: now.bytes - then.bytes };
            before.insert(connection.number, now);
            step.insert(Subject::Connection(connection.number), done);
            if let Some(id) = connection.file_system_id.as_deref().and_then(FileSystemId::parse) {
                let sum = step.entry(Subject::FileSystem(id)).or_default();
                *sum = sum.plus(done);
            }
        }
        history.before = before;
        for (subject, done) in &step {
            let new = !history.series.contains_key(subject);
            if new && history.series.keys().filter(|known| same_kind(known, subject)).count() >= MOST {
                let oldest = history.series.keys().find(|known| same_kind(known, subject)).cloned();
                oldest.and_then(|oldest| history.series.remove(&oldest));
            }
            history.series.entry(subject.clone()).or_default().push_back(*done);
        }
        // Who has gone is idle, and forgotten when nothing of it is left to be seen.
        for (_, series) in history.series.iter_mut().filter(|(subject, _)| !step.contains_key(subject)) {
            series.push_back(Done::default());
        }
        history.series.retain(|_, series| {
            while series.len() > KEPT {
                series.pop_front();
            }
            series.iter().any(|done| *done != Done::default())
        });
    }

    fn of(&self, wanted: impl Fn(&Subject) -> bool) -> Vec<(Subject, Vec<Done>)> {
        let history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = history.series.iter().rev().filter(|(subject, _)| wanted(subject)).take(SHOWN);
        found.map(|(subject, series)| (subject.clone(), series.iter().copied().collect())).collect()
    }
}

fn same_kind(a: &Subject, b: &Subject) -> bool {
    matches!(
        (a, b),
        (Subject::Connection(_), Subject::Connection(_)) | (Subject::FileSystem(_), Subject::FileSystem(_))
    )
}

/// Looks at the connections every second until `stop`.
pub(crate) async fn watch(front: Arc<Front>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        front.activity.look(&front.files.connections().list());
    }
}

impl Front {
    /// The graphs of what a view is about: of all file systems, or of one and of its connections.
    pub(super) fn console_graphs(&self, view: &View, connections: &[ConnectionView]) -> String {
        let wanted = |subject: &Subject| match subject {
            Subject::Connection(number) => {
                let of_view = connections.iter().any(|connection| connection.number == *number);
                of_view && (view.connection.is_some() || view.file_system.is_some() || view.access_point.is_some())
            }
            Subject::FileSystem(id) => {
                let one = view.file_system.as_ref().is_none_or(|wanted| wanted == id);
                one && view.connection.is_none() && view.access_point.is_none()
            }
        };
        let mut out = String::from(
            "<section id=\"graphs\" aria-labelledby=\"graphs-title\"><h2 id=\"graphs-title\">Calls and bytes a second \
             <small>two minutes</small></h2>",
        );
        let shown = self.activity.of(wanted);
        if shown.is_empty() {
            out.push_str("<p class=\"none\">no client has sent anything</p>");
        }
        for (subject, series) in shown {
            let (name, address) = match &subject {
                Subject::FileSystem(id) => (id.to_string(), View::of_file_system(id).address()),
                Subject::Connection(number) => (format!("connection {number}"), View::of_connection(*number).address()),
            };
            let _ = write!(out, "<div class=\"graphs\"><h3>{}</h3>", link(&name, &address));
            let calls: Vec<u64> = series.iter().map(|done| done.calls).collect();
            graph(&mut out, &name, "calls a second", &calls, |count| count.to_string());
            let sizes: Vec<u64> = series.iter().map(|done| done.bytes).collect();
            graph(&mut out, &name, "bytes a second", &sizes, bytes);
            out.push_str("</div>");
        }
        out.push_str("</section>");
        out
    }
}

/// One graph; its caption says in words what it shows.
fn graph(out: &mut String, of: &str, what: &str, values: &[u64], show: impl Fn(u64) -> String) {
    let highest = values.iter().copied().max().unwrap_or(0);
    let now = values.last().copied().unwrap_or(0);
    let (now, most) = (show(now), show(highest));
    let width = 2 * KEPT;
    let _ = write!(
        out,
        "<figure><svg role=\"img\" aria-label=\"{}, {what}: {now} now, {most} at most\" viewBox=\"0 0 {width} {HEIGHT}\" \
         preserveAspectRatio=\"none\"><polyline points=\"",
        escape(of)
    );
    let begin = KEPT.saturating_sub(values.len());
    for (index, value) in values.iter().enumerate() {
        let height = u64::try_from(u128::from(*value) * u128::from(HEIGHT - 2) / u128::from(highest.max(1)));
        let _ = write!(out, "{},{} ", 2 * (begin + index), HEIGHT - 1 - height.unwrap_or(0));
    }
    let _ = write!(out, "\"/></svg><figcaption>{what}: {now} now, {most} at most</figcaption></figure>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(number: u64, file_system: &str, calls: u64) -> ConnectionView {
        ConnectionView {
            number,
            local: String::new(),
            remote: String::new(),
            tls: false,
            file_system_id: Some(file_system.to_owned()),
            access_point_id: None,
            mount_target_id: None,
            principal: None,
            refusal: None,
            partition: None,
            binding: None,
            client: None,
            since: jiff::Timestamp::UNIX_EPOCH,
            calls,
            bytes_in: 10 * calls,
            bytes_out: calls,
        }
    }

    fn calls(activity: &Activity, wanted: &Subject) -> Vec<u64> {
        let found = activity.of(|subject| subject == wanted);
        found.into_iter().flat_map(|(_, series)| series).map(|done| done.calls).collect()
    }

    #[test]
    fn what_was_done_between_two_looks_counts_for_connection_and_file_system() {
        let activity = Activity::default();
        let fs = Subject::FileSystem(FileSystemId::parse("fs-01234567").unwrap());
        activity.look(&[connection(1, "fs-01234567", 3), connection(2, "fs-01234567", 4)]);
        activity.look(&[connection(1, "fs-01234567", 5), connection(2, "fs-01234567", 4)]);
        activity.look(&[connection(1, "fs-01234567", 5)]);
        assert_eq!(calls(&activity, &fs), [7, 2, 0]);
        assert_eq!(calls(&activity, &Subject::Connection(1)), [3, 2, 0]);
        assert_eq!(calls(&activity, &Subject::Connection(2)), [4, 0, 0]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_idle_ones_are_forgotten() {
        let activity = Activity::default();
        let many: Vec<_> =
            (0..2 * MOST as u64).map(|number| connection(number, &format!("fs-{number:08x}"), 1)).collect();
        activity.look(&many);
        assert_eq!(activity.0.lock().unwrap().series.len(), 2 * MOST);
        for _ in 0..KEPT {
            activity.look(&[]);
        }
        let history = activity.0.lock().unwrap();
        assert!(history.series.is_empty() && history.before.is_empty());
    }

    #[test]
    fn a_graph_stays_in_its_box_and_says_what_it_shows() {
        let mut out = String::new();
        graph(&mut out, "<fs>", "calls a second", &[0, u64::MAX, 5], |count| count.to_string());
        assert!(out.contains("5 now, 18446744073709551615 at most") && out.contains("&lt;fs&gt;"), "{out}");
        let points = out.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!(points.trim(), "234,39 236,1 238,39");
    }
}
