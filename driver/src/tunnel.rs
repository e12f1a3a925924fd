//! `efs-csi-driver tunnel`: the data plane with its keeper, in the place of the driver.
//!
//! The first process keeps the sockets and starts the second, which carries the bytes. The chart runs it as a sidecar; elsewhere the
//! driver starts it.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;
use efs_common::causes::causes;
use efs_tunnel::keeper::process::Start;
use efs_tunnel::{keeper, plane};

use crate::cli::PlaneFlags;
use crate::config::plane_settings;
use crate::{logging, process};

/// Runs it with the arguments behind the word `tunnel`.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let named = std::iter::once(OsString::from("tunnel")).chain(arguments.iter().cloned());
    let flags = match PlaneFlags::try_parse_from(named) {
        Ok(flags) => flags,
        Err(error) => return process::wrong_usage(&error),
    };
    let settings = match plane_settings(&flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(process::WRONG_USAGE);
        }
    };
    let done = if let Some(user) = flags.prepare {
        plane::give_directory(&flags.directory, user).map_err(anyhow::Error::from)
    } else if flags.check {
        keeper::process::check(&flags.directory)
            .map_err(anyhow::Error::from)
            .and_then(|()| process::block_on(async { Ok(plane::check(&flags.directory).await?) }))
    } else if flags.serve {
        logging::start(&flags.log);
        keeper::process::hear_signals().map_err(anyhow::Error::from).and_then(|()| {
            process::block_on(async {
                let stop = process::stopped_by_signals()?;
                Ok(plane::process::run(settings, stop).await?)
            })
        })
    } else {
        keep(&flags, arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tunnel: {}: {}", flags.directory.display(), causes(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn keep(flags: &PlaneFlags, arguments: Vec<OsString>) -> anyhow::Result<()> {
    let mut child = vec![OsString::from(plane::COMMAND), OsString::from(plane::SERVE)];
    child.extend(arguments.into_iter().filter(|word| word != plane::ADOPT));
    let program = std::env::current_exe()?;
    Ok(keeper::process::run(&flags.directory, Start { program, arguments: child }, flags.adopt)?)
}
