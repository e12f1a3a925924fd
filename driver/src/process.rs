//! The process: flags, the runtime, signals and the exit code.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{self, ExitCode};
use std::time::Duration;

use efs_common::causes::causes;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{self, Command};
use crate::config::{Config, Environment};
use crate::efs::endpoint_urls;
use crate::identity::VERSION;
use crate::recent::RecentEvents;
use crate::{debug, fips, logging, orphans, server, trash};

/// What still runs on other threads when all is done has so long to end.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);
/// Exit code for flags that are wrong.
pub(crate) const WRONG_USAGE: u8 = 2;

/// Runs the program with the given arguments, the program's name first, and gives its exit code: 0 after a clean stop,
/// 1 when it can't run, 2 when the flags are wrong.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match cli::parse(args.clone()) {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let flags = cli.serve;
    if !flags.version
        && let Err(error) = with_usable_endpoints(&args)
    {
        eprintln!("error: {error}");
        return ExitCode::from(WRONG_USAGE);
    }
    if let Some(command) = cli.command {
        logging::start(&flags.log);
        let done = match command {
            Command::Orphans(orphans) => block_on(async { orphans::run(&orphans).await.map(|text| print!("{text}")) }),
            Command::Trash(flags) => block_on(async { trash::run(&flags).await.map(|text| print!("{text}")) }),
            Command::Debug(debug) => block_on(async { debug::run(&debug).await }),
        };
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {}", causes(error.as_ref()));
                ExitCode::FAILURE
            }
        };
    }
    if flags.version {
        println!("{}", version_json());
        return ExitCode::SUCCESS;
    }
    let recent = logging::start(&flags.log);
    let config = match Config::new(&flags, Environment::of_process()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    match serve(config, recent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = causes(error.as_ref()), "the driver stops");
            ExitCode::FAILURE
        }
    }
}

/// Prints what clap says of a command line.
pub(crate) fn wrong_usage(error: &clap::Error) -> ExitCode {
    // Help goes to standard output and is no failure; clap knows. A closed pipe is no reason to fail either.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(WRONG_USAGE))
}

/// Makes sure that the SDK finds no endpoint that it can't use. An empty variable counts as none, as a chart or a shell script leaves it; a
/// process can't safely take a variable out of its own environment, so the program begins again without it, as the same process.
fn with_usable_endpoints(args: &[OsString]) -> anyhow::Result<()> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let empty = endpoint_urls::empty(variables);
    if !empty.is_empty() {
        let mut again = process::Command::new(std::env::current_exe()?);
        if let Some((name, rest)) = args.split_first() {
            again.arg0(name).args(rest);
        }
        for name in &empty {
            again.env_remove(name);
        }
        let names = empty.join(", ");
        return Err(anyhow::anyhow!(
            "{names}: empty, unset it (the program can't begin again without it: {})",
            again.exec()
        ));
    }
    Ok(endpoint_urls::check(|name| std::env::var(name).ok())?)
}

fn serve(config: Config, recent: RecentEvents) -> anyhow::Result<()> {
    block_on(async {
        let shutdown = stopped_by_signals()?;
        server::run(config, recent, shutdown).await?;
        Ok(())
    })
}

/// Runs work on a runtime that waits for no call into a disk that hangs.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(work);
    // Calls into disks that hang are given up with the process, not waited for.
    runtime.shutdown_timeout(GIVE_UP_AFTER);
    done
}

/// A token that the first SIGTERM or SIGINT cancels.
pub(crate) fn stopped_by_signals() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let shutdown = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping");
        shutdown.cancel();
    });
    Ok(stop)
}

/// The answer of `--version`: the Go driver's keys where they have a meaning here.
fn version_json() -> String {
    let version = serde_json::json!({
        "driverVersion": VERSION,
        "gitCommit": option_env!("GIT_COMMIT").unwrap_or_default(),
        "buildDate": option_env!("BUILD_DATE").unwrap_or_default(),
        "fips": fips::MODULE,
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    });
    format!("{version:#}")
}
