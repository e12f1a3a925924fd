//! Go's ways to write flags, which are not clap's: one dash, `-flag=true`, durations like `1m30.5s`.

use std::{ffi::OsString, time::Duration};

use clap::{ArgAction, CommandFactory};

use super::Arguments;

/// The arguments as clap takes them: flags with two dashes, and switches without a value (`--flag=false` is left out).
pub(super) fn as_clap_takes_them(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let switches = switches();
    let mut arguments = arguments.into_iter();
    let program = arguments.next();
    program.into_iter().chain(arguments.filter_map(|argument| switch(with_two_dashes(argument), &switches))).collect()
}

/// The names of all flags that take no value.
fn switches() -> Vec<String> {
    let command = Arguments::command();
    let flags = command.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
    flags
        .flat_map(|flag| flag.get_long().into_iter().chain(flag.get_all_aliases().into_iter().flatten()))
        .map(str::to_owned)
        .collect()
}

fn with_two_dashes(argument: OsString) -> OsString {
    let single = argument.to_str().is_some_and(|text| {
        let mut letters = text.chars().skip(1);
        text.starts_with('-')
            && letters.next().is_some_and(|letter| letter.is_ascii_alphabetic())
            && letters.next().is_some()
    });
    if !single {
        return argument;
    }
    let mut doubled = OsString::from("-");
    doubled.push(argument);
    doubled
}

/// A switch with a value as Go's `strconv.ParseBool` reads it; anything else stays as it is, for clap to judge.
fn switch(argument: OsString, switches: &[String]) -> Option<OsString> {
    let Some((name, value)) = argument.to_str().and_then(|text| text.strip_prefix("--")?.split_once('=')) else {
        return Some(argument);
    };
    if !switches.iter().any(|switch| switch == name) {
        return Some(argument);
    }
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(format!("--{name}").into()),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => None,
        _ => Some(argument),
    }
}

/// A duration as Go writes it: numbers with units (`ns`, `us`, `µs`, `ms`, `s`, `m`, `h`), or 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: give one like 10s, 1m30s or 500ms");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * scale;
        rest = next;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(argument: &str) -> Vec<OsString> {
        as_clap_takes_them(["csi-sanity", argument].map(OsString::from)).split_off(1)
    }

    #[test]
    fn switches_take_values_as_in_go() {
        for (given, expected) in [
            ("-ginkgo.v=true", vec!["--ginkgo.v"]),
            ("--ginkgo.v=0", vec![]),
            ("-ginkgo.v", vec!["--ginkgo.v"]),
            ("-ginkgo.v=perhaps", vec!["--ginkgo.v=perhaps"]),
            ("--csi.endpoint=true", vec!["--csi.endpoint=true"]),
            ("-", vec!["-"]),
            ("-1", vec!["-1"]),
        ] {
            assert_eq!(rewritten(given), expected, "{given}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, milliseconds) in [
            ("0", 0),
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1.5h", 5_400_000),
            ("1m0.5s", 60_500),
            ("2000us", 2),
            ("2000µs", 2),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "s", "10 s", "1d", "-1s", "1..5s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
