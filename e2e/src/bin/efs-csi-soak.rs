//! `efs-csi-soak`: everything at once, for as long as wanted. Run it with `just soak SECONDS`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use efs_csi_e2e::soak::{Options, io, run};

/// Publishes, writes, verifies and unpublishes volumes while connections, the server and the driver fail.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// How long there is disorder; start and end come on top.
    seconds: u64,
    /// Folder with the executables efs-csi-driver, fake-efs and efs-csi-soak.
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,
    /// Folder that keeps the log of actions, soak.log.
    #[arg(long, value_name = "DIR")]
    log_dir: PathBuf,
    /// Chooses what happens; at random if missing.
    #[arg(long)]
    seed: Option<u64>,
    /// How many volumes.
    #[arg(long, default_value_t = 30)]
    volumes: usize,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == io::COMMAND) {
        return io::main();
    }
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("soak: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(soak(cli))
}

async fn soak(cli: Cli) -> ExitCode {
    let dir = match tempfile::Builder::new().prefix("efs-soak.").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("soak: can't make a temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let seed = cli.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("soak: {} s of disorder over {} volumes, --seed {seed}", cli.seconds, cli.volumes);
    let time = Duration::from_secs(cli.seconds);
    let options = Options { bin_dir: cli.bin_dir, time, seed, volumes: cli.volumes };
    let begin = Instant::now();
    let result = run(&options, dir.path(), &cli.log_dir.join("soak.log")).await;
    match result {
        Ok(account) => {
            println!("{account}\nsoak: nothing lost, nothing left, after {:.1} s", begin.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("soak: {error:#}");
            for log in ["driver.log", "fake-efs.log"] {
                keep(&dir.path().join(log), &cli.log_dir);
            }
            // Removing the folder could hang on a mount whose server is gone.
            if let Err(error) = efs_csi_e2e::mounts::abandon_below(dir.path()) {
                eprintln!("soak: {error:#}");
            }
            eprintln!("soak: left for a look: {} and the logs in {}", dir.keep().display(), cli.log_dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Saves a log from the lab, which forgets its temporary folders.
fn keep(log: &Path, into: &Path) {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    if let Err(error) = std::fs::copy(log, into.join(format!("soak-{name}"))) {
        eprintln!("soak: can't keep {}: {error}", log.display());
    }
}
