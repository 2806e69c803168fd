//! How sure an answer is: every rate has a range with a reason; draws from all ranges at once give intervals, one range at a time a tornado.

use std::thread;

use serde::Serialize;

use crate::bill::Range;
use crate::{Rates, SimError};

/// What the intervals are, for wherever they are printed: the range of [`INPUTS`]' last row was set with the errors of `validate`'s rows, so that
/// these rows lie inside is no evidence that 95 % is the chance of it.
pub const AS_WIDE_AS: &str = "as wide as our errors on the published runs of `reseek sim validate`";

/// Something uncertain: its range as factors of the table's value, and why it is that wide.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Input {
    /// Name of its dial.
    pub key: &'static str,
    /// In words.
    pub title: &'static str,
    /// Of the table's value, which is the middle.
    pub low: f64,
    /// The highest factor.
    pub high: f64,
    /// Why the range is this wide.
    pub source: &'static str,
    #[serde(skip)]
    set: fn(&mut Rates, f64),
}

impl Input {
    /// Multiplies the input's rates by `factor`.
    pub fn apply(&self, rates: &mut Rates, factor: f64) {
        (self.set)(rates, factor);
    }
}

const fn input(
    key: &'static str,
    title: &'static str,
    (low, high): (f64, f64),
    source: &'static str,
    set: fn(&mut Rates, f64),
) -> Input {
    Input { key, title, low, high, source, set }
}

/// All that is drawn.
pub const INPUTS: [Input; 17] = [
    input(
        "bf16_products",
        "rate of bf16 products",
        (0.93, 1.05),
        "cuBLAS and DeepGEMM between versions and clocks",
        |r, f| {
            r.bf16.share *= f;
        },
    ),
    input(
        "fp8_products",
        "rate of fp8 products",
        (0.93, 1.06),
        "DeepGEMM's published shapes, 3 % around the fit, and its later versions",
        |r, f| {
            r.fp8.share *= f;
        },
    ),
    input(
        "fp8_weight_gradients",
        "rate of fp8 weight gradients",
        (0.85, 1.2),
        "one trace; DeepGEMM's later kernels are faster",
        |r, f| {
            r.fp8_wgrad.share *= f;
        },
    ),
    input(
        "attention",
        "rate of fused attention",
        (0.9, 1.1),
        "published rates differ so much by head size and length",
        |r, f| {
            for rate in [&mut r.attention, &mut r.flash2, &mut r.flash1] {
                rate.forward *= f;
                rate.backward *= f;
            }
        },
    ),
    input(
        "elementwise",
        "memory bandwidth of element-wise kernels",
        (0.87, 1.13),
        "assumption: 65 to 85 % of the data sheet",
        |r, f| {
            r.elementwise *= f;
        },
    ),
    input("cast", "memory bandwidth of casts", (0.75, 1.4), "one trace", |r, f| r.cast *= f),
    input(
        "links",
        "bandwidth inside of a domain",
        (0.9, 1.1),
        "Insights: 160 of 200 GB/s; NCCL's tests reach 75 to 90 %",
        |r, f| {
            r.nvlink *= f;
        },
    ),
    input(
        "network",
        "bandwidth of the network",
        (0.85, 1.15),
        "Insights: 40 of 50 GB/s; DeepEP measures 43 to 47",
        |r, f| {
            r.network *= f;
        },
    ),
    input("latency", "latency of messages", (0.5, 2.0), "assumption", |r, f| {
        r.nvlink_latency_s *= f;
        r.network_latency_s *= f;
    }),
    input("launch", "time between kernels", (0.5, 2.0), "assumption: 1.5 to 6 µs, with graphs or without", |r, f| {
        r.launch_s *= f
    }),
    input(
        "tp_exposed",
        "share of tensor-parallel collectives that shows",
        (0.7, 1.0),
        "assumption: overlap in newer libraries",
        |r, f| {
            r.tp_exposed *= f;
        },
    ),
    input("dp_exposed", "share of data-parallel collectives that shows", (0.5, 2.0), "assumption", |r, f| {
        r.dp_exposed *= f
    }),
    input("ep_exposed", "share of unpaired all-to-alls that shows", (0.5, 1.6), "assumption", |r, f| r.ep_exposed *= f),
    input(
        "expert_load",
        "unevenness of experts' loads",
        (0.5, 2.0),
        "V3's figure 9 shows loads, not how long they last",
        |r, f| {
            r.expert_load_cv *= f;
        },
    ),
    input(
        "waiting",
        "waiting for stragglers",
        (0.25, 2.0),
        "set with one published bubble, V3's: the range is an assumption",
        |r, f| {
            r.jitter = 1.0 + (r.jitter - 1.0) * f;
        },
    ),
    input(
        "failures",
        "hours between failures",
        (0.5, 2.0),
        "Llama 3's 419 interruptions; others report half and twice the rate",
        |r, f| {
            r.mtbf_gpu_hours *= f;
        },
    ),
    input(
        "left_out",
        "what the model leaves out",
        (0.86, 1.16),
        "as wide as our errors on published runs: 7 % was the root of their mean square when it was set",
        |r, f| {
            r.left_out *= f;
        },
    ),
];

