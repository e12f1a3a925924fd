//! Ginkgo's choice of checks by the Go suite's source files, `--ginkgo.focus-file` and `--ginkgo.skip-file`.

use std::{ops::Range, str::FromStr};

use regex_lite::Regex;

use crate::{
    check::{Check, Group},
    config::Spec,
};

/// A file of the Go suite, and perhaps lines in it: `file (regexp)`, `file:line`, `file:lineA-lineB` (without lineB) or several
/// of these after commas. A check is where its `It` stands.
#[derive(Debug, Clone)]
pub struct FileFilter {
    file: Regex,
    lines: Vec<Range<u32>>,
}

impl FileFilter {
    /// Whether the check is there. Ours are in none of the Go suite's files.
    #[must_use]
    pub fn matches(&self, check: &Check) -> bool {
        let line = origin(check).map(|(_, line)| line);
        let in_lines = || line.is_some_and(|line| self.lines.iter().any(|lines| lines.contains(&line)));
        file(check).is_some_and(|file| self.file.is_match(file)) && (self.lines.is_empty() || in_lines())
    }
}

impl FromStr for FileFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a file filter: give file.go, file.go:10 or file.go:10-20,30");
        let line = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
        let (file, lines) = text.split_once(':').map_or((text, None), |(file, lines)| (file, Some(lines)));
        let lines = lines.map_or(Ok(vec![]), |lines| {
            let ranges = lines.split(',').map(|part| match part.split_once('-') {
                Some((first, end)) => Ok(line(first)?..line(end)?),
                None => line(part).map(|only| only..only.saturating_add(1)),
            });
            ranges.collect::<Result<Vec<_>, String>>()
        })?;
        let file = Regex::new(file).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self { file, lines })
    }
}

/// The file of a check in kubernetes-csi/csi-test, `pkg/sanity`.
fn file(check: &Check) -> Option<&'static str> {
    // Those that v5.6.0 has added; their lines are not known.
    let added = check.group() == Group::Go && check.since > Spec::V1_12;
    origin(check).map(|(file, _)| file).or_else(|| added.then_some("node.go"))
}

/// The file and line of a check in kubernetes-csi/csi-test v5.5.0, `pkg/sanity`.
#[must_use]
pub(crate) fn origin(check: &Check) -> Option<(&'static str, u32)> {
    if check.group() != Group::Go {
        return None;
    }
    let mut index = usize::from(check.number()).checked_sub(1)?;
    for (file, lines) in FILES {
        match lines.get(index) {
            Some(line) => return Some((file, *line)),
            None => index -= lines.len(),
        }
    }
    None
}

/// Where the checks 1 to 96 stand.
const FILES: [(&str, &[u32]); 4] = [
    ("identity.go", &[47, 83, 104]),
    (
        "controller.go",
        &[
            124, 166, 183, 195, 205, 256, 348, 359, 373, 384, 404, 425, 453, 465, 501, 520, 544, 563, 576, 599, 610,
            622, 648, 658, 679, 711, 734, 745, 757, 770, 810, 827, 859, 909, 913, 925, 957, 974, 1010, 1024, 1062,
            1076, 1116, 1208, 1221, 1255, 1288, 1300, 1307, 1340, 1354, 1368, 1382, 1399, 1434, 1440, 1449, 1485, 1491,
            1497, 1517, 1533, 1550,
        ],
    ),
    (
        "node.go",
        &[
            321, 359, 376, 386, 397, 417, 459, 467, 477, 549, 564, 579, 612, 622, 640, 650, 660, 671, 714, 725, 740,
            751, 805, 812,
        ],
    ),
    ("groupcontroller.go", &[90, 156, 168, 178, 191, 201]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks;

    fn chosen(filter: &str) -> Vec<u16> {
        let filter: FileFilter = filter.parse().unwrap();
        checks::all().iter().filter(|check| filter.matches(check)).map(Check::number).collect()
    }

    #[test]
    fn every_check_of_the_go_suite_has_its_place_and_ours_have_none() {
        for check in checks::all() {
            assert_eq!(origin(&check).is_some(), check.number() <= 96, "{check:?}");
        }
        let place = |number| origin(checks::all().iter().find(|check| check.number() == number).unwrap());
        assert_eq!(place(1), Some(("identity.go", 47)));
        assert_eq!(place(66), Some(("controller.go", 1550)));
        assert_eq!(place(67), Some(("node.go", 321)));
        assert_eq!(place(96), Some(("groupcontroller.go", 201)));
    }

    #[test]
    fn files_and_lines_choose_as_in_ginkgo() {
        assert_eq!(chosen("identity.go"), [1, 2, 3]);
        assert_eq!(chosen("^identity"), [1, 2, 3]);
        assert_eq!(chosen("node.go:359"), [68]);
        assert_eq!(chosen("node.go"), (67..=90).chain(97..=99).collect::<Vec<_>>());
        assert_eq!(chosen("node.go:321-376,812"), [67, 68, 90], "the end of a range is not in it");
        assert_eq!(chosen("nosuch.go"), Vec::<u16>::new());
    }

    #[test]
    fn broken_filters_are_refused() {
        for text in ["a.go:", "a.go:x", "a.go:1-", "(", "a.go:1,,2"] {
            assert!(text.parse::<FileFilter>().is_err(), "{text}");
        }
    }
}
