//! A flame graph from what `perf script` prints.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context as _, ensure};
use inferno::collapse::Collapse as _;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};

/// Reads the output of `perf script` and writes an SVG. With `program`, only samples of processes of that name count.
pub fn draw(input: impl Read, output: impl Write, title: &str, program: Option<&str>) -> anyhow::Result<()> {
    let mut folded = Vec::new();
    Folder::default().collapse(BufReader::new(input), &mut folded).context("reading the output of perf script")?;
    // A folded line begins with the process: `name;frame;frame count`. The kernel cuts names to 15 bytes.
    let wanted = program.map(|name| format!("{};", name.chars().take(15).collect::<String>()));
    let lines: Vec<String> = folded.lines().collect::<Result<_, _>>()?;
    let chosen = lines.iter().map(String::as_str).filter(|line| wanted.as_ref().is_none_or(|w| line.starts_with(w)));
    let chosen: Vec<&str> = chosen.collect();
    ensure!(!chosen.is_empty(), "perf took no samples of {}", program.unwrap_or("anything"));
    let mut options = Options::default();
    options.title = title.to_owned();
    flamegraph::from_lines(&mut options, chosen, output).context("drawing")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
efs-csi-driver 7 1.000000: 250000 cpu-clock:
\t55d0 inner+0x10 (/bin/efs-csi-driver)
\t55c0 outer+0x20 (/bin/efs-csi-driver)

fake-efs 8 1.000100: 250000 cpu-clock:
\t55d0 other+0x10 (/bin/fake-efs)

";

    #[test]
    fn only_the_wanted_program_is_drawn() {
        let mut svg = Vec::new();
        draw(SCRIPT.as_bytes(), &mut svg, "a title", Some("efs-csi-driver")).unwrap();
        let svg = String::from_utf8(svg).unwrap();
        assert!(svg.contains("a title"), "{svg}");
        // The page's script has words of its own; a frame's name begins its tooltip.
        let frame = |name: &str| svg.contains(&format!("<title>{name} ("));
        assert!(frame("inner") && frame("outer") && !frame("other"), "{svg}");
        let error = draw(SCRIPT.as_bytes(), Vec::new(), "", Some("nobody")).unwrap_err();
        assert_eq!(error.to_string(), "perf took no samples of nobody");
    }
}
