//! A whole run: scenarios on this machine, then those in the lab, then the report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use tokio::process::Command;

use crate::budgets::judge;
use crate::machine;
use crate::report::{Measurement, Place, Report, SCHEMA};
use crate::scenarios::{ALL, Board, PASSES, Pass, Scenario, Setting};

/// What a guest needs besides its scenario: to boot and to end.
const BOOT: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of efs-csi-driver, fake-efs and csi-sanity.
    pub bin_dir: PathBuf,
    /// Only scenarios whose name contains this.
    pub filter: String,
    /// Tiny amounts.
    pub quick: bool,
    /// The script that runs a command in the lab, and the folder that the guest can write to.
    pub lab: Option<Lab>,
}

/// The lab.
#[derive(Clone, Debug)]
pub struct Lab {
    /// `e2e/vm/run`.
    pub script: PathBuf,
    /// Written by the guest, read by us.
    pub artifacts: PathBuf,
}

/// Runs all scenarios and judges the budgets.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    let begin = Instant::now();
    let started = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let machine = machine::this();
    let mut measurements: Vec<Measurement> = Vec::new();
    for pass in 0..PASSES {
        let mut taken = at(Place::Host, options, pass).await?;
        taken.extend(in_lab(options, pass).await);
        for later in taken {
            match measurements.iter_mut().find(|earlier| earlier.id == later.id) {
                Some(earlier) => earlier.add(later),
                None => measurements.push(later),
            }
        }
    }
    Ok(Report {
        schema: SCHEMA,
        started,
        seconds: begin.elapsed().as_secs_f64(),
        quick: options.quick,
        command: if options.quick { "just bench --quick" } else { "just bench" }.to_owned(),
        machine,
        versions: versions(&options.bin_dir),
        budgets: judge(&measurements),
        measurements,
    })
}

/// Runs the scenarios that belong to `place` and have such a pass in this process.
pub async fn at(place: Place, options: &Options, pass: usize) -> anyhow::Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for (scenario, pass) in chosen(place, options, pass) {
        let begin = Instant::now();
        eprint!("bench: {}, {} of {} …", scenario.name(), pass.number + 1, pass.of);
        let dir = tempfile::Builder::new().prefix("efs-bench.").tempdir()?;
        let setting = Setting {
            bin_dir: options.bin_dir.clone(),
            program: std::env::current_exe().context("finding this program")?,
            dir: dir.path().to_owned(),
            quick: options.quick,
            pass,
        };
        let mut board = Board::new(place);
        scenario.declare(&mut board);
        let result = tokio::time::timeout(scenario.limit(), scenario.run(&setting, &mut board)).await;
        let result = result.unwrap_or_else(|_| Err(anyhow::anyhow!("not done within {:?}", scenario.limit())));
        match result {
            Ok(()) => eprintln!(" {:.0} s", begin.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!(" failed: {error:#}");
                board.fail(&first_line(&error));
                if place == Place::Lab {
                    // Removing a folder with a mount in it could hang; it goes with the guest.
                    let _kept = dir.keep();
                }
            }
        }
        all.extend(board.measurements);
    }
    Ok(all)
}

/// The scenarios that were asked for, belong to `place` and have a pass of this number. A smoke test has one.
fn chosen(place: Place, options: &Options, number: usize) -> impl Iterator<Item = (Scenario, Pass)> {
    let here = ALL.iter().copied().filter(move |s| s.place() == place && s.name().contains(&options.filter));
    let with_pass = here.map(move |s| (s, Pass { number, of: if options.quick { 1 } else { s.passes() } }));
    with_pass.filter(|(_, pass)| pass.number < pass.of)
}

fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// Runs each scenario of the lab in a guest of its own, so that a mount that hangs in one can't spoil the next. A scenario
/// whose guest can't run leaves rows that say so.
async fn in_lab(options: &Options, pass: usize) -> Vec<Measurement> {
    let mut all = Vec::new();
    for (scenario, pass) in chosen(Place::Lab, options, pass) {
        let answer = match &options.lab {
            None => Err(anyhow::anyhow!("the lab was not asked for")),
            Some(lab) => guest(lab, options, scenario, pass).await,
        };
        all.extend(answer.unwrap_or_else(|error| {
            eprintln!("bench: {} in the lab: {error:#}", scenario.name());
            let mut board = Board::new(Place::Lab);
            scenario.declare(&mut board);
            board.fail(&first_line(&error));
            board.measurements
        }));
    }
    all
}

async fn guest(lab: &Lab, options: &Options, scenario: Scenario, pass: Pass) -> anyhow::Result<Vec<Measurement>> {
    let file = lab.artifacts.join(format!("bench-{}.json", scenario.name()));
    if file.exists() {
        std::fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
    }
    let limit = scenario.limit() + BOOT;
    let mut command = Command::new(&lab.script);
    command.arg("--timeout").arg(limit.as_secs().to_string()).arg(std::env::current_exe()?).arg("lab");
    command.arg("--bin-dir").arg(&options.bin_dir).arg("--out").arg(&file).arg(format!("--filter={}", scenario.name()));
    command.arg("--pass").arg(pass.number.to_string());
    if options.quick {
        command.arg("--quick");
    }
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await.context("starting the lab")?;
    ensure!(status.success(), "the lab ended with {status}");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).context("parsing the measurements of the lab")
}

fn versions(bin_dir: &Path) -> BTreeMap<String, String> {
    let driver = bin_dir.join("efs-csi-driver");
    let driver = driver.to_string_lossy();
    let programs: [(&str, &str, &[&str]); 8] = [
        ("efs-csi-driver", &driver, &["--version"]),
        ("rustc", "rustc", &["--version"]),
        ("git commit", "git", &["rev-parse", "HEAD"]),
        ("stunnel4", "stunnel4", &["-version"]),
        ("nfs-ganesha", "ganesha.nfsd", &["-v"]),
        ("knfsd (nfs-utils)", "mount.nfs", &["-V"]),
        ("python3", "python3", &["--version"]),
        ("lab kernel", "linux.uml", &["--version"]),
    ];
    programs
        .into_iter()
        .map(|(name, program, arguments)| {
            let program =
                crate::peers::program(program).map_or_else(|| program.to_owned(), |p| p.display().to_string());
            let version = machine::version(&program, arguments);
            (name.to_owned(), version.unwrap_or_else(|| "not installed".to_owned()))
        })
        .collect()
}
