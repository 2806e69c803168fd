//! Charts of full-scale runs: a pipeline's timeline, stacked bars, a waterfall of costs, a tornado and a scatter of predictions.

use std::fmt::Write;

use crate::svg::{escape, figure, nice_ticks, number, open};

const WIDTH: f64 = 860.0;

/// A pass on a rank's row of a timeline.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// What it does.
    pub kind: PassKind,
    /// Second at which it begins.
    pub start_s: f64,
    /// Second at which it ends.
    pub end_s: f64,
}

/// What a pass does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Forward alone.
    Forward,
    /// Gradients of inputs, and of weights where they are not a pass of their own.
    Backward,
    /// Gradients of weights alone.
    Weight,
    /// Both directions at once, of other micro-batches.
    Pair,
}

impl PassKind {
    const ALL: [Self; 4] = [Self::Forward, Self::Backward, Self::Weight, Self::Pair];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Weight => "weight gradients",
            Self::Pair => "forward and backward in a pair",
        }
    }
}

/// A bar of named parts.
#[derive(Clone, Debug)]
pub struct Stack {
    /// What stands beside it.
    pub label: String,
    /// Widths of its parts, in the unit of the chart and the order of its names.
    pub parts: Vec<f64>,
}

/// A quantity with its range.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// What stands beside it.
    pub label: String,
    /// Lower end of its range.
    pub low: f64,
    /// The estimate.
    pub mid: f64,
    /// Upper end of its range.
    pub high: f64,
}

/// A published value and what was predicted.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// What stands beside it.
    pub label: String,
    /// What was published.
    pub published: f64,
    /// What was predicted, in the same unit.
    pub predicted: f64,
    /// Whether the value helped to set a rate.
    pub set: bool,
}

