//! What an hour, a card, a kilowatt-hour and a year of work cost: inputs, each with its range and its source.

use reseek_spec::nearest;
use serde::{Deserialize, Serialize};

use super::error::{BillError, shown};
use super::{Range, Source};
use crate::published::GPU_HOUR_USD;

/// Prices of a bill. [`Prices::default`] has the ranges of [`PRICES`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prices {
    /// Rent of a GPU, in USD an hour.
    pub gpu_hour_usd: Range,
    /// Purchase of one GPU without its server, in USD.
    pub gpu_purchase_usd: Range,
    /// Price of a GPU with its share of server and network, over the GPU's alone; at least 1.
    pub server_overhead: Range,
    /// Years in which a purchase is written off, evenly.
    pub depreciation_years: Range,
    /// Electricity, in USD a kWh.
    pub power_usd_per_kwh: Range,
    /// Power drawn by a GPU with its share of the server, in W.
    pub gpu_watts: Range,
    /// Power of the data centre over that of its servers; at least 1.
    pub pue: Range,
    /// Employer's cost of a person, in USD a year.
    pub salary_usd_per_year: Range,
}

/// One price: its key, unit, range, the least it may be, and where the range is from.
#[derive(Clone, Debug)]
pub struct PriceInfo {
    /// Name of the price in files, options and errors.
    pub key: &'static str,
    /// Such as "USD an hour".
    pub unit: &'static str,
    /// Low, usual and high, in `unit`.
    pub range: Range,
    /// A value below makes no sense; 0 itself is refused unless `zero_allowed`.
    pub floor: f64,
    /// Whether 0 is a price.
    pub zero_allowed: bool,
    /// Where the range is from.
    pub source: PriceSource,
}

