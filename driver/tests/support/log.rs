//! What the driver writes into its log during tests.

use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Collects every line of the driver's own, however little it matters. For the whole process: what a thread logs is seen for sure only when
/// no other thread has asked before whether anybody listens.
pub(crate) fn collect() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Lines);
        let own = Targets::new().with_target("efs_csi_driver", LevelFilter::TRACE);
        tracing_subscriber::registry().with(lines.with_filter(own)).init();
    });
}

/// The lines so far, those of tests that run at the same time among them.
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&TEXT.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        TEXT.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
