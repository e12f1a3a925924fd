//! What an access point means, row by row, on the kernel's NFS client: its root, who one is behind it, what the file
//! system's policy grants, and what happens when it goes away.

#[path = "../kernel_support/lab.rs"]
mod lab;

mod identity;
mod policy;
mod principals;
mod removal;
mod roots;
mod scene;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::lab::{mounts, report};
use crate::scene::{Row, Scene};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let rows: Vec<Row> = [roots::ROWS, identity::ROWS, policy::ROWS, principals::ROWS, removal::ROWS].concat();
    let scene = Scene::shared();
    let mut trials = vec![documentation(&rows)];
    trials.extend(match mounts::unavailable() {
        Some(reason) => vec![report::skipped("access_points", reason.to_owned(), true)],
        None => rows
            .into_iter()
            .map(|(name, check)| {
                let scene = scene.clone();
                report::trial(name, move || scene.with(name, check))
            })
            .collect(),
    });
    let code = report::run(arguments, trials);
    scene.close();
    code
}

/// The page lists exactly the rows that there are.
fn documentation(rows: &[Row]) -> Trial {
    let names: Vec<&str> = rows.iter().map(|row| row.0).collect();
    report::trial("the_documentation_lists_all_rows", move || {
        let page = include_str!("../../docs/access-points.md");
        let listed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("* `")?.strip_suffix('`')).collect();
        anyhow::ensure!(listed == names, "docs/access-points.md lists {listed:#?}, there are {names:#?}");
        Ok(())
    })
}
