//! `efs-csi-pulse MILLISECONDS FILE...`: writes records until standard input ends, then prints the longest wait for one, in
//! seconds, and their number.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let every = arguments.next().and_then(|word| word.to_str()?.parse().ok());
    let files: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let (Some(every), false) = (every, files.is_empty()) else {
        eprintln!("usage: {} MILLISECONDS FILE...", efs_csi_e2e::pulse::PROGRAM);
        return ExitCode::from(2);
    };
    match efs_csi_e2e::pulse::run(&files, Duration::from_millis(every)) {
        Ok(beats) => {
            println!("{} {}", beats.longest.as_secs_f64(), beats.records);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", efs_csi_e2e::pulse::PROGRAM);
            ExitCode::FAILURE
        }
    }
}
