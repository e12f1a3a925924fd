//! What is measured. A scenario declares its measurements first and then fills them, so that one that fails half-way
//! leaves rows that say so.

pub mod api;
pub mod connections;
pub mod controller;
pub mod directories;
pub mod identities;
pub mod image;
pub mod nfs;
pub mod pods;
pub mod publish;
pub mod several;
pub mod start;
pub mod suite;
pub mod tunnel;
pub mod walker;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::peers::own_tunnel::NAME;
use crate::report::{Better, Measurement, Place, Series};

/// What a scenario works with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Folder of efs-csi-driver, fake-efs and csi-sanity.
    pub bin_dir: PathBuf,
    /// This program.
    pub program: PathBuf,
    /// An empty folder for sockets, logs and files.
    pub dir: PathBuf,
    /// A smoke test: tiny amounts, one or two rounds.
    pub quick: bool,
    /// Which part of the scenario's rounds this is.
    pub pass: Pass,
}

/// A part of a scenario's rounds: one of `of` that are spread over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Which, from 0.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

impl Pass {
    /// All rounds at once.
    pub const ONLY: Self = Self { number: 0, of: 1 };
}

impl Setting {
    /// `full` normally, `quick` in a smoke test.
    pub fn amount<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The numbers of this pass's rounds. All passes together have `full` rounds, or a few more, so that each has as many.
    pub fn rounds(&self, full: usize, quick: usize) -> Range<usize> {
        let Pass { number, of } = self.pass;
        let each = self.amount(full.div_ceil(of), quick);
        number * each..(number + 1) * each
    }
}

/// A group of measurements that share a set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Start and idle memory of the driver.
    Start,
    /// The TLS tunnel beside stunnel.
    Tunnel,
    /// CreateVolume and DeleteVolume.
    Controller,
    /// The same for directories, beside access points.
    Directories,
    /// The fake's EFS API beside moto's.
    Api,
    /// Idle connections of the fake's file server.
    Connections,
    /// The size of the image.
    Image,
    /// Volume statistics by walking, beside `du`.
    Walker,
    /// Publishing beside a bare kernel mount; recovery.
    Publish,
    /// Mounts with the identities of pods.
    Identities,
    /// What happens to the node's pod.
    Pods,
    /// One mount over several connections.
    Several,
    /// The fake's file server beside others.
    Nfs,
    /// csi-sanity.
    Suite,
}

/// All scenarios, in the order in which they run.
pub const ALL: &[Scenario] = &[
    Scenario::Start,
    Scenario::Tunnel,
    Scenario::Controller,
    Scenario::Directories,
    Scenario::Api,
    Scenario::Connections,
    Scenario::Image,
    Scenario::Walker,
    Scenario::Publish,
    Scenario::Identities,
    Scenario::Pods,
    Scenario::Several,
    Scenario::Nfs,
    Scenario::Suite,
];

/// Most parts that a scenario's rounds are taken in.
pub const PASSES: usize = 3;

impl Scenario {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Tunnel => "tunnel",
            Self::Controller => "controller",
            Self::Directories => "directories",
            Self::Api => "api",
            Self::Connections => "connections",
            Self::Image => "image",
            Self::Walker => "walker",
            Self::Publish => "publish",
            Self::Identities => "identities",
            Self::Pods => "pods",
            Self::Several => "several",
            Self::Nfs => "nfs",
            Self::Suite => "suite",
        }
    }

    /// Where it runs.
    pub fn place(self) -> Place {
        match self {
            Self::Start
            | Self::Tunnel
            | Self::Controller
            | Self::Directories
            | Self::Api
            | Self::Connections
            | Self::Image
            | Self::Walker => Place::Host,
            Self::Publish | Self::Identities | Self::Pods | Self::Several | Self::Nfs | Self::Suite => Place::Lab,
        }
    }

    /// Its measurements, still empty.
    pub fn declare(self, board: &mut Board) {
        match self {
            Self::Start => start::declare(board),
            Self::Tunnel => tunnel::declare(board),
            Self::Controller => controller::declare(board),
            Self::Directories => directories::declare(board),
            Self::Api => api::declare(board),
            Self::Connections => connections::declare(board),
            Self::Image => image::declare(board),
            Self::Walker => walker::declare(board),
            Self::Publish => publish::declare(board),
            Self::Identities => identities::declare(board),
            Self::Pods => pods::declare(board),
            Self::Several => several::declare(board),
            Self::Nfs => nfs::declare(board),
            Self::Suite => suite::declare(board),
        }
    }

    /// Takes the samples.
    pub async fn run(self, setting: &Setting, board: &mut Board) -> anyhow::Result<()> {
        match self {
            Self::Start => start::run(setting, board).await,
            Self::Tunnel => tunnel::run(setting, board).await,
            Self::Controller => controller::run(setting, board).await,
            Self::Directories => directories::run(setting, board).await,
            Self::Api => api::run(setting, board).await,
            Self::Connections => connections::run(setting, board).await,
            Self::Image => image::run(setting, board).await,
            Self::Walker => walker::run(setting, board).await,
            Self::Publish => publish::run(setting, board).await,
            Self::Identities => identities::run(setting, board).await,
            Self::Pods => pods::run(setting, board).await,
            Self::Several => several::run(setting, board).await,
            Self::Nfs => nfs::run(setting, board).await,
            Self::Suite => suite::run(setting, board).await,
        }
    }

    /// How long it may take.
    pub fn limit(self) -> Duration {
        Duration::from_secs(match self {
            // Three servers, one after another on the guest's one processor.
            Self::Nfs => 480,
            // A probe needs half a minute to find out that the driver hangs, five times.
            Self::Pods => 900,
            _ => 420,
        })
    }

    /// How many parts its rounds are taken in, minutes apart. A machine's speed moves from minute to minute; the spread of
    /// samples that were all taken within one would know nothing of that.
    pub fn passes(self) -> usize {
        match self {
            // Its number is counted, not timed.
            Self::Image => 1,
            // They are judged beside their peers only, and what they work on takes long to make.
            Self::Walker | Self::Nfs | Self::Pods => 1,
            _ => PASSES,
        }
    }
}

