//! `efs-csi-sanity-lab`: csi-sanity against our own driver in every setup. Run it with `just sanity`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use efs_csi_e2e::sanity::{SETUPS, Totals, restarts, run};

/// Starts fake-efs and the driver, runs csi-sanity against them, and sums up.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Folder with the executables efs-csi-driver, fake-efs and csi-sanity.
    #[arg(long, value_name = "DIR", required_unless_present = "restart_through")]
    bin_dir: Option<PathBuf>,
    /// Folder for the JUnit and JSON reports.
    #[arg(long, value_name = "DIR", required_unless_present = "restart_through")]
    reports: Option<PathBuf>,
    /// How often a check that failed is repeated, as with cargo-nextest; one that then passes is named as flaky.
    #[arg(long, env = "NEXTEST_RETRIES", default_value_t = 0, value_name = "N")]
    retries: u32,
    /// Run only the setups whose name contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// What csi-sanity runs to restart the drivers of the run that listens here.
    #[arg(long, value_name = "SOCKET", hide = true)]
    restart_through: Option<PathBuf>,
    /// Further arguments of csi-sanity, after `--`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (&cli.restart_through, &cli.bin_dir, &cli.reports) {
        (Some(socket), ..) => restarts::ask(socket).await.map(|()| true),
        (None, Some(binaries), Some(reports)) => all(&cli, binaries, reports).await,
        _ => Err(anyhow::anyhow!("--bin-dir and --reports are needed")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("sanity: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn all(cli: &Cli, binaries: &Path, reports: &Path) -> anyhow::Result<bool> {
    let dir = tempfile::Builder::new().prefix("efs-sanity.").tempdir()?;
    let mut sum = Totals::default();
    let mut arguments = vec![format!("--flake-attempts={}", cli.retries + 1)];
    arguments.extend_from_slice(&cli.arguments);
    let mut skips = BTreeMap::new();
    for setup in SETUPS.iter().filter(|setup| setup.name.contains(&cli.filter)) {
        let outcome = run(setup, binaries, &dir.path().join(setup.name), reports, &arguments).await?;
        for line in &outcome.flaky {
            println!("FLAKY {}: {line}", setup.name);
        }
        for line in &outcome.wrong {
            println!("FAILED {}: {line}", setup.name);
        }
        for (reason, numbers) in outcome.skips {
            skips.entry((reason, numbers)).or_insert_with(Vec::new).push(setup.name);
        }
        sum += outcome.totals;
    }
    for ((reason, numbers), setups) in skips {
        let numbers: Vec<String> = numbers.iter().map(|number| format!("#{number}")).collect();
        println!("SKIP csi-sanity {} in {} setups: {reason}", numbers.join(" "), setups.len());
    }
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}
