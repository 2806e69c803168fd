//! Subjects side by side, and DeepSeek's own table derived again.

use serde::Serialize;

use super::{Bill, BillError, DEEPSEEK, Preset, Prices, Range, Selection, Total, bill};

/// A subject among others: its published part, every group, and all of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The subject's id.
    pub subject: String,
    /// Its title.
    pub title: String,
    /// The accelerator of the published hours; empty where nobody said.
    pub gpu: String,
    /// Of the group "published": what the owner gave hours or money for.
    pub published: Total,
    /// USD of each group in the order of the data, alternatives left out.
    pub groups: Vec<(String, Range)>,
    /// Of everything, each thing once.
    pub everything: Total,
}

/// The subjects at the same prices, in the order asked for.
///
/// # Errors
/// As [`bill`].
pub fn compare(subjects: &[&str], prices: &Prices) -> Result<Vec<Compared>, BillError> {
    let catalog = super::catalog()?;
    subjects
        .iter()
        .map(|id| {
            let all = bill(id, prices, &Selection::All)?;
            let published = all.lines.iter().filter(|l| l.item.group == "published");
            let published = super::total(published);
            let mut groups: Vec<(String, Range)> = Vec::new();
            for line in all.lines.iter().filter(|l| l.counted) {
                match groups.iter_mut().find(|(group, _)| *group == line.item.group) {
                    Some((_, sum)) => *sum = sum.plus(line.usd),
                    None => groups.push((line.item.group.clone(), line.usd)),
                }
            }
            let gpu = catalog.subject(id)?.gpu.clone();
            Ok(Compared { subject: all.subject, title: all.title, gpu, published, groups, everything: all.total })
        })
        .collect()
}

/// Every position of the debate with the bill of the items that it counts, in the catalog's order.
///
/// # Errors
/// As [`bill`].
pub fn positions(prices: &Prices) -> Result<Vec<(&'static Preset, Bill)>, BillError> {
    let of = |preset: &'static Preset| {
        let subject = preset.subject.as_deref().unwrap_or(DEEPSEEK);
        Ok((preset, bill(subject, prices, &Selection::Preset(&preset.id))?))
    };
    super::catalog()?.presets.iter().map(of).collect()
}

/// A row of the V3 report's table of costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableRow {
    /// The row's title.
    pub title: String,
    /// As published.
    pub gpu_hours: f64,
    /// As published, in USD.
    pub published_usd: f64,
    /// Hours times the rent, in USD.
    pub derived_usd: f64,
    /// Whether the two are equal in the table's thousands.
    pub agrees: bool,
}

/// Table 1 of the V3 report from its hours and a rent: three rows and their sum.
///
/// # Errors
/// A price without sense.
pub fn published_table(gpu_hour_usd: f64) -> Result<Vec<TableRow>, BillError> {
    let bill = bill(DEEPSEEK, &Prices::at_gpu_hour(gpu_hour_usd), &Selection::Preset("report"))?;
    let row = |title: &str, gpu_hours: f64, published_usd: f64, derived_usd: f64| TableRow {
        title: title.to_string(),
        gpu_hours,
        published_usd,
        derived_usd,
        // The table is in thousands.
        agrees: (derived_usd - published_usd).abs() < 500.0,
    };
    let mut rows: Vec<TableRow> = bill
        .lines
        .iter()
        .filter(|l| l.counted)
        .map(|l| row(&l.item.title, l.item.quantity.mid, l.item.published_usd.unwrap_or(f64::NAN), l.usd.mid))
        .collect();
    let published = bill.figures.first().map_or(f64::NAN, |f| f.figure.published_usd.mid);
    rows.push(row("Total", bill.total.gpu_hours.mid, published, bill.total.usd.mid));
    Ok(rows)
}
