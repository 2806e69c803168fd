//! The bill: what a model cost, item by item, so that every figure in the debate can be had by naming the items that it counts.
//!
//! ```
//! use reseek_sim::bill::{Prices, Selection, bill};
//! let bill = bill("deepseek-v3-r1", &Prices::at_gpu_hour(2.0), &Selection::Preset("report"))?;
//! assert_eq!(bill.total.usd.mid, 5_576_000.0);
//! # Ok::<(), reseek_sim::bill::BillError>(())
//! ```
//!
//! Not promised: that the assumptions are right. Each says that it is one, and has a low and a high.

mod catalog;
mod compare;
mod error;
mod prices;
mod range;

use std::collections::BTreeSet;

use serde::Serialize;

pub use catalog::{Catalog, Figure, Item, Preset, Reading, Source, Subject, catalog};
pub use compare::{Compared, TableRow, compare, positions, published_table};
pub use error::BillError;
pub use prices::{Basis, PRICES, PriceInfo, PriceSource, Prices};
pub use range::Range;

/// The subject whose items are V3's and R1's.
pub const DEEPSEEK: &str = "deepseek-v3-r1";

/// Which items count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// Those of a preset, with its published figures beside.
    Preset(&'a str),
    /// These.
    Items(&'a [&'a str]),
    /// All, each thing once: rent and not purchase, building and a year of serving.
    All,
}

/// A bill: every item of the subject, those that count marked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bill {
    /// The subject's id.
    pub subject: String,
    /// Its title.
    pub title: String,
    /// The preset, "items" or "all".
    pub selection: String,
    /// What an hour, a card and a year of work cost.
    pub prices: Prices,
    /// Every item of the subject, in the catalog's order.
    pub lines: Vec<Line>,
    /// Of the lines that count.
    pub total: Total,
    /// Of the other lines, each thing once and without what a counted line pays for.
    pub left_out: Total,
    /// What the preset's author published, beside the same items at these prices.
    pub figures: Vec<FigureResult>,
    /// What a reader has to know before quoting the total.
    pub notes: Vec<String>,
}

/// An item with its price.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What is paid for.
    pub item: Item,
    /// Of rented, depreciated or powered hours.
    pub gpu_hours: Option<Range>,
    /// USD a unit of the quantity.
    pub unit_usd: Range,
    /// Quantity times `unit_usd`, in USD.
    pub usd: Range,
    /// Whether the selection has it.
    pub counted: bool,
}

/// A sum of lines.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Total {
    /// Rented hours only: depreciation and power are of the same hours.
    pub gpu_hours: Range,
    /// In USD.
    pub usd: Range,
}

/// A published figure and what the named items come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FigureResult {
    /// The figure with its items and its source.
    pub figure: Figure,
    /// The items' ids, "*" resolved.
    pub items: Vec<String>,
    /// The sum of the items at the bill's prices, in USD.
    pub usd: Range,
    /// Our middle over the published one, less 1.
    pub deviation: f64,
    /// Whether the two are near enough.
    pub agreement: Agreement,
}

/// Whether a published figure follows from the items that it counts, at the prices of the bill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Within the figure's tolerance.
    Agrees,
    /// Outside of it.
    Disagrees,
    /// It agrees, but an item was taken from the position itself.
    ByConstruction,
}

/// The bill of a subject of the built-in catalog.
///
/// # Errors
/// An unknown subject, item or preset (with the nearest), a preset of another subject, or a price without sense.
pub fn bill(subject: &str, prices: &Prices, selection: &Selection) -> Result<Bill, BillError> {
    catalog()?.bill(subject, prices, selection)
}

