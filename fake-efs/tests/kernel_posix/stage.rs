//! Running cases: a peer is started for its first case and stays until another peer's turn comes.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};

use libtest_mimic::Failed;

use crate::cases::{Case, Place};
use crate::differences::{self, Shows};
use crate::peers::{Peer, Running};

/// The peer that runs now.
#[derive(Default)]
pub(crate) struct Stage {
    current: Option<(&'static str, Result<Running, String>)>,
}

impl Stage {
    fn running(&mut self, peer: &Peer) -> Result<&Running, String> {
        if self.current.as_ref().is_none_or(|(name, _)| *name != peer.name) {
            // The old one goes first: two peers at once are more than the guest's memory needs to hold.
            self.current = None;
            self.current = Some((peer.name, peer.start().map_err(|error| format!("{error:?}"))));
        }
        match &self.current {
            Some((_, Ok(running))) => Ok(running),
            Some((_, Err(error))) => Err(format!("{} does not run: {error}", peer.name)),
            None => Err("no peer".to_owned()),
        }
    }
}

/// Runs one case and compares what happens with what is expected of this peer.
pub(crate) fn check(stage: &Mutex<Stage>, peer: &Peer, case: &Case) -> Result<(), Failed> {
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let running = stage.running(peer)?;
    let directory = case.name.replace("::", "-");
    // A case can't use a name of its own that is longer than the longest.
    let directory = &directory[..directory.len().min(200)];
    let place = Place::new(running.first.path(), running.second.path(), directory)
        .map_err(|errno| format!("making the directory of the case: {errno:?}"))?;
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (case.check)(&place)));
    let complaint = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(unexpected)) => Some(unexpected.to_string()),
        Err(panic) => Some(message(panic.as_ref())),
    };
    match (complaint, differences::reason(peer.name, &case.name)) {
        (None, None | Some((Shows::Sometimes, _))) => Ok(()),
        (Some(complaint), None) => Err(Failed::from(complaint)),
        (Some(complaint), Some((_, reason))) => {
            println!("differs as expected ({reason}): {complaint}");
            Ok(())
        }
        (None, Some((Shows::Always, reason))) => Err(Failed::from(format!(
            "{} does as the case says, although it is listed as different ({reason}): remove the row",
            peer.name
        ))),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
