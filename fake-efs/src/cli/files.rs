//! What can be chosen about the file server: its partitions, what clients are told about more connections, and how fast one is.

use clap::Args;

use crate::nfs::{Options, ScaleUp};
use crate::world::limits::Limits;

/// Below this, AWS's proxy of version 3.2.0 dies when it has found more connections.
const LEAST_CONNECTIONS: i64 = 3;
const DEFAULTS: ScaleUp = ScaleUp::DEFAULT;

/// Options of the file server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections to the file server")]
pub(super) struct Files {
    /// Partitions of each file system. A connection lands on one by chance (see --random-seed), and a session of NFSv4.1 is known
    /// on its own only.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// Tell clients that bind to a partition to use at most so many connections.
    #[arg(long, value_name = "N", default_value_t = DEFAULTS.max_connections,
          value_parser = clap::value_parser!(i32).range(LEAST_CONNECTIONS..))]
    bind_max_connections: i32,
    /// Tell them to use more than one from so many bytes a second; 0 for at once, negative for never.
    #[arg(long, value_name = "N", default_value_t = DEFAULTS.threshold_bytes_per_second, allow_negative_numbers = true)]
    bind_threshold_bytes_per_second: i32,
    /// Tell them for how many seconds that must have been passed.
    #[arg(long, value_name = "N", default_value_t = DEFAULTS.breached_seconds)]
    bind_breached_seconds: i32,
    /// Tell them how many seconds to look back.
    #[arg(long, value_name = "N", default_value_t = DEFAULTS.lookback_seconds)]
    bind_lookback_seconds: i32,
    /// Let at most so many bytes a second over one connection in each direction; any number if missing.
    #[arg(long, value_name = "N")]
    connection_bytes_per_second: Option<u64>,
}

impl Files {
    pub(super) fn choose(&self, options: &mut Options) {
        options.partitions = self.partitions;
        options.scale_up = ScaleUp {
            max_connections: self.bind_max_connections,
            threshold_bytes_per_second: self.bind_threshold_bytes_per_second,
            breached_seconds: self.bind_breached_seconds,
            lookback_seconds: self.bind_lookback_seconds,
        };
    }

    pub(super) fn limit(&self, limits: &mut Limits) {
        if let Some(rate) = self.connection_bytes_per_second {
            limits.connection_bytes_per_second = rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        files: Files,
    }

    fn chosen(line: &[&str]) -> Option<(Options, Limits)> {
        let Line { files } = Line::try_parse_from([&["fake-efs"], line].concat()).ok()?;
        let (mut options, mut limits) = (Options::default(), Limits::default());
        files.choose(&mut options);
        files.limit(&mut limits);
        Some((options, limits))
    }

    #[test]
    fn nothing_changes_what_is_not_said() {
        let (options, limits) = chosen(&[]).unwrap();
        assert_eq!((options.partitions, options.scale_up), (1, ScaleUp::default()));
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn each_option_sets_its_own() {
        let line = "--partitions 4 --bind-max-connections 3 --bind-threshold-bytes-per-second -7 --bind-breached-seconds 8 \
                    --bind-lookback-seconds 9 --connection-bytes-per-second 1048576";
        let (options, limits) = chosen(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let scale_up =
            ScaleUp { max_connections: 3, threshold_bytes_per_second: -7, breached_seconds: 8, lookback_seconds: 9 };
        assert_eq!((options.partitions, options.scale_up), (4, scale_up));
        assert_eq!(limits, Limits { connection_bytes_per_second: 1 << 20, ..Limits::default() });
    }

    #[test]
    fn what_kills_a_proxy_is_no_option() {
        for line in [["--partitions", "0"], ["--bind-max-connections", "2"], ["--bind-max-connections", "-1"]] {
            assert!(chosen(&line).is_none(), "{line:?}");
        }
    }
}
