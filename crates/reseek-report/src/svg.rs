//! Charts as inline SVG: lines with a smoothed trend, intervals, and a heat map. Colours come from the page's style sheet.

use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// A named series of points.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A mean with its interval.
#[derive(Clone, Debug)]
pub struct Dot {
    pub label: String,
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// Lines over steps: the values faint, a running mean on top, first and last value in words.
pub fn lines(title: &str, unit: &str, series: &[Series]) -> String {
    let series: Vec<Series> = series.iter().map(finite).filter(|s| !s.points.is_empty()).collect();
    let all = || series.iter().flat_map(|s| s.points.iter().copied());
    let Some((x, y)) = range(all().map(|p| p.0)).zip(range(all().map(|p| p.1))) else { return String::new() };
    let ticks = nice_ticks(y.0, y.1);
    let y = (ticks[0].min(y.0), ticks[ticks.len() - 1].max(y.1));
    let at = |p: (f64, f64)| (LEFT + (p.0 - x.0) / span(x) * (WIDTH - LEFT - RIGHT), scale_y(p.1, y));
    let mut out = open(title, WIDTH, HEIGHT);
    for &tick in &ticks {
        let at_y = scale_y(tick, y);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{at_y:.1}" y2="{at_y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            LEFT - 5.0,
            at_y + 3.5,
            number(tick)
        );
    }
    // Steps are whole numbers.
    for tick in nice_ticks(x.0, x.1).into_iter().filter(|t| *t >= x.0 && *t <= x.1 && t.fract() == 0.0) {
        let at_x = at((tick, y.0)).0;
        let _ = write!(
            out,
            r#"<text class="tick" x="{at_x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            HEIGHT - BOTTOM + 14.0,
            number(tick)
        );
    }
    for (i, s) in series.iter().enumerate() {
        let raw = path(&thin(&s.points), at);
        let smooth = path(&thin(&running_mean(&s.points)), at);
        let _ = write!(out, r#"<path class="raw c{i}" d="{raw}"/><path class="line c{i}" d="{smooth}"/>"#);
        if let [only] = s.points[..] {
            let (cx, cy) = at(only);
            let _ = write!(out, r#"<circle class="fill c{i}" cx="{cx:.1}" cy="{cy:.1}" r="3"/>"#);
        }
    }
    let legend: Vec<String> = series
        .iter()
        .enumerate()
        .map(|(i, s)| {
            let (first, last) = (s.points[0].1, s.points[s.points.len() - 1].1);
            format!(r#"<span class="key c{i}">{} {} → {}</span>"#, escape(&s.name), number(first), number(last))
        })
        .collect();
    figure(title, unit, &(out + "</svg>"), &legend.join(" "))
}

/// Chances against the number of tries, which doubles from mark to mark: points (k, chance) on an axis from 0 to 1.
pub fn chances(title: &str, unit: &str, series: &[Series]) -> String {
    let series: Vec<Series> = series.iter().map(finite).filter(|s| !s.points.is_empty()).collect();
    let most = series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).fold(0.0, f64::max);
    if most < 2.0 {
        return String::new();
    }
    let at = |p: (f64, f64)| (LEFT + p.0.log2() / most.log2() * (WIDTH - LEFT - RIGHT), scale_y(p.1, (0.0, 1.0)));
    let mut out = open(title, WIDTH, HEIGHT);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let y = at((1.0, tick)).1;
        let _ = write!(
            out,
            r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{tick}</text>"#,
            WIDTH - RIGHT,
            LEFT - 5.0,
            y + 3.5
        );
    }
    for tick in (0..=most.log2() as u32).map(|power| 1u32 << power) {
        let x = at((tick.into(), 0.0)).0;
        let _ = write!(
            out,
            r#"<text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{tick}</text>"#,
            HEIGHT - BOTTOM + 14.0
        );
    }
    let mut legend = Vec::new();
    for (i, s) in series.iter().enumerate() {
        let _ = write!(out, r#"<path class="line c{i}" d="{}"/>"#, path(&s.points, at));
        let (first, last) = (s.points[0].1, s.points[s.points.len() - 1].1);
        legend.push(format!(
            r#"<span class="key c{i}">{} {} → {}</span>"#,
            escape(&s.name),
            number(first),
            number(last)
        ));
    }
    figure(title, unit, &(out + "</svg>"), &legend.join(" "))
}

/// Means with intervals on a common axis from 0 to 1.
pub fn intervals(title: &str, dots: &[Dot]) -> String {
    let rows = 24.0;
    let height = TOP + rows * dots.len() as f64 + BOTTOM;
    let left = 96.0;
    let at = |v: f64| left + v.clamp(0.0, 1.0) * (WIDTH - left - 44.0);
    let mut out = open(title, WIDTH, height);
    for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let x = at(tick);
        let _ = write!(
            out,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{tick}</text>"#,
            height - BOTTOM,
            height - BOTTOM + 14.0
        );
    }
    for (i, dot) in dots.iter().filter(|d| d.mean.is_finite()).enumerate() {
        let y = TOP + rows * (i as f64 + 0.5);
        let _ = write!(
            out,
            r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text><line class="whisker" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><circle class="dot" cx="{:.1}" cy="{y:.1}" r="4"/><text class="tick" x="{:.1}" y="{:.1}">{:.3}</text>"#,
            left - 8.0,
            y + 4.0,
            escape(&dot.label),
            at(dot.low),
            at(dot.high),
            at(dot.mean),
            at(dot.high) + 7.0,
            y + 4.0,
            dot.mean
        );
    }
    figure(title, "95 % intervals, clustered by problem", &(out + "</svg>"), "")
}

/// Shares over steps, a row an expert: darker is more; an even load is in the middle.
pub fn heat(title: &str, columns: &[Vec<f64>]) -> String {
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    if rows == 0 {
        return String::new();
    }
    let columns: Vec<&Vec<f64>> = columns.iter().step_by(columns.len().div_ceil(80)).collect();
    let (w, h) = ((WIDTH - LEFT - RIGHT) / columns.len() as f64, (HEIGHT - TOP - BOTTOM) / rows as f64);
    let mut out = open(title, WIDTH, HEIGHT);
    for (i, column) in columns.iter().enumerate() {
        for (j, share) in column.iter().enumerate() {
            let opacity = (share * rows as f64 / 2.0).clamp(0.0, 1.0);
            let _ = write!(
                out,
                r#"<rect class="cell" x="{:.1}" y="{:.1}" width="{:.2}" height="{:.2}" fill-opacity="{opacity:.2}"/>"#,
                LEFT + i as f64 * w,
                TOP + j as f64 * h,
                w + 0.3,
                h + 0.3
            );
        }
    }
    let _ = write!(
        out,
        r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">expert</text>"#,
        LEFT - 5.0,
        TOP + 10.0
    );
    figure(title, "share of tokens of each expert, first mixture; steps from left to right", &(out + "</svg>"), "")
}

/// HTML-safe text; control characters are shown as a blank box.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('␣'),
            c => out.push(c),
        }
    }
    out
}

