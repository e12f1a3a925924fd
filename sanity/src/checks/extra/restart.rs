//! 195 to 197: what a driver knows after a restart. They run when a command to restart it is given.

use std::time::{Duration, Instant};

use csi_proto::csi::{
    ProbeRequest, controller_service_capability::rpc::Type as ControllerType,
    node_service_capability::rpc::Type as NodeType, volume_capability::access_mode::Mode,
};
use tokio::process::Command;

use super::publish_table::{gone, ready};
use crate::{
    case::Case,
    check::{Area, Check, Need},
    checks::node_stats::stats,
    directories::{Found, look_at},
    expect::{Expect, Outcome, Stop, ensure, fail},
};

const CHECK: Check = Check {
    area: Area::Whole,
    container: "Restart of the driver",
    needs: &[Need::Controller(ControllerType::CreateDeleteVolume)],
    alone: true,
    ..Check::EXTRA
};

pub(in crate::checks) const CHECKS: &[Check] = &[
    Check {
        number: 195,
        title: "should know the volumes made before",
        rule: "CreateVolume is idempotent by name, also when the plugin crashed in between (spec, CreateVolume).",
        body: body!(volume),
        ..CHECK
    },
    Check {
        number: 196,
        title: "should publish again what is published already",
        rule: "NodePublishVolume is idempotent, also when the plugin crashed in between (spec, NodePublishVolume).",
        body: body!(publish),
        ..CHECK
    },
    Check {
        number: 197,
        title: "should unpublish what was published before",
        rule: "NodeUnpublishVolume undoes a NodePublishVolume, also when the plugin crashed in between (spec, NodeUnpublishVolume).",
        body: body!(unpublish),
        ..CHECK
    },
];

/// How long the command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

async fn restart(case: &Case) -> Outcome {
    let Some(command) = &case.config.restart_command else {
        return fail("there is no command to restart the driver");
    };
    let run = Command::new("sh").arg("-c").arg(command).kill_on_drop(true).status();
    match tokio::time::timeout(COMMAND_LIMIT, run).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => return fail(format!("{command:?} ended with {status}")),
        Ok(Err(error)) => return fail(format!("{command:?} cannot be run: {error}")),
        Err(_) => return fail(format!("{command:?} did not end within {COMMAND_LIMIT:?}")),
    }
    // A log of its own: calls that fail while the driver starts are no sign that it is gone.
    let session = case.session.fresh_log();
    let start = Instant::now();
    for session in [session.clone(), session.identity_of_controller()] {
        while let Err(refusal) = session.probe(ProbeRequest {}).await {
            if start.elapsed() >= case.config.restart_limit {
                return fail(format!("the driver does not answer after its restart: {refusal}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

fn restartable(case: &Case) -> Outcome {
    match case.config.restart_command {
        Some(_) => Ok(()),
        None => Err(Stop::Skipped("there is no command to restart the driver (--restart-cmd)".into())),
    }
}

async fn volume(case: &Case) -> Outcome {
    restartable(case)?;
    let request = case.request_named("sanity-restart-volume");
    let before = case.must_create(request.clone()).await?;
    restart(case).await?;
    let after = case.must_create(request).await?;
    ensure(before.volume_id == after.volume_id, || {
        format!("the same name gave {} before the restart and {} after it", before.volume_id, after.volume_id)
    })
}

async fn publish(case: &Case) -> Outcome {
    restartable(case)?;
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    let (request, id) = (case.publish_request(&ready, case.target()), &ready.volume.volume_id);
    case.node_publish(request.clone()).await.succeeds("NodePublishVolume")?;
    restart(case).await?;
    case.node_publish(request).await.succeeds("NodePublishVolume after a restart")?;
    if case.capabilities.node(NodeType::GetVolumeStats) {
        stats(case, id, &case.target()).await.succeeds("NodeGetVolumeStats after a restart")?;
    }
    case.node_unpublish(id, case.target()).await.succeeds("NodeUnpublishVolume")?;
    gone(case, &case.target()).await
}

async fn unpublish(case: &Case) -> Outcome {
    restartable(case)?;
    let ready = ready(case, Mode::SingleNodeWriter).await?;
    case.node_publish(case.publish_request(&ready, case.target())).await.succeeds("NodePublishVolume")?;
    restart(case).await?;
    let found = look_at(&case.target(), &case.config).await?;
    ensure(found != Found::Nothing, || format!("{} went away with the restart", case.target()))?;
    case.node_unpublish(&ready.volume.volume_id, case.target())
        .await
        .succeeds("NodeUnpublishVolume after a restart")?;
    gone(case, &case.target()).await
}
