//! `efs-csi-e2e`: the scenarios on a real Kubernetes. Run it with `just e2e`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use efs_csi_e2e::scenarios::cluster::{Cluster, Patience};
use efs_csi_e2e::scenarios::options::Options;
use efs_csi_e2e::scenarios::plan::Plan;
use efs_csi_e2e::scenarios::runner::{Verdict, chosen, run_all, write_junit};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let scenarios = chosen(&options.filter);
    if options.list {
        for scenario in scenarios {
            println!("{}", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    let plan = Plan::new(&options);
    if options.dry_run {
        print!("{}", plan.script());
        return ExitCode::SUCCESS;
    }
    if scenarios.is_empty() {
        eprintln!("e2e: no scenario's name contains {:?}; --list shows them", options.filter);
        return ExitCode::from(2);
    }
    // Said before a cluster is made for nothing.
    if let [archive, ..] = plan.missing_archives()[..] {
        eprintln!("e2e: there is no {}: `just image` makes it, --registry pulls the images instead", archive.display());
        return ExitCode::from(2);
    }
    let outcome = run(&options, &plan).await;
    // Torn down whatever happened, so that nothing is left on the machine.
    let mut left = false;
    for step in &plan.tear_down {
        if let Err(error) = step.run(options.tools.as_deref()).await {
            eprintln!("e2e: {error:#}");
            left = true;
        }
    }
    match outcome {
        Ok(0) if !left => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Sets up, runs, reports; the number of scenarios that failed.
async fn run(options: &Options, plan: &Plan) -> anyhow::Result<usize> {
    std::fs::create_dir_all(&options.output)?;
    for step in &plan.set_up {
        println!("{step}");
        step.run(options.tools.as_deref()).await?;
    }
    let kubeconfig = options.kubeconfig.clone().unwrap_or_else(|| options.output.join("kubeconfig"));
    let kubeconfig = kube::config::Kubeconfig::read_from(&kubeconfig)
        .with_context(|| format!("can't read {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let patience = Patience { pause: Duration::from_millis(500), limit: Duration::from_secs(options.patience) };
    let cluster = Cluster::new(kube::Client::try_from(config)?, patience);
    cluster.wait_rolled_out("DaemonSet", &options.namespace, "efs-csi-node").await?;
    let outcomes = run_all(&chosen(&options.filter), &cluster, options).await;
    if let Some(path) = &options.junit {
        write_junit(&outcomes, path)?;
    }
    let count = |wanted: fn(&Verdict) -> bool| outcomes.iter().filter(|o| wanted(&o.verdict)).count();
    let failed = count(|v| matches!(v, Verdict::Failed(_)));
    let skipped = count(|v| matches!(v, Verdict::Skipped(_)));
    println!("{} passed, {failed} failed, {skipped} skipped", outcomes.len() - failed - skipped);
    Ok(failed)
}