impl Catalog {
    /// The bill of a subject of this catalog.
    ///
    /// # Errors
    /// As [`bill`].
    pub fn bill(&self, subject: &str, prices: &Prices, selection: &Selection) -> Result<Bill, BillError> {
        prices.validate()?;
        let subject = self.subject(subject)?;
        let (name, ids, preset) = self.chosen(subject, selection)?;
        let lines: Vec<Line> = subject.items.iter().map(|item| line(item, prices, ids.contains(&item.id))).collect();
        let figures = match preset {
            Some(preset) => preset.figures.iter().map(|f| figure(subject, f, &lines)).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        let replaced: BTreeSet<&String> = lines.iter().filter(|l| l.counted).flat_map(|l| &l.item.instead_of).collect();
        let outside = |l: &&Line| !l.counted && l.item.instead_of.is_empty() && !replaced.contains(&l.item.id);
        let left_out = total(lines.iter().filter(outside));
        Ok(Bill {
            subject: subject.id.clone(),
            title: subject.title.clone(),
            selection: name,
            prices: *prices,
            total: total(lines.iter().filter(|l| l.counted)),
            left_out,
            notes: notes(&lines, preset),
            lines,
            figures,
        })
    }

    fn chosen(
        &self,
        subject: &Subject,
        selection: &Selection,
    ) -> Result<(String, BTreeSet<String>, Option<&Preset>), BillError> {
        match selection {
            Selection::All => Ok(("all".to_string(), subject.resolve(&["*".to_string()])?, None)),
            Selection::Items(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
                Ok(("items".to_string(), subject.resolve(&ids)?, None))
            }
            Selection::Preset(id) => {
                let preset = self.preset(id)?;
                if let Some(other) = preset.subject.as_ref().filter(|other| **other != subject.id) {
                    return Err(BillError::Unknown {
                        what: "preset of this subject",
                        name: format!("{id} for {}", subject.id),
                        hint: format!("{id} is about {other}"),
                    });
                }
                Ok((preset.id.clone(), subject.resolve(&preset.items)?, Some(preset)))
            }
        }
    }
}

fn line(item: &Item, prices: &Prices, counted: bool) -> Line {
    let unit_usd = item.basis.unit_usd(prices).times(item.price_factor);
    Line {
        item: item.clone(),
        gpu_hours: (item.basis.unit() == "GPU-hours").then_some(item.quantity),
        unit_usd,
        usd: item.quantity.times(unit_usd),
        counted,
    }
}

fn total<'a>(lines: impl Iterator<Item = &'a Line>) -> Total {
    let zero = Total { gpu_hours: Range::ZERO, usd: Range::ZERO };
    lines.fold(zero, |sum, line| Total {
        gpu_hours: match line.item.basis {
            Basis::Rent => sum.gpu_hours.plus(line.item.quantity),
            _ => sum.gpu_hours,
        },
        usd: sum.usd.plus(line.usd),
    })
}

fn figure(subject: &Subject, figure: &Figure, lines: &[Line]) -> Result<FigureResult, BillError> {
    let ids = subject.resolve(&figure.items)?;
    let usd: Range = lines.iter().filter(|l| ids.contains(&l.item.id)).map(|l| l.usd).sum();
    let published = figure.published_usd;
    let holds = match figure.reading {
        Reading::Above => usd.mid > published.mid,
        Reading::About => {
            let allowed = published.low * (1.0 - figure.tolerance)..=published.high * (1.0 + figure.tolerance);
            allowed.contains(&usd.mid)
        }
    };
    let agreement = match (holds, figure.by_construction) {
        (true, true) => Agreement::ByConstruction,
        (true, false) => Agreement::Agrees,
        (false, _) => Agreement::Disagrees,
    };
    Ok(FigureResult {
        figure: figure.clone(),
        items: ids.into_iter().collect(),
        usd,
        deviation: usd.mid / published.mid - 1.0,
        agreement,
    })
}

fn notes(lines: &[Line], preset: Option<&Preset>) -> Vec<String> {
    let counted = || lines.iter().filter(|l| l.counted);
    let mut notes: Vec<String> = preset.iter().map(|p| p.note.clone()).collect();
    let ids: BTreeSet<&str> = counted().map(|l| l.item.id.as_str()).collect();
    for line in counted() {
        for other in line.item.instead_of.iter().filter(|other| ids.contains(other.as_str())) {
            notes.push(format!("{} pays again for what {other} pays for. Count one of them.", line.item.id));
        }
    }
    let guessed: Range = counted().filter(|l| matches!(l.item.source, Source::Assumption(_))).map(|l| l.usd).sum();
    let all: Range = counted().map(|l| l.usd).sum();
    if guessed.mid > 0.0 {
        notes.push(format!("{:.0} % of the middle of this sum rests on assumptions", 100.0 * guessed.mid / all.mid));
    }
    notes
}
