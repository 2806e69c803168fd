//! Hours, days and money.

use reseek_sim::bill::{Bill, DEEPSEEK, Prices, Selection, bill};
use reseek_sim::published::{self, Quoted, Report};

use super::{arithmetic, printed};
use crate::claim::{Claim, Finding, Tolerance};
use crate::inputs::{Inputs, Serving};

const NATURE: (Report, &str) = published::R1.at();
const DAY_6: (Report, &str) = published::SERVING_NODES.at();

pub(crate) static MONEY: &[Claim] = &[
    arithmetic(
        "v3-hours-total",
        published::TRAINING.at(),
        "Pre-training, extension and post-training together take 2788K H800 hours.",
        thousands(published::TRAINING),
        printed(0.5),
        |i| Finding::of(total_hours(i) / 1e3, format!("{} + {} + {} GPU-hours", i.hours[0], i.hours[1], i.hours[2])),
    ),
    arithmetic(
        "v3-hours-pretraining",
        (Report::V3, "section 1"),
        "At 180K hours a trillion tokens, pre-training on 14.8T takes 2664K.",
        thousands(published::PRE_TRAINING),
        printed(0.5),
        |i| {
            let working = format!("{} hours · {} T", i.hours_per_t, i.tokens / 1e12);
            Finding::of(i.hours_per_t * i.tokens / 1e12 / 1e3, working)
        },
    ),
    arithmetic(
        "v3-cost",
        published::TRAINING_USD.at(),
        "At 2 USD an hour the official training costs 5.576M USD.",
        (published::TRAINING_USD.value / 1e6, "M USD"),
        printed(0.0005),
        |i| {
            let working = format!("{} GPU-hours · {} USD", total_hours(i), i.usd_per_hour);
            Finding::of(total_hours(i) * i.usd_per_hour / 1e6, working)
        },
    ),
    arithmetic(
        "v3-cost-misread",
        (Report::V3, "section 1, table 1 and the sentence after it"),
        "Misreading on record: \"5.576M USD is what DeepSeek cost\". The report never says so: the figure is the rent of the official training \
         alone, research, ablations and data excluded.",
        (published::TRAINING_USD.value / 1e6, "M USD"),
        printed(0.0005),
        misread,
    ),
    arithmetic(
        "v3-hours-per-t",
        published::HOURS_PER_T.at(),
        "A trillion tokens take 180K H800 hours; the step time published later agrees.",
        thousands(published::HOURS_PER_T),
        printed(0.5),
        |i| {
            let (tokens, gpus) = (i.step_tokens(), i.cluster.gpus as f64);
            let working = format!("1e12 / {tokens} tokens · {} s · {gpus} GPUs / 3600", i.step_s);
            Finding::of(1e12 / tokens * i.step_s * gpus / 3600.0 / 1e3, working)
        },
    ),
    arithmetic(
        "v3-days-per-t",
        (Report::V3, "section 1"),
        "A trillion tokens take 3.7 days on 2,048 GPUs.",
        (3.7, "days"),
        printed(0.05),
        |i| days(i.hours_per_t, i),
    ),
    arithmetic(
        "v3-two-months",
        (Report::V3, "section 1"),
        "Pre-training ends in less than two months.",
        (60.0, "days"),
        Tolerance::Below { why: "two months of 30 days" },
        |i| days(i.hours[0], i),
    ),
    arithmetic(
        "insights-tokens-per-day",
        (Report::Insights, "table 4"),
        "The cluster trains on 272.80B tokens a day.",
        (272.80, "B tokens"),
        printed(0.005),
        |i| {
            let working = format!("{} tokens · 86400 s / {} s", i.step_tokens(), i.step_s);
            Finding::of(i.step_tokens() * 86_400.0 / i.step_s / 1e9, working)
        },
    ),
    arithmetic(
        "insights-step-parts",
        published::STEP.at(),
        "The parts of a step add up to its 19.926 s.",
        published::STEP.number(),
        Tolerance::Absolute { by: 0.03, why: "six parts printed to 10 ms" },
        |i| {
            let parts: Vec<String> = i.step_parts_s.iter().map(f64::to_string).collect();
            Finding::of(i.step_parts_s.iter().sum(), parts.join(" + "))
        },
    ),
    arithmetic(
        "repos-serving-cost",
        DAY_6,
        "A day on 226.75 nodes of eight H800 at 2 USD an hour costs 87,072 USD.",
        (87_072.0, "USD"),
        printed(0.5),
        |i| {
            Finding::of(
                serving_cost(i),
                format!("{} nodes · {} · 24 h · {} USD", i.serving.nodes, i.serving.gpus_a_node, i.usd_per_hour),
            )
        },
    ),
    arithmetic(
        "repos-serving-revenue",
        DAY_6,
        "At R1's prices the day's tokens would bring 562,027 USD.",
        published::SERVING_REVENUE.number(),
        Tolerance::Relative { by: 0.0031, why: "tokens are printed to 1B, which is 1,700 USD" },
        |i| {
            let Serving { input, input_cached, output, usd_per_m, .. } = i.serving;
            let [cached, other, out] = usd_per_m;
            let found = (input_cached * cached + (input - input_cached) * other + output * out) / 1e6;
            let (hit, miss) = (input_cached / 1e9, (input - input_cached) / 1e9);
            Finding::of(
                found,
                format!("{hit}B · {cached} + {miss}B · {other} + {}B · {out} USD a million", output / 1e9),
            )
        },
    ),
    arithmetic(
        "repos-serving-margin",
        DAY_6,
        "That is a margin of 545 % over cost.",
        (545.0, "%"),
        printed(0.5),
        |i| {
            let (cost, revenue) = (serving_cost(i), i.serving.revenue_usd);
            Finding::of(100.0 * (revenue - cost) / cost, format!("({revenue} − {cost}) / {cost}"))
        },
    ),
    arithmetic(
        "repos-serving-nodes",
        DAY_6,
        "Nodes at 73.7K tokens/s in prefill or 14.8K in decoding serve the day's tokens with 226.75 nodes.",
        published::SERVING_NODES.number(),
        Tolerance::Relative { by: 0.005, why: "rates are printed to three digits" },
        |i| {
            let [prefill, decode] = i.serving.rates;
            let (a, b) = (i.serving.input / 86_400.0 / prefill, i.serving.output / 86_400.0 / decode);
            Finding::of(a + b, format!("{a:.2} nodes of prefill + {b:.2} of decoding, each always at its mean rate"))
        },
    ),
    arithmetic("r1-hours", NATURE, "R1 takes 147K H800 hours.", (147.0, "K GPU-hours"), printed(0.5), |i| {
        let [zero, data, r1] = i.r1_hours;
        Finding::of((zero + data + r1) / 1e3, format!("R1-Zero {zero} + data {data} + R1 {r1}"))
    }),
    arithmetic(
        "r1-zero-hours",
        NATURE,
        "R1-Zero takes 101K H800 hours: 512 GPUs for about 198 hours.",
        thousands(published::R1_ZERO),
        printed(0.5),
        |i| Finding::of(i.r1_gpus * i.r1_wall_h[0] / 1e3, format!("{} · {} h", i.r1_gpus, i.r1_wall_h[0])),
    ),
    arithmetic(
        "r1-stages-hours",
        NATURE,
        "R1's own stages take 41K H800 hours: 512 GPUs for about 80 hours.",
        thousands(published::R1),
        printed(0.5),
        |i| Finding::of(i.r1_gpus * i.r1_wall_h[1] / 1e3, format!("{} · {} h", i.r1_gpus, i.r1_wall_h[1])),
    ),
    arithmetic("r1-cost", NATURE, "R1 costs 294K USD at 2 USD an hour.", (294.0, "K USD"), printed(0.5), |i| {
        let hours: f64 = i.r1_hours.iter().sum();
        Finding::of(hours * i.usd_per_hour / 1e3, format!("{hours} GPU-hours · {} USD", i.usd_per_hour))
    }),
    arithmetic(
        "r1-zero-epochs",
        (Report::R1, "version in Nature, methods: R1-Zero's training"),
        "10,400 steps of 32 questions are 1.6 epochs of R1-Zero's data.",
        (1.6, "epochs"),
        printed(0.05),
        |i| {
            let draws = i.r1_zero_steps * i.r1_zero_questions_a_step;
            let prompts: f64 = i.r1_prompts.iter().sum();
            let working =
                format!("{draws} draws / {prompts} listed prompts; 1.6 epochs would be {} prompts", draws / 1.6);
            Finding::of(draws / prompts, working)
        },
    ),
];

