//! Where a server does not do what a case says, and why.

use libtest_mimic::Trial;

use crate::lab::report;

/// Whether a difference shows in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Yes: agreement would be news.
    Always,
    /// It depends on timing.
    Sometimes,
}

/// A row: the peers, the case, when it shows, the reason.
type Difference = (&'static [&'static str], &'static str, Shows, &'static str);

const LINUX: &[&str] = &["tmpfs", "ganesha", "knfsd"];

/// All differences that we know and accept. `docs/posix.md` shows the same table.
const DIFFERENCES: &[Difference] = &[
    (
        LINUX,
        "attributes::efs_is_eight_exbibytes_large",
        Shows::Always,
        "they tell the size of the tmpfs; EFS says 8 EiB whatever it holds",
    ),
    (
        LINUX,
        "attributes::efs_counts_no_inodes",
        Shows::Always,
        "they tell the inodes of the tmpfs; EFS does not support the `files_*` attributes",
    ),
    (
        LINUX,
        "special::efs_makes_no_devices",
        Shows::Always,
        "Linux keeps device files; EFS refuses CREATE of block and character devices",
    ),
    (
        LINUX,
        "times::reading_does_not_change_the_access_time",
        Shows::Always,
        "a Linux file system with `relatime` renews an access time that is older than a day; EFS never does",
    ),
    (
        &["ganesha"],
        "times::the_times_of_a_symbolic_link_can_be_set",
        Shows::Always,
        "its VFS back end does not set the times of symbolic links",
    ),
    (
        &["ganesha", "knfsd"],
        "sharing::a_reopened_file_shows_each_new_version",
        Shows::Sometimes,
        "their change attribute is the change time of a tmpfs, which moves in ticks; two versions in one tick look alike",
    ),
    (
        &["ganesha", "knfsd"],
        "directories::entries_change_the_time_of_their_directory",
        Shows::Sometimes,
        "as above: the client asks no more about a directory whose change attribute did not move",
    ),
    (
        &["ganesha", "knfsd"],
        "locks::a_lock_makes_read_and_write_one_step",
        Shows::Sometimes,
        "as above: after locking, the client keeps cached data when the change attribute did not move",
    ),
];

/// Why this peer fails this case, if it is expected to.
pub(crate) fn reason(peer: &str, case: &str) -> Option<(Shows, &'static str)> {
    DIFFERENCES.iter().find(|row| row.0.contains(&peer) && row.1 == case).map(|row| (row.2, row.3))
}

/// Checks that the documentation shows this table and that its rows mean something.
pub(crate) fn documentation_trials() -> Vec<Trial> {
    let shown = report::trial("differences::the_documentation_lists_them_all", || {
        let page = include_str!("../../docs/posix.md");
        let row = |(peers, case, shows, reason): &Difference| {
            let shows = if *shows == Shows::Always { "always" } else { "sometimes" };
            format!("| {} | `{case}` | {shows} | {reason} |", peers.join(", "))
        };
        let rows: Vec<String> = DIFFERENCES.iter().map(row).collect();
        for row in &rows {
            anyhow::ensure!(page.contains(row), "docs/posix.md lacks the row\n{row}");
        }
        let shown = page.lines().filter(|line| line.starts_with("| ") && line.contains("::")).count();
        anyhow::ensure!(shown == rows.len(), "docs/posix.md shows {shown} differences, there are {}", rows.len());
        Ok(())
    });
    let known = report::trial("differences::each_names_a_peer_and_a_case", || {
        let cases = crate::cases::all();
        let peers = crate::peers::all();
        for (names, case, ..) in DIFFERENCES {
            for name in *names {
                anyhow::ensure!(peers.iter().any(|it| it.name == *name), "no peer {name}");
            }
            anyhow::ensure!(cases.iter().any(|it| it.name == *case), "no case {case}");
        }
        Ok(())
    });
    vec![shown, known]
}
