//! The machine that a report speaks of, and versions of programs.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// Where a run took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// Number of processors.
    pub processors: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Release of the host's kernel.
    pub kernel: String,
    /// Operating system.
    pub system: String,
    /// Load average over one minute when the run began: above the number of processors, something else was running.
    pub load: String,
}

/// Reads what /proc and /etc say.
pub fn this() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let memory = read("/proc/meminfo");
    let memory_kib: u64 =
        field(&memory, "MemTotal", ':').and_then(|v| v.strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    let release = read("/etc/os-release");
    Machine {
        processor: field(&cpu, "model name", ':').unwrap_or("unknown").to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory_kib / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        system: field(&release, "PRETTY_NAME", '=').unwrap_or("unknown").trim_matches('"').to_owned(),
        load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
    }
}

fn field<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The first line that a program prints about its version; `None` when it can't be run.
pub fn version(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.chars().any(|c| c.is_ascii_digit()))?;
    Some(line.trim().chars().take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(field(text, "model name", ':'), Some("AMD EPYC"));
        assert_eq!(field(text, "name", ':'), None);
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version("no-such-program-anywhere", &["--version"]), None);
    }
}