/// A [`Source`] in constant data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PriceSource {
    /// Published.
    Cited(&'static str),
    /// A guess, with what it rests on.
    Assumption(&'static str),
}

impl From<PriceSource> for Source {
    fn from(source: PriceSource) -> Self {
        match source {
            PriceSource::Cited(text) => Self::Cited(text.to_string()),
            PriceSource::Assumption(text) => Self::Assumption(text.to_string()),
        }
    }
}

const fn price(key: &'static str, unit: &'static str, range: [f64; 3], floor: f64, source: PriceSource) -> PriceInfo {
    let range = Range::new(range[0], range[1], range[2]);
    PriceInfo { key, unit, range, floor, zero_allowed: false, source }
}

/// The default prices, with their sources.
pub const PRICES: [PriceInfo; 8] = [
    price(
        "gpu_hour_usd",
        "USD an hour",
        [1.5, GPU_HOUR_USD.value, 4.0],
        0.0,
        PriceSource::Cited(
            "2: the price of the V3 report (section 1). 1.5 to 4: offers for an H100 hour in 2024 and 2025",
        ),
    ),
    price(
        "gpu_purchase_usd",
        "USD",
        [20_000.0, 25_000.0, 30_000.0],
        0.0,
        PriceSource::Cited(
            "25,000 to 30,000 for an H100: Raymond James, August 2023; 20,000 to 25,000: later street prices (Reuters)",
        ),
    ),
    price(
        "server_overhead",
        "ratio",
        [1.2, 1.35, 2.06],
        1.0,
        PriceSource::Cited(
            "1.35: a DGX H100 at 270,000 USD for eight GPUs (SemiAnalysis, May 2023); 2.06: chips, servers and network of Cottier et \
             al. (arXiv 2405.21015). 1.2 is an assumption",
        ),
    ),
    price(
        "depreciation_years",
        "years",
        [3.0, 4.0, 6.0],
        0.0,
        PriceSource::Cited("4: SemiAnalysis, January 2025; 6: the books of the large clouds. 3 is an assumption"),
    ),
    PriceInfo {
        zero_allowed: true,
        ..price(
            "power_usd_per_kwh",
            "USD a kWh",
            [0.06, 0.09, 0.12],
            0.0,
            PriceSource::Assumption("assumption: industrial electricity in China and the United States, 2024"),
        )
    },
    price(
        "gpu_watts",
        "W",
        [700.0, 1050.0, 1275.0],
        0.0,
        PriceSource::Cited(
            "700: the board (H100 SXM data sheet); 1,050: 8.4 kW measured on eight H100 in training (Latif et al., 2024); 1,275: the 10.2 \
             kW maximum of a DGX H100",
        ),
    ),
    price(
        "pue",
        "ratio",
        [1.1, 1.25, 1.56],
        1.0,
        PriceSource::Cited("1.1: large clouds; 1.56: Uptime Institute's mean of 2024. 1.25 is an assumption"),
    ),
    price(
        "salary_usd_per_year",
        "USD a year",
        [80_000.0, 150_000.0, 400_000.0],
        0.0,
        PriceSource::Assumption(
            "assumption: cost to the employer in China; offers above 1.3M USD to single candidates are reported (SemiAnalysis, January 2025)",
        ),
    ),
];

/// A purchase written off over more years costs less a year, so the cheap end of this price is its high one.
impl Default for Prices {
    fn default() -> Self {
        let [hour, purchase, overhead, years, power, watts, pue, salary] = PRICES.map(|price| price.range);
        Self {
            gpu_hour_usd: hour,
            gpu_purchase_usd: purchase,
            server_overhead: overhead,
            depreciation_years: years,
            power_usd_per_kwh: power,
            gpu_watts: watts,
            pue,
            salary_usd_per_year: salary,
        }
    }
}

impl Prices {
    /// The default prices with the hour at exactly `usd`, as the reports count.
    pub fn at_gpu_hour(usd: f64) -> Self {
        Self { gpu_hour_usd: Range::exact(usd), ..Self::default() }
    }

    /// Replaces one price.
    ///
    /// # Errors
    /// An unknown key, with the nearest, or a value that [`Prices::validate`] refuses.
    pub fn set(&mut self, key: &str, range: Range) -> Result<(), BillError> {
        let Some(at) = PRICES.iter().position(|info| info.key == key) else {
            let near = nearest(key, PRICES.iter().map(|info| info.key)).unwrap_or_default();
            let hint = format!("did you mean {near}?");
            return Err(BillError::Price { key: shown(key), message: "is not known".to_string(), hint });
        };
        let mut changed = *self;
        *changed.fields_mut()[at] = range;
        changed.validate()?;
        *self = changed;
        Ok(())
    }

    /// Refuses prices that are negative, not finite, zero where that means nothing, or whose ends are the wrong way round.
    ///
    /// # Errors
    /// The first such price with its value.
    pub fn validate(&self) -> Result<(), BillError> {
        for (info, range) in PRICES.iter().zip(self.fields()) {
            let zero = !info.zero_allowed && info.floor == 0.0 && [range.low, range.mid, range.high].contains(&0.0);
            let message = if zero { Some("0 makes no sense".to_string()) } else { range.fault(info.floor) };
            if let Some(message) = message {
                let least = if info.floor > 0.0 { format!("at least {}", info.floor) } else { "positive".to_string() };
                let hint = format!("{} in {}, {least}, low to high; usual is {}", info.key, info.unit, info.range.mid);
                return Err(BillError::Price { key: info.key.to_string(), message, hint });
            }
        }
        Ok(())
    }

    /// In the order of [`PRICES`].
    pub fn fields(&self) -> [Range; 8] {
        let mut copy = *self;
        copy.fields_mut().map(|range| *range)
    }

    fn fields_mut(&mut self) -> [&mut Range; 8] {
        [
            &mut self.gpu_hour_usd,
            &mut self.gpu_purchase_usd,
            &mut self.server_overhead,
            &mut self.depreciation_years,
            &mut self.power_usd_per_kwh,
            &mut self.gpu_watts,
            &mut self.pue,
            &mut self.salary_usd_per_year,
        ]
    }

    /// A GPU with its share of server and network, in USD.
    pub fn installed_gpu_usd(&self) -> Range {
        self.gpu_purchase_usd.times(self.server_overhead)
    }

    /// What an hour of a bought GPU takes from its price, in USD: price over years of 8,760 hours, whether used or idle.
    pub fn depreciation_usd_per_hour(&self) -> Range {
        self.installed_gpu_usd().over(self.depreciation_years.times(Range::exact(8760.0)))
    }

    /// Electricity of a GPU's hour, in USD.
    pub fn power_usd_per_hour(&self) -> Range {
        let kw = self.gpu_watts.times(Range::exact(1e-3));
        kw.times(self.pue).times(self.power_usd_per_kwh)
    }
}

/// How an item's quantity becomes money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// GPU-hours, rented: the rent pays for hardware, power and room.
    Rent,
    /// GPUs, bought.
    Purchase,
    /// GPU-hours, written off from a purchase.
    Depreciation,
    /// GPU-hours, their electricity.
    Power,
    /// Person-years.
    Salary,
    /// USD.
    Money,
}

impl Basis {
    /// Unit of the quantity.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rent | Self::Depreciation | Self::Power => "GPU-hours",
            Self::Purchase => "GPUs",
            Self::Salary => "person-years",
            Self::Money => "USD",
        }
    }

    /// USD a unit of the quantity.
    pub fn unit_usd(self, prices: &Prices) -> Range {
        match self {
            Self::Rent => prices.gpu_hour_usd,
            Self::Purchase => prices.installed_gpu_usd(),
            Self::Depreciation => prices.depreciation_usd_per_hour(),
            Self::Power => prices.power_usd_per_hour(),
            Self::Salary => prices.salary_usd_per_year,
            Self::Money => Range::exact(1.0),
        }
    }
}