/// Rates of draw `index`: every input from a triangle over its range with its top at the table's value. The same seed and index
/// give the same rates on every machine.
pub fn draw(base: &Rates, seed: u64, index: u64) -> Rates {
    let mut rates = base.clone();
    for (i, input) in INPUTS.iter().enumerate() {
        (input.set)(&mut rates, triangle(uniform(seed, index, i as u64), input.low, input.high));
    }
    rates
}

/// Quantile `u` of the triangle from `low` over 1 to `high`.
fn triangle(u: f64, low: f64, high: f64) -> f64 {
    let width = high - low;
    let top = (1.0 - low) / width;
    match u < top {
        true => low + (u * width * (1.0 - low)).sqrt(),
        false => high - ((1.0 - u) * width * (high - 1.0)).sqrt(),
    }
}

/// A number in [0, 1) of three indices: SplitMix64's finaliser (Steele, Lea and Flood, 2014) over each in turn.
fn uniform(seed: u64, index: u64, input: u64) -> f64 {
    let mix = |state: u64, value: u64| {
        let mut z = (state ^ value).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (mix(mix(mix(seed, 0), index), input) >> 11) as f64 / (1u64 << 53) as f64
}

/// Intervals of the quantities that `answer` gives, between the 2.5th and the 97.5th percentile of `draws` draws on `threads` threads: as wide as
/// our own errors ([`AS_WIDE_AS`]), which is no confidence level. The middle is the answer at the table's own rates, not the median. Equal for any
/// number of threads.
///
/// # Errors
/// The first that `answer` gives, fewer than 40 draws, whose outer fortieths hold no draw, and more than 100,000, which change no digit that is shown.
pub fn intervals<const N: usize>(
    base: &Rates,
    draws: usize,
    seed: u64,
    threads: usize,
    answer: &(dyn Fn(&Rates) -> Result<[f64; N], SimError> + Sync),
) -> Result<[Range; N], SimError> {
    const DRAWS: std::ops::RangeInclusive<usize> = 40..=100_000;
    if !DRAWS.contains(&draws) {
        return Err(SimError::plan(format!("{draws} draws"), "40 or more, up to 100000", "1000 take a few seconds"));
    }
    let middle = answer(base)?;
    let threads = threads.clamp(1, draws);
    let share = |thread: usize| -> Result<Vec<[f64; N]>, SimError> {
        (thread..draws).step_by(threads).map(|index| answer(&draw(base, seed, index as u64))).collect()
    };
    let parts: Vec<Result<Vec<[f64; N]>, SimError>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|one| one.join().expect("a draw does not panic")).collect()
    });
    let mut all = Vec::with_capacity(draws);
    for part in parts {
        all.extend(part?);
    }
    Ok(std::array::from_fn(|i| {
        let mut values: Vec<f64> = all.iter().map(|one| one[i]).collect();
        values.sort_by(f64::total_cmp);
        let at = |quantile: f64| values[((values.len() - 1) as f64 * quantile).round() as usize];
        Range::new(at(0.025).min(middle[i]), middle[i], at(0.975).max(middle[i]))
    }))
}

/// What one input's range does to an answer.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// What was moved.
    pub input: Input,
    /// The answer with the input at its low and at its high end.
    pub at_low: f64,
    /// The same at its high end.
    pub at_high: f64,
}

impl Bar {
    /// How far the answer moves.
    pub fn width(&self) -> f64 {
        (self.at_high - self.at_low).abs()
    }
}

/// Every input alone at its ends, the widest first.
///
/// # Errors
/// The first that `answer` gives.
pub fn tornado(base: &Rates, answer: &dyn Fn(&Rates) -> Result<f64, SimError>) -> Result<Vec<Bar>, SimError> {
    let at = |input: &Input, factor: f64| {
        let mut rates = base.clone();
        (input.set)(&mut rates, factor);
        answer(&rates)
    };
    let mut bars = INPUTS
        .iter()
        .map(|&input| Ok(Bar { input, at_low: at(&input, input.low)?, at_high: at(&input, input.high)? }))
        .collect::<Result<Vec<_>, SimError>>()?;
    bars.sort_by(|a, b| b.width().total_cmp(&a.width()));
    Ok(bars)
}