/// One row a rank, passes as blocks, time from left to right; gaps are waiting. One path a kind and rank keeps the page small.
pub fn timeline(title: &str, ranks: &[Vec<Pass>]) -> String {
    let end = ranks.iter().flatten().map(|pass| pass.end_s).fold(0.0, f64::max);
    if !(end > 0.0 && end.is_finite()) {
        return String::new();
    }
    let (left, row) = (58.0, 15.0);
    let scale = (WIDTH - left - 8.0) / end;
    let height = row * ranks.len() as f64 + 24.0;
    let mut out = open(title, WIDTH, height);
    for (rank, passes) in ranks.iter().enumerate() {
        let y = row * rank as f64 + 2.0;
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.0}" y="{:.0}" text-anchor="end">rank {rank}</text>"#,
            left - 6.0,
            y + 9.5
        );
        for kind in PassKind::ALL {
            let mut path = String::new();
            for pass in passes.iter().filter(|pass| pass.kind == kind) {
                let (x, w) = (left + pass.start_s * scale, (pass.end_s - pass.start_s) * scale);
                let _ =
                    write!(path, "M{x:.2} {y}h{:.2}v{}h-{:.2}z", (w - 0.25).max(0.1), row - 3.0, (w - 0.25).max(0.1));
            }
            if !path.is_empty() {
                let _ = write!(out, r#"<path class="fill c{}" d="{path}"/>"#, kind as usize);
            }
        }
    }
    for at in nice_ticks(0.0, end).into_iter().filter(|at| *at <= end) {
        let x = left + at * scale;
        let _ = write!(
            out,
            r#"<text class="tick" x="{x:.1}" y="{:.0}" text-anchor="middle">{} s</text>"#,
            height - 4.0,
            number(at)
        );
    }
    let used = |kind: &PassKind| ranks.iter().flatten().any(|pass| pass.kind == *kind);
    let keys: Vec<String> = PassKind::ALL
        .iter()
        .filter(|kind| used(kind))
        .map(|kind| format!(r#"<span class="key c{}">{}</span>"#, *kind as usize, kind.name()))
        .collect();
    figure(title, "one step", &(out + "</svg>"), &keys.join(" "))
}

/// A chart's picture as a file of its own, with the colours that a page gives it.
pub fn standalone(chart: &str) -> String {
    let svg = chart.find("<svg").zip(chart.find("</svg>")).map_or("<svg></svg>", |(from, to)| &chart[from..to + 6]);
    let style = "<style>.fill{fill:currentColor}.tick{font:10.5px sans-serif;fill:#5c6770}.c0{color:#1f5f8b}.c1{color:#b4531f}.c2{color:#3c7a4a}\
                 .c3{color:#6b5b95}</style>";
    let (open, rest) = svg.split_once('>').unwrap_or((svg, ""));
    format!("{open} xmlns=\"http://www.w3.org/2000/svg\">{style}{rest}\n")
}

/// Stacked horizontal bars with a mark at `limit`.
pub fn stacked(title: &str, unit: &str, names: &[&str], rows: &[Stack], limit: Option<(f64, &str)>) -> String {
    let sum = |row: &Stack| row.parts.iter().sum::<f64>();
    let max = rows.iter().map(sum).fold(limit.map_or(0.0, |l| l.0), f64::max) * 1.08;
    if !(max > 0.0 && max.is_finite()) {
        return String::new();
    }
    let (left, row) = (230.0, 26.0);
    let scale = (WIDTH - left - 60.0) / max;
    let height = row * rows.len() as f64 + 22.0;
    let mut out = open(title, WIDTH, height);
    for (i, bar) in rows.iter().enumerate() {
        let y = row * i as f64 + 4.0;
        label(&mut out, left, y + 12.0, &bar.label);
        let mut x = left;
        for (part, value) in bar.parts.iter().enumerate() {
            let w = value.max(0.0) * scale;
            let _ =
                write!(out, r#"<rect class="fill c{part}" x="{x:.1}" y="{y}" width="{w:.1}" height="{}"/>"#, row - 9.0);
            x += w;
        }
    }
    if let Some((at, what)) = limit {
        let x = left + at * scale;
        let _ = write!(
            out,
            r#"<line class="limit" x1="{x:.1}" x2="{x:.1}" y1="0" y2="{:.0}"/><text class="tick" x="{x:.1}" y="{:.0}" text-anchor="middle">{}</text>"#,
            height - 16.0,
            height - 4.0,
            escape(what)
        );
    }
    // Over the mark, on a ground of their own.
    for (i, bar) in rows.iter().enumerate() {
        let (x, y) = (left + sum(bar) * scale + 5.0, row * i as f64 + 16.0);
        let _ = write!(out, r#"<text class="tick over" x="{x:.1}" y="{y:.1}">{}</text>"#, number(sum(bar)));
    }
    let keys: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(i, name)| format!(r#"<span class="key c{i}">{}</span>"#, escape(name)))
        .collect();
    figure(title, unit, &(out + "</svg>"), &keys.join(" "))
}

/// Amounts stacked one after another, each with its range, and their sum.
pub fn waterfall(title: &str, unit: &str, rows: &[Estimate]) -> String {
    let total: f64 = rows.iter().map(|row| row.mid).sum();
    let mut sum = 0.0;
    let mut max = total;
    for row in rows {
        max = max.max(sum + row.high);
        sum += row.mid;
    }
    if !(max > 0.0 && max.is_finite()) {
        return String::new();
    }
    let (left, step) = (290.0, 22.0);
    let scale = (WIDTH - left - 70.0) / (max * 1.02);
    let height = step * (rows.len() + 1) as f64 + 8.0;
    let mut out = open(title, WIDTH, height);
    let mut from = 0.0;
    for (i, row) in rows.iter().enumerate() {
        let y = step * i as f64 + 3.0;
        label(&mut out, left, y + 11.0, &row.label);
        let x = |v: f64| left + v * scale;
        let _ = write!(
            out,
            r#"<rect class="fill c0" x="{:.1}" y="{y}" width="{:.1}" height="{}"/><line class="range" x1="{:.1}" x2="{:.1}" y1="{mid}" y2="{mid}"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
            x(from),
            (row.mid * scale).max(0.6),
            step - 8.0,
            x(from + row.low),
            x(from + row.high),
            x(from + row.high.max(row.mid)) + 5.0,
            y + 11.0,
            number(row.mid),
            mid = y + (step - 8.0) / 2.0,
        );
        from += row.mid;
    }
    let y = step * rows.len() as f64 + 3.0;
    label(&mut out, left, y + 11.0, "together");
    let _ = write!(
        out,
        r#"<rect class="fill c1" x="{left}" y="{y}" width="{:.1}" height="{}"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
        total * scale,
        step - 8.0,
        left + total * scale + 5.0,
        y + 11.0,
        number(total)
    );
    figure(title, unit, &(out + "</svg>"), "")
}

/// How far each input's range moves an answer around `mid`; `bars` have the answers at the input's low and high end.
pub fn tornado(title: &str, unit: &str, mid: f64, bars: &[Estimate]) -> String {
    let ends = || bars.iter().flat_map(|bar| [bar.low, bar.high]).chain([mid]);
    let (low, high) = (ends().fold(f64::INFINITY, f64::min), ends().fold(f64::NEG_INFINITY, f64::max));
    if !(high > low && (high - low).is_finite()) {
        return String::new();
    }
    let (left, step) = (290.0, 22.0);
    let scale = (WIDTH - left - 60.0) / (high - low);
    let x = |v: f64| left + 40.0 + (v - low) * scale * 0.9;
    let height = step * bars.len() as f64 + 24.0;
    let mut out = open(title, WIDTH, height);
    for (i, bar) in bars.iter().enumerate() {
        let y = step * i as f64 + 3.0;
        label(&mut out, left, y + 11.0, &bar.label);
        for (end, class) in [(bar.low, 0), (bar.high, 1)] {
            let (a, b) = (x(end.min(mid)), x(end.max(mid)));
            let _ = write!(
                out,
                r#"<rect class="fill c{class}" x="{a:.1}" y="{y}" width="{:.1}" height="{}"/>"#,
                b - a,
                step - 8.0
            );
        }
    }
    let at = x(mid);
    let _ = write!(
        out,
        r#"<line class="limit" x1="{at:.1}" x2="{at:.1}" y1="0" y2="{:.0}"/><text class="tick" x="{at:.1}" y="{:.0}" text-anchor="middle">{}</text>"#,
        height - 20.0,
        height - 6.0,
        number(mid)
    );
    for end in [low, high] {
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.1}" y="{:.0}" text-anchor="middle">{}</text>"#,
            x(end),
            height - 6.0,
            number(end)
        );
    }
    let keys = r#"<span class="key c0">input at its low end</span> <span class="key c1">at its high end</span>"#;
    figure(title, unit, &(out + "</svg>"), keys)
}

/// Predicted over published, both on logarithmic axes, with the diagonal.
pub fn scatter(title: &str, unit: &str, points: &[Prediction]) -> String {
    let good = |p: &&Prediction| p.published > 0.0 && p.predicted > 0.0 && (p.published * p.predicted).is_finite();
    let points: Vec<&Prediction> = points.iter().filter(good).collect();
    let logs = || points.iter().flat_map(|p| [p.published.log10(), p.predicted.log10()]);
    let (low, high) = (logs().fold(f64::INFINITY, f64::min) - 0.05, logs().fold(f64::NEG_INFINITY, f64::max) + 0.05);
    if points.is_empty() {
        return String::new();
    }
    let side = 400.0;
    let left = 52.0;
    let at = |v: f64| (v.log10() - low) / (high - low) * (side - left - 16.0);
    let (x, y) = (|v: f64| left + at(v), |v: f64| side - 36.0 - at(v));
    let mut out = open(title, side, side);
    let (first, last) = (10f64.powf(low), 10f64.powf(high));
    let _ = write!(
        out,
        r#"<line class="grid" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
        x(first),
        y(first),
        x(last),
        y(last)
    );
    // Less than a decade needs more marks to be read.
    let marks: &[f64] = if high - low < 1.0 { &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0] } else { &[1.0, 2.0, 5.0] };
    for power in (low.floor() as i32)..=(high.ceil() as i32) {
        for tick in marks.iter().map(|m| m * 10f64.powi(power)).filter(|t| (first..=last).contains(t)) {
            let _ = write!(
                out,
                r#"<text class="tick" x="{:.1}" y="{:.0}" text-anchor="middle">{n}</text><text class="tick" x="{:.0}" y="{:.1}" text-anchor="end">{n}</text>"#,
                x(tick),
                side - 20.0,
                left - 6.0,
                y(tick) + 3.5,
                n = number(tick)
            );
        }
    }
    for p in &points {
        let class = usize::from(p.set);
        let what = format!("{}: published {}, predicted {}", p.label, number(p.published), number(p.predicted));
        let (x, y) = (x(p.published), y(p.predicted));
        let _ = write!(
            out,
            r#"<circle class="fill c{class}" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{}</title></circle>"#,
            escape(&what)
        );
    }
    let _ = write!(
        out,
        r#"<text class="tick" x="{:.0}" y="{:.0}" text-anchor="middle">published</text>"#,
        side / 2.0,
        side - 4.0
    );
    let keys =
        r#"<span class="key c0">no rate was set with it</span> <span class="key c1">a rate was set with it</span>"#;
    figure(title, unit, &(out + "</svg>"), keys)
}

fn label(out: &mut String, left: f64, y: f64, text: &str) {
    let _ =
        write!(out, r#"<text class="tick" x="{:.0}" y="{y:.1}" text-anchor="end">{}</text>"#, left - 8.0, escape(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_numbers_and_names_do_no_harm() {
        let estimate = |mid: f64| Estimate { label: "<script>".to_string(), low: 0.0, mid, high: 2.0 * mid };
        let pass = |end_s| Pass { kind: PassKind::Pair, start_s: 0.0, end_s };
        for bad in [f64::NAN, f64::INFINITY, 0.0] {
            let prediction = Prediction { label: "<b>".to_string(), published: bad, predicted: 1.0, set: false };
            for svg in [
                timeline("t", &[vec![pass(bad)]]),
                waterfall("t", "", &[estimate(bad)]),
                tornado("t", "", bad, &[]),
                scatter("t", "", &[prediction]),
                stacked("t", "", &[], &[Stack { label: "<i>".to_string(), parts: vec![bad] }], None),
            ] {
                assert!(svg.is_empty(), "{bad}: {svg}");
            }
        }
        let svg = waterfall("<script>", "", &[estimate(1.0)]);
        assert!(svg.contains("together") && !svg.contains("<script>"));
    }

    #[test]
    fn blocks_lie_where_their_times_say() {
        let pass = |kind, start_s, end_s| Pass { kind, start_s, end_s };
        let svg = timeline("t", &[vec![pass(PassKind::Forward, 0.0, 1.0), pass(PassKind::Backward, 3.0, 4.0)]]);
        let scale = (WIDTH - 66.0) / 4.0;
        assert!(svg.contains(&format!("M58.00 2h{:.2}", scale - 0.25)), "{svg}");
        assert!(svg.contains(&format!("M{:.2} 2h", 58.0 + 3.0 * scale)), "{svg}");
        let file = standalone(&svg);
        assert!(file.starts_with("<svg ") && file.ends_with("</svg>\n"), "{file}");
        assert!(file.contains("xmlns=") && file.contains("<style>") && file.contains("M58.00 2h"), "{file}");
    }
}
