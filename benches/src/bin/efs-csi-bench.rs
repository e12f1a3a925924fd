//! `efs-csi-bench`: runs the scenarios and shows reports. `just bench` calls it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use efs_csi_benches::peers::own_tunnel;
use efs_csi_benches::report::{Place, Report};
use efs_csi_benches::run::{self, Lab, Options};
use efs_csi_benches::scenarios::{Pass, Setting};
use efs_csi_benches::{compare, flame, page, scale, table};

/// Numbers that people can believe.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the scenarios; writes report.json and index.html.
    Run {
        #[command(flatten)]
        what: What,
        /// Folder for the report.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The script that runs a command in the lab (e2e/vm/run).
        #[arg(long, value_name = "SCRIPT", requires = "lab_artifacts")]
        lab: Option<PathBuf>,
        /// The folder that the lab's guest can write to (target/lab).
        #[arg(long, value_name = "DIR")]
        lab_artifacts: Option<PathBuf>,
    },
    /// Run the lab's scenarios in this very kernel; writes their measurements. Called in the guest.
    Lab {
        #[command(flatten)]
        what: What,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Which part of the rounds, from 0.
        #[arg(long, default_value_t = 0)]
        pass: usize,
    },
    /// Make index.html from a report.json.
    Page {
        /// The report.
        report: PathBuf,
        /// The page.
        page: PathBuf,
    },
    /// Say what changed between two runs, beyond noise.
    Compare {
        /// report.json of the earlier run.
        old: PathBuf,
        /// report.json of the later run.
        new: PathBuf,
    },
    /// Put the table of a report between the markers of a Markdown file.
    Table {
        /// The report.
        report: PathBuf,
        /// The file, e.g. README.md.
        file: PathBuf,
    },
    /// Measure the curves of the scale study (about two minutes) and put them between the markers of a Markdown file.
    Scale {
        #[command(flatten)]
        what: What,
        /// The file, e.g. docs/scale.md.
        file: PathBuf,
    },
    /// Draw a flame graph (SVG, to standard output) of what `perf script` prints (from standard input).
    Flame {
        /// Above the graph.
        #[arg(long, default_value = "")]
        title: String,
        /// Only samples of processes of this name.
        #[arg(long)]
        program: Option<String>,
    },
    /// Hold tunnels open: the process that the tunnel scenario measures.
    #[command(hide = true)]
    Tunnel {
        /// Where they lead.
        #[arg(long)]
        upstream: SocketAddr,
        /// The authority of the server there.
        #[arg(long)]
        ca_file: PathBuf,
        /// How many.
        #[arg(long)]
        count: usize,
    },
}

#[derive(Debug, clap::Args)]
struct What {
    /// Folder with the executables efs-csi-driver, fake-efs and csi-sanity.
    #[arg(long, value_name = "DIR")]
    bin_dir: PathBuf,
    /// Run only the scenarios whose name contains this.
    #[arg(long, default_value = "")]
    filter: String,
    /// Tiny amounts: shows that everything works, measures nothing.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let result = tokio::runtime::Runtime::new().context("starting the runtime").and_then(|runtime| {
        let result = runtime.block_on(execute(command));
        // Work on a mount goes on in a thread after its scenario was broken off; waiting for it would lose what was measured.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run { what, out, lab, lab_artifacts } => {
            let lab = lab.zip(lab_artifacts).map(|(script, artifacts)| Lab { script, artifacts });
            let report = run::run(&options(what, lab)?).await?;
            std::fs::create_dir_all(&out)?;
            report.write(&out.join("report.json"))?;
            write_page(&report, &out.join("index.html"))?;
            print!("{}", table::markdown(&report));
            println!("\n{}", out.join("index.html").display());
            Ok(())
        }
        Command::Lab { what, out, pass } => {
            let measurements = run::at(Place::Lab, &options(what, None)?, pass).await?;
            std::fs::write(&out, serde_json::to_string(&measurements)?)
                .with_context(|| format!("writing {}", out.display()))
        }
        Command::Page { report, page } => write_page(&Report::read(&report)?, &page),
        Command::Compare { old, new } => {
            print!("{}", compare::compare(&Report::read(&old)?, &Report::read(&new)?));
            Ok(())
        }
        Command::Table { report, file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let text = table::insert(&text, &Report::read(&report)?)?;
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
        }
        Command::Scale { what, file } => {
            let dir = tempfile::tempdir()?;
            let Options { bin_dir, quick, .. } = options(what, None)?;
            let program = std::env::current_exe().context("finding this program")?;
            let setting = Setting { bin_dir, program, dir: dir.path().to_owned(), quick, pass: Pass::ONLY };
            let tables = scale::study(&setting).await?;
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let text = table::between(&text, scale::MARKER, &tables)?;
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
        }
        Command::Flame { title, program } => {
            flame::draw(std::io::stdin().lock(), std::io::stdout().lock(), &title, program.as_deref())
        }
        Command::Tunnel { upstream, ca_file, count } => own_tunnel::hold(upstream, &ca_file, count).await,
    }
}

fn options(what: What, lab: Option<Lab>) -> anyhow::Result<Options> {
    let bin_dir = what.bin_dir.canonicalize().with_context(|| format!("looking for {}", what.bin_dir.display()))?;
    Ok(Options { bin_dir, filter: what.filter, quick: what.quick, lab })
}

fn write_page(report: &Report, path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, page::html(report)).with_context(|| format!("writing {}", path.display()))
}
