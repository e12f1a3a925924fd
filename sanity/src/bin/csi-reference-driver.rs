//! Serves the reference driver, or one of its mutants, so that other suites can be tried on them.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use csi_sanity::{
    mutants,
    reference::{
        Features, ReferenceDriver,
        server::{self, Hooks},
    },
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A CSI driver in memory that has every capability, or a mutant of it with one fault.
#[derive(Debug, Parser)]
#[command(name = "csi-reference-driver", version)]
struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "unix:///PATH", required_unless_present = "list_mutants")]
    endpoint: Option<String>,
    /// Serve this mutant instead of the sound driver
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// List the mutants, what each does wrong and which checks notice it
    #[arg(long)]
    list_mutants: bool,
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mutants = mutants::all();
    if arguments.list_mutants {
        for mutant in &mutants {
            println!("{:<45} {} (check {})", mutant.name, mutant.fault, join(mutant.killed_by));
        }
        return Ok(());
    }
    let hooks = match &arguments.mutant {
        None => Hooks::default(),
        Some(name) => mutants
            .iter()
            .find(|mutant| mutant.name == name)
            .ok_or_else(|| anyhow::anyhow!("there is no mutant {name}; --list-mutants lists them"))?
            .hooks(),
    };
    let endpoint = arguments.endpoint.unwrap_or_default();
    let path = PathBuf::from(endpoint.trim_start_matches("unix:").trim_start_matches("//"));
    let listener = server::listen(&path)?;
    println!("ready {}", path.display());
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        stop.cancel();
    });
    server::run(listener, ReferenceDriver::new(Features::all()), hooks, shutdown).await?;
    Ok(())
}

fn join(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("csi-reference-driver: {error:#}");
            ExitCode::from(2)
        }
    }
}