const fn thousands(hours: Quoted) -> (f64, &'static str) {
    (hours.value / 1e3, "K GPU-hours")
}

fn total_hours(i: &Inputs) -> f64 {
    i.hours.iter().sum()
}

fn days(gpu_hours: f64, i: &Inputs) -> Result<Finding, String> {
    let gpus = i.cluster.gpus as f64;
    Finding::of(gpu_hours / gpus / 24.0, format!("{gpu_hours} GPU-hours / {gpus} GPUs / 24"))
}

fn serving_cost(i: &Inputs) -> f64 {
    i.serving.nodes * i.serving.gpus_a_node * 24.0 * i.usd_per_hour
}

/// What the table counts, and beside it what the bill has besides.
fn misread(i: &Inputs) -> Result<Finding, String> {
    let prices = Prices::at_gpu_hour(i.usd_per_hour);
    let of = |selection| bill(DEEPSEEK, &prices, &selection).map_err(|e| e.to_string());
    let table: Bill = of(Selection::Preset("report"))?;
    let outside = table.left_out.usd;
    let items = table.lines.iter().filter(|l| !l.counted && l.item.instead_of.is_empty()).count();
    let working = format!(
        "three rows of the table; the bill has {items} items beside them, {:.1}M to {:.1}M USD, most of them assumptions",
        outside.low / 1e6,
        outside.high / 1e6
    );
    Finding::of(table.total.usd.mid / 1e6, working)
}
