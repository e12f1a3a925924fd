//! All checks: those of the Go suite under its numbers and titles, and ours from 101 on.

use crate::check::Check;

mod attach;
mod create_volume;
mod delete_volume;
mod expand;
mod extra;
mod group_snapshots;
mod identity;
mod list_snapshots;
mod list_volumes;
mod modify;
mod node_expand;
mod node_flow;
mod node_health;
mod node_info;
mod node_publish;
mod node_stage;
mod node_stats;
mod snapshots;
mod validate;

/// Every check, by number.
#[must_use]
pub fn all() -> Vec<Check> {
    [
        identity::CHECKS,
        list_volumes::CHECKS,
        create_volume::CHECKS,
        delete_volume::CHECKS,
        validate::CHECKS,
        attach::CHECKS,
        list_snapshots::CHECKS,
        snapshots::CHECKS,
        expand::CHECKS,
        modify::CHECKS,
        node_info::CHECKS,
        node_publish::CHECKS,
        node_stage::CHECKS,
        node_stats::CHECKS,
        node_expand::CHECKS,
        node_flow::CHECKS,
        group_snapshots::CHECKS,
        node_health::CHECKS,
        extra::publish_table::CHECKS,
        extra::concurrency::CHECKS,
        extra::paging::CHECKS,
        extra::conditions::CHECKS,
        extra::capacity::CHECKS,
        extra::names::CHECKS,
        extra::secrets::CHECKS,
        extra::errors::CHECKS,
        extra::undeclared::CHECKS,
        extra::limits::CHECKS,
        extra::groups::CHECKS,
        extra::restart::CHECKS,
        extra::health::CHECKS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::check::Group;

    #[test]
    fn the_go_suite_has_its_99_checks_in_order_and_one_is_pending() {
        let checks: Vec<Check> = all().into_iter().filter(|check| check.group == Group::Go).collect();
        let numbers: Vec<u16> = checks.iter().map(|check| check.number).collect();
        assert_eq!(numbers, (1..=99).collect::<Vec<_>>());
        let pending: Vec<u16> = checks.iter().filter(|check| check.pending()).map(|check| check.number).collect();
        assert_eq!(pending, [9]);
    }

    #[test]
    fn the_areas_have_as_many_checks_as_the_go_suite() {
        use crate::check::Area;
        let count = |area| all().iter().filter(|check| check.group == Group::Go && check.area == area).count();
        assert_eq!([Area::Identity, Area::Controller, Area::Node, Area::Group].map(count), [3, 63, 27, 6]);
    }

    #[test]
    fn numbers_and_names_are_unique_and_every_check_states_its_rule() {
        let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
        for check in all() {
            assert!(numbers.insert(check.number), "{check:?}");
            assert!(names.insert(check.name()), "{check:?}");
            assert!(check.rule.len() > 20 && check.rule.ends_with('.'), "{check:?}");
        }
    }
}
