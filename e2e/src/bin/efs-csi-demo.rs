//! `efs-csi-demo`: the main job, narrated. Exits 0 only when every step was checked. Run it with `just demo`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Creates a volume, mounts it over TLS, writes as the enforced user, survives a kill, and deletes it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Folder with the executables efs-csi-driver and fake-efs.
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,
    /// Two tenants of one file system instead, each with the identity of its pods.
    #[arg(long)]
    tenants: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let dir = match tempfile::Builder::new().prefix("efs-demo.").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            eprintln!("demo: can't make a temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match cli.tenants {
        true => efs_csi_e2e::demo::run_tenants(&cli.bin_dir, dir.path()).await,
        false => efs_csi_e2e::demo::run(&cli.bin_dir, dir.path()).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: {error:#}");
            for log in ["driver.log", "fake-efs.log"] {
                let text = std::fs::read_to_string(dir.path().join(log)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("\n--- the end of {log}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
            // Removing the folder could hang on a mount whose server is gone, so it stays for a look.
            if let Err(error) = efs_csi_e2e::mounts::abandon_below(dir.path()) {
                eprintln!("demo: {error:#}");
            }
            eprintln!("\nleft for a look: {}", dir.keep().display());
            ExitCode::FAILURE
        }
    }
}