/// The measurements of a scenario while it runs.
#[derive(Debug, Default)]
pub struct Board {
    /// In the order in which they were declared.
    pub measurements: Vec<Measurement>,
    place: Option<Place>,
}

/// What a measurement is.
#[derive(Debug)]
pub struct Declaration<'a> {
    /// Stable name.
    pub id: &'a str,
    /// For people.
    pub title: &'a str,
    /// Of the samples.
    pub unit: &'a str,
    /// Which way is good.
    pub better: Better,
    /// How, and what is left out.
    pub method: &'a str,
    /// Who else is measured.
    pub peers: &'a [&'a str],
}

impl Board {
    /// A board for scenarios that run at `place`.
    pub fn new(place: Place) -> Self {
        Self { measurements: Vec::new(), place: Some(place) }
    }

    /// Adds an empty measurement.
    pub fn declare(&mut self, what: Declaration<'_>) {
        self.measurements.push(Measurement {
            id: what.id.to_owned(),
            title: what.title.to_owned(),
            place: self.place.unwrap_or(Place::Host),
            unit: what.unit.to_owned(),
            better: what.better,
            method: what.method.to_owned(),
            ours: Series::new(NAME),
            peers: what.peers.iter().map(|name| Series::new(*name)).collect(),
        });
    }

    /// Adds a sample of `name`, of us or of a peer. A name that was not declared is a peer more.
    pub fn sample(&mut self, id: &str, name: &str, value: f64) {
        if let Some(series) = self.series(id, name) {
            series.samples.push(value);
        }
    }

    /// Says why there are no samples of `name`.
    pub fn missing(&mut self, id: &str, name: &str, reason: &str) {
        if let Some(series) = self.series(id, name) {
            series.missing = Some(reason.to_owned());
        }
    }

    /// Says for every measurement that names this peer why it has no samples.
    pub fn peer_missing(&mut self, name: &str, reason: &str) {
        let peers = self.measurements.iter_mut().flat_map(|measurement| &mut measurement.peers);
        for peer in peers.filter(|peer| peer.name == name && peer.samples.is_empty()) {
            peer.missing = Some(reason.to_owned());
        }
    }

    /// Marks everything that has no samples yet with `reason`.
    pub fn fail(&mut self, reason: &str) {
        for measurement in &mut self.measurements {
            let all = std::iter::once(&mut measurement.ours).chain(&mut measurement.peers);
            for series in all.filter(|series| series.samples.is_empty() && series.missing.is_none()) {
                series.missing = Some(reason.to_owned());
            }
        }
    }

    fn series(&mut self, id: &str, name: &str) -> Option<&mut Series> {
        let measurement = self.measurements.iter_mut().find(|measurement| measurement.id == id)?;
        if name == NAME {
            return Some(&mut measurement.ours);
        }
        let at = measurement.peers.iter().position(|peer| peer.name == name).unwrap_or_else(|| {
            measurement.peers.push(Series::new(name));
            measurement.peers.len() - 1
        });
        measurement.peers.get_mut(at)
    }
}
