//! Distributions as SVG: every sample a dot, the spread a bar, the median a line.

use std::fmt::Write as _;

use super::{escape, number};
use crate::report::{Measurement, Series};

/// Width of a plot, in pixels.
const WIDTH: f64 = 640.0;
/// Where the names end and the axis begins.
const LEFT: f64 = 150.0;
/// Room for the last label of the axis.
const RIGHT: f64 = 30.0;
/// Height of one series.
const ROW: f64 = 30.0;
/// Height of the axis.
const AXIS: f64 = 26.0;
/// A logarithmic axis is used when the largest sample is this many times the smallest.
const LOG_FROM: f64 = 30.0;

/// The plot of a measurement: our series on top, the peers below. Empty when nobody has samples.
pub(super) fn plot(measurement: &Measurement) -> String {
    let series: Vec<&Series> = std::iter::once(&measurement.ours)
        .chain(&measurement.peers)
        .filter(|series| !series.samples.is_empty())
        .collect();
    let all = || series.iter().flat_map(|series| series.samples.iter().copied());
    let (smallest, largest) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if series.is_empty() {
        return String::new();
    }
    let axis = Axis::over(smallest, largest);
    let height = ROW * series.len() as f64 + AXIS;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        escape(&measurement.title)
    );
    for (tick, label) in axis.ticks() {
        let x = axis.x(tick);
        let bottom = height - AXIS;
        // Writing to a String can't fail.
        let _ = write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{bottom}\"/>");
        let _ = write!(svg, "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\">{label}</text>", bottom + 16.0);
    }
    for (row, series) in series.iter().enumerate() {
        draw(&mut svg, series, &axis, ROW * (row as f64 + 0.5), if row == 0 { "ours" } else { "peer" });
    }
    svg + "</svg>"
}

fn draw(svg: &mut String, series: &Series, axis: &Axis, y: f64, class: &str) {
    let Some(summary) = series.summary() else { return };
    let (low, high, median) = (axis.x(summary.low), axis.x(summary.high), axis.x(summary.median));
    let _ =
        write!(svg, "<text class=\"name\" x=\"{}\" y=\"{:.1}\">{}</text>", LEFT - 12.0, y + 4.0, escape(&series.name));
    let _ = write!(
        svg,
        "<rect class=\"{class} spread\" x=\"{low:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>",
        y - 7.0,
        (high - low).max(1.0)
    );
    for (index, sample) in series.samples.iter().enumerate() {
        // Dots are moved up and down in turn so that equal samples stay visible.
        let shift = [0.0, -3.0, 3.0][index % 3];
        let _ = write!(
            svg,
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"><title>{}</title></circle>",
            axis.x(*sample),
            y + shift,
            number(*sample)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"{class} median\" x1=\"{median:.1}\" x2=\"{median:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>",
        y - 10.0,
        y + 10.0
    );
}

/// Where a number lies from left to right.
struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    fn over(smallest: f64, largest: f64) -> Self {
        if smallest > 0.0 && largest / smallest >= LOG_FROM {
            return Self {
                low: 10f64.powf(smallest.log10().floor()),
                high: 10f64.powf(largest.log10().ceil()),
                log: true,
            };
        }
        let step = step(largest.max(f64::MIN_POSITIVE));
        Self { low: 0.0, high: (largest / step).ceil().max(1.0) * step, log: false }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.log {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let mut ticks = Vec::new();
        let mut value = if self.log { self.low } else { 0.0 };
        // At most a handful by construction; the limit guards against an infinite loop on odd floats.
        while value <= self.high * 1.0001 && ticks.len() < 20 {
            ticks.push((value, number(value)));
            value = if self.log { value * 10.0 } else { value + step(self.high) };
        }
        ticks
    }
}

/// A round distance between ticks, so that there are three to seven.
fn step(largest: f64) -> f64 {
    let power = 10f64.powf(largest.log10().floor());
    match largest / power {
        x if x < 1.5 => power / 4.0,
        x if x < 3.5 => power / 2.0,
        _ => power,
    }
}
