//! What goes wrong meanwhile.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::journal::Journal;
use super::residue;
use crate::stack::{Driver, Fake};

/// The shortest and the longest pause between two disturbances, in milliseconds.
const PAUSE: std::ops::Range<u64> = 300..2500;

/// Actions of tenants between two disturbances.
const ACTIONS: usize = 20;

/// Which disturbances there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinds {
    /// All.
    All,
    /// Those that leave the driver's process alive.
    SparingTheDriver,
}

/// The processes, and who disturbs them.
pub(super) struct Disorder {
    pub(super) driver: Driver,
    pub(super) fake: Fake,
    pub(super) rng: StdRng,
    pub(super) journal: Arc<Journal>,
}

impl Disorder {
    /// Disturbs until the time is over.
    pub(super) async fn reign(&mut self, kinds: Kinds, until: Instant) -> anyhow::Result<()> {
        let mut enough = self.journal.actions() + ACTIONS;
        loop {
            let pause = Duration::from_millis(self.rng.random_range(PAUSE));
            if Instant::now() + pause >= until {
                return Ok(());
            }
            sleep(pause).await;
            // On a slow machine nothing but disorder would be left: the tenants must have got somewhere meanwhile.
            while self.journal.actions() < enough && Instant::now() < until {
                sleep(Duration::from_millis(50)).await;
            }
            enough = self.journal.actions() + ACTIONS;
            self.driver.process.check_alive()?;
            self.disturb(kinds).await?;
        }
    }

    async fn disturb(&mut self, kinds: Kinds) -> anyhow::Result<()> {
        let sparing = if kinds == Kinds::All { 100 } else { 60 };
        match self.rng.random_range(0..sparing) {
            0..15 => {
                self.tell("end all connections");
                self.fake.end_connections().await
            }
            15..45 => self.add_fault().await,
            45..53 => {
                self.tell("restart the server");
                self.restart_server(false).await
            }
            53..60 => {
                self.tell("kill the server");
                self.restart_server(true).await
            }
            60..80 => {
                self.tell("kill the driver");
                self.driver.replace().await
            }
            80..90 => {
                self.tell("hand the driver over");
                self.driver.hand_over().await
            }
            90..95 => self.kill("data plane", |words| words.contains(&"--serve")),
            _ => self.kill("keeper", |words| words.contains(&"tunnel") && !words.contains(&"--serve")),
        }
    }

    async fn restart_server(&mut self, kill: bool) -> anyhow::Result<()> {
        self.journal.other_server();
        self.fake.restart(kill).await?;
        self.journal.other_server();
        Ok(())
    }

    async fn add_fault(&mut self) -> anyhow::Result<()> {
        let times = self.rng.random_range(1..6);
        let effect = match self.rng.random_range(0..5) {
            0 => json!({"kind": "reset"}),
            1 => json!({"kind": "drop-reply"}),
            2 => json!({"kind": "delay", "milliseconds": self.rng.random_range(10..1500)}),
            3 => json!({"kind": "slow", "bytes_per_second": 50_000}),
            _ => json!({"kind": "refuse-tls"}),
        };
        let fault = json!({"effect": effect, "times": times, "skip": self.rng.random_range(0..20)});
        self.journal.note("disorder", &format!("fault {fault}"));
        let kind = effect["kind"].as_str().unwrap_or_default();
        self.journal.count(&format!("disorder: fault {kind}"), 1);
        self.fake.add_wire_fault(&fault).await
    }

    /// The driver's processes whose arguments are such. A keeper starts the next data plane, which goes on with all tunnels; a data plane
    /// whose keeper has gone goes on, too.
    fn kill(&self, what: &str, which: impl Fn(&[&str]) -> bool) -> anyhow::Result<()> {
        for pid in residue::processes(&self.driver.options.binary, which)? {
            if let Some(pid) = Pid::from_raw(pid) {
                self.tell(&format!("kill the {what}"));
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        self.journal.note("disorder", what);
        self.journal.count(&format!("disorder: {what}"), 1);
    }
}