/// A number with three significant digits.
pub fn number(v: f64) -> String {
    let a = v.abs();
    if !v.is_finite() {
        "–".to_string()
    } else if a >= 1e6 || (a > 0.0 && a < 1e-3) {
        format!("{v:.1e}")
    } else if a >= 100.0 || v.fract() == 0.0 {
        format!("{v:.0}")
    } else if a >= 10.0 {
        format!("{v:.1}")
    } else {
        let text = format!("{v:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    }
}

/// The start of a picture.
pub fn open(title: &str, width: f64, height: f64) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height:.0}" role="img" aria-label="{}">"#, escape(title))
}

/// A picture with its title, unit and legend.
pub fn figure(title: &str, unit: &str, svg: &str, legend: &str) -> String {
    let unit = if unit.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(unit)) };
    format!(
        "<figure><figcaption>{}{unit}</figcaption>{svg}<div class=\"legend\">{legend}</div></figure>",
        escape(title)
    )
}

fn finite(series: &Series) -> Series {
    let ok = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite() && p.1.abs() < 1e30;
    Series { name: series.name.clone(), points: series.points.iter().filter(ok).copied().collect() }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| Some(range.map_or((v, v), |(a, b): (f64, f64)| (a.min(v), b.max(v)))))
}

fn span(range: (f64, f64)) -> f64 {
    if range.1 > range.0 { range.1 - range.0 } else { 1.0 }
}

fn scale_y(v: f64, y: (f64, f64)) -> f64 {
    HEIGHT - BOTTOM - (v - y.0) / span(y) * (HEIGHT - TOP - BOTTOM)
}

/// About four round values that cover the range.
pub fn nice_ticks(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = match low {
        _ if high > low => (low, high),
        0.0 => (0.0, 1.0),
        // A constant in the middle of an axis of its own size.
        _ => (low - low.abs() / 2.0, low + low.abs() / 2.0),
    };
    let rough = (high - low) / 4.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).floor() as i64;
    let last = ((high / step).ceil() as i64).min(first + 12);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A running mean over about a fortieth of the series.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = points.len() / 80;
    let mean = |i: usize| {
        let window = &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
        window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64
    };
    points.iter().enumerate().map(|(i, p)| (p.0, mean(i))).collect()
}

/// At most about 400 points.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().step_by(points.len().div_ceil(400).max(1)).collect()
}

fn path(points: &[(f64, f64)], at: impl Fn((f64, f64)) -> (f64, f64)) -> String {
    let mut out = String::new();
    for (i, &p) in points.iter().enumerate() {
        let (x, y) = at(p);
        let _ = write!(out, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_cover_and_are_round() {
        for (low, high) in [(0.0, 1.0), (3.2, 3.3), (-5.0, 1e6), (2.0, 2.0), (1e-9, 2e-9)] {
            let ticks = nice_ticks(low, high);
            assert!(ticks[0] <= low && ticks[ticks.len() - 1] >= high && ticks.len() <= 13, "{low} {high}: {ticks:?}");
        }
    }

    #[test]
    fn tries_double_from_mark_to_mark() {
        let points = |n: u32| (1..=n).map(|k| (f64::from(k), 0.5)).collect();
        let svg = chances("pass@k", "", &[Series { name: "base".to_string(), points: points(16) }]);
        let marks: Vec<&str> =
            svg.split(r#"text-anchor="middle">"#).skip(1).filter_map(|rest| rest.split('<').next()).collect();
        assert_eq!(marks, ["1", "2", "4", "8", "16"]);
        // From one try no curve can be drawn.
        assert_eq!(chances("pass@k", "", &[Series { name: "base".to_string(), points: points(1) }]), "");
    }

    #[test]
    fn hostile_values_and_names_do_no_harm() {
        let points = vec![(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::INFINITY), (3.0, -1e300)];
        let svg = lines("a <b>", "", &[Series { name: "</svg><script>".to_string(), points }]);
        assert!(!svg.contains("<script>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(lines("none", "", &[]), "");
        assert_eq!(heat("none", &[]), "");
        assert_eq!(chances("none", "", &[]), "");
        assert!(
            !intervals("x", &[Dot { label: "<i>".to_string(), mean: f64::NAN, low: 0.0, high: 1.0 }]).contains("NaN")
        );
    }
}
