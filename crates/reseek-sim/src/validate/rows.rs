//! The published runs.

use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, Family, ModelSpec, preset};

use super::{Published, Row};
use crate::published;
use crate::rates::Rate;
use crate::{Kernels, Plan, Precision, Recompute};

/// Rates that were set with DeepSeek-V3's own run: its bubble set the waiting, its report's figure the experts' loads, the public trace of its
/// training stack the others. Every figure of the run has them.
pub const V3: &[Rate] =
    &[Rate::Waiting, Rate::ExpertLoad, Rate::Attention, Rate::Fp8WeightGradients, Rate::Cast, Rate::AllToAllExposed];
/// Rates that the public trace set.
pub const TRACE: &[Rate] = &[Rate::Attention, Rate::Fp8WeightGradients, Rate::Cast, Rate::AllToAllExposed];
/// Of Megatron's table, 18B and 39B were looked at when Ampere's rates were made. By which, is not on record: these are what no other source gives
/// and what moves the two.
const MEGATRON: &[Rate] = &[Rate::AmpereLinks, Rate::TensorParallelExposed];
/// As [`MEGATRON`], of the first row of Llama 3's table.
const LLAMA_3: &[Rate] = &[Rate::TensorParallelExposed, Rate::DataParallelExposed];
/// Kernels of 2022 have no source but the runs that had them.
const LLAMA_2022: &[Rate] = &[Rate::Flash1, Rate::Eager];

fn cluster(text: &str) -> ClusterSpec {
    ClusterSpec::parse(text).expect("a cluster of the table")
}

pub fn published_model(name: &str) -> ModelSpec {
    preset(name).expect("a preset of the table")
}

/// A dense model by its sizes.
pub fn dense(
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    intermediate: usize,
    vocab: usize,
) -> ModelSpec {
    ModelSpec {
        family: Family::Llama,
        hidden_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim: hidden / heads,
        intermediate_size: intermediate,
        vocab_size: vocab,
        ..published_model("llama-3.1-405b")
    }
}

impl Row {
    /// A row that counts, sets no rate and may be off by as much as any.
    pub fn new(
        name: &'static str,
        source: &'static str,
        model: ModelSpec,
        gpus: &str,
        plan: Plan,
        published: Published,
    ) -> Self {
        let cluster = cluster(gpus);
        let tolerance = super::WORST_MAX;
        Self {
            name,
            source,
            model,
            cluster,
            plan,
            published,
            tolerance,
            sets_rates: &[],
            counts: true,
            assumed: "",
            power_share: 1.0,
            is_balanced: false,
        }
    }

    fn within(self, tolerance: f64) -> Self {
        Self { tolerance, ..self }
    }

    /// Marks the rates that were set with the run.
    pub fn sets(self, sets_rates: &'static [Rate]) -> Self {
        Self { sets_rates, ..self }
    }

    /// Says what the source does not.
    pub fn assumed(self, assumed: &'static str) -> Self {
        Self { assumed, ..self }
    }

    /// A row that is shown and does not count.
    pub fn shown(self) -> Self {
        Self { counts: false, ..self }
    }
}

/// Every row of the table.
pub fn rows() -> Vec<Row> {
    let mut rows = deepseek();
    rows.extend(megatron());
    rows.extend(llama());
    rows.push(nvidia());
    rows.extend(super::held_out::rows());
    rows
}

fn deepseek() -> Vec<Row> {
    let v3 = || published_model("v3-671b");
    let insights = "Insights, table 4";
    let step =
        |published| Row::new("DeepSeek-V3, 2048 H800", insights, v3(), "h800x2048", Plan::v3(), published).sets(V3);
    let trace_plan = Plan { dp: 64, pp: 1, schedule: ScheduleKind::OneFOneB, global_batch: 64, ..Plan::v3() };
    let trace = "public training trace of V3's settings (EP64, 4 layers)";
    let pair = |published| {
        let row = Row::new("DeepSeek-V3, one pair", trace, v3(), "h800x64", trace_plan.clone(), published);
        // The trace was taken with balanced routing.
        Row { is_balanced: true, ..row.sets(TRACE) }
    };
    let layers = published::TRACE_LAYERS;
    let v2_plan = Plan {
        pp: 16,
        ep: 8,
        dp: 64,
        global_batch: 9216,
        schedule: ScheduleKind::Zb1p,
        precision: Precision::Bf16,
        kernels: Kernels::Flash2,
        node_limit: None,
        ..Plan::v3()
    };
    let dense_plan = Plan {
        tp: 4,
        pp: 4,
        recompute: Recompute::Selective,
        kernels: Kernels::Flash2,
        ..Plan::data_parallel(32, 4608, 4096)
    };
    vec![
        step(Published::StepSeconds(published::STEP.value)).within(5.0),
        step(Published::PassesSeconds(published::STEP_PASSES.value)),
        step(Published::BubbleSeconds(published::STEP_BUBBLE.value)),
        step(Published::OptimizerSeconds(published::STEP_OPTIMIZER.value)),
        Row::new(
            "DeepSeek-V3, 2048 H800",
            "V3 report, 1",
            v3(),
            "h800x2048",
            Plan::v3(),
            Published::HoursPerTrillion { hours: published::HOURS_PER_T.value, pays_restarts: false },
        )
        .sets(V3)
        .within(5.0),
        pair(Published::PairMilliseconds { layers, milliseconds: published::TRACE_PAIR.value }).within(8.0),
        pair(Published::PairExposedPercent { layers, percent: published::TRACE_EXPOSED.value }).within(3.0),
        Row::new(
            "DeepSeek-V2",
            "V2 report, 3.2.3",
            published_model("v2-236b"),
            "h800x1024",
            v2_plan,
            Published::HoursPerTrillion { hours: 172.8e3, pays_restarts: false },
        )
        .assumed("1,024 GPUs"),
        Row::new(
            "DeepSeek 67B",
            "V2 report, 3.2.3",
            dense(8192, 95, 64, 8, 22016, 102400),
            "h800x512",
            dense_plan,
            Published::HoursPerTrillion { hours: 300.6e3, pays_restarts: false },
        )
        .assumed("512 GPUs, TP 4, PP 4"),
    ]
}

fn megatron() -> Vec<Row> {
    // hidden, layers, heads, tensor and pipeline parallelism, GPUs, batch, TFLOPS.
    let table = [
        ("Megatron 1.7B", 2304, 24, 24, 1, 1, "a100-80x32", 512, 137.0),
        ("Megatron 3.6B", 3072, 30, 32, 2, 1, "a100-80x64", 512, 138.0),
        ("Megatron 7.5B", 4096, 36, 32, 4, 1, "a100-80x128", 512, 142.0),
        ("Megatron 18B", 6144, 40, 48, 8, 1, "a100-80x256", 1024, 135.0),
        ("Megatron 39B", 8192, 48, 64, 8, 2, "a100-80x512", 1536, 138.0),
        ("Megatron 76B", 10240, 60, 80, 8, 4, "a100-80x1024", 1792, 140.0),
        ("Megatron 145B", 12288, 80, 96, 8, 8, "a100-80x1536", 2304, 148.0),
        ("Megatron 310B", 16384, 96, 128, 8, 16, "a100-80x1920", 2160, 155.0),
        ("Megatron 530B", 20480, 105, 128, 8, 35, "a100-80x2520", 2520, 163.0),
        ("Megatron 1T", 25600, 128, 160, 8, 64, "a100-80x3072", 3072, 163.0),
    ];
    let row = |(name, hidden, layers, heads, tp, pp, gpus, batch, tflops)| {
        // Two projections of four times the width have the parameters of a gated one of 8/3.
        let model = dense(hidden, layers, heads, heads, 8 * hidden / 3, 51200);
        let dp = cluster(gpus).gpus / (tp * pp);
        let sequences: usize = batch / dp;
        // The fewest chunks a rank above one that cut its layers evenly.
        let layers_each: usize = layers / pp;
        let virtual_stages = (2..=layers_each).find(|v| layers_each.is_multiple_of(*v)).unwrap_or(1);
        let plan = Plan {
            tp,
            pp,
            dp,
            zero: 0,
            recompute: Recompute::Full,
            kernels: Kernels::Megatron2021,
            micro_batch: if pp == 1 { sequences.min(4) } else { 1 },
            schedule: match pp > 1 && sequences.is_multiple_of(pp) {
                true => ScheduleKind::Interleaved { virtual_stages },
                false => ScheduleKind::OneFOneB,
            },
            ..Plan::data_parallel(dp, batch, 2048)
        };
        Row::new(name, "Narayanan and others 2021, table 1", model, gpus, plan, Published::MegatronTflops(tflops))
            .assumed("micro-batch; fewest chunks a rank that cut the layers evenly")
    };
    let is_used = |row: Row| if matches!(row.name, "Megatron 18B" | "Megatron 39B") { row.sets(MEGATRON) } else { row };
    table.into_iter().map(row).map(is_used).collect()
}

fn llama() -> Vec<Row> {
    let big = published_model("llama-3.1-405b");
    let plan = |dp: usize, cp: usize, batch: usize, seq: usize| Plan {
        tp: 8,
        cp,
        pp: 16,
        dp,
        zero: 2,
        // "Proactively deallocate tensors that will not be used" (3.3.2): what can be made again is not kept.
        recompute: Recompute::Selective,
        schedule: ScheduleKind::Interleaved { virtual_stages: 8 },
        ..Plan::data_parallel(dp, batch, seq)
    };
    let source = "Llama 3 report, table 4";
    let chunks = "eight chunks a rank";
    let settings = [
        ("Llama 3.1 405B, 8K", "h100x8192", plan(64, 1, 2048, 8192), 430.0),
        ("Llama 3.1 405B, 8K", "h100x16384", plan(128, 1, 2048, 8192), 400.0),
        ("Llama 3.1 405B, 128K", "h100x16384", plan(8, 16, 128, 131_072), 380.0),
    ];
    let mut rows: Vec<Row> = settings
        .into_iter()
        .map(|(name, gpus, plan, tflops)| {
            Row::new(name, source, big.clone(), gpus, plan, Published::Tflops(tflops)).assumed(chunks)
        })
        .collect();
    rows[0].sets_rates = LLAMA_3;
    rows.extend(llama_hours());
    rows
}

fn llama_hours() -> Vec<Row> {
    let sizes = [
        (dense(4096, 32, 32, 32, 11008, 32000), 1),
        (dense(5120, 40, 40, 40, 13824, 32000), 2),
        (dense(6656, 60, 52, 52, 17920, 32000), 4),
        (dense(8192, 80, 64, 64, 22016, 32000), 8),
    ];
    let names = ["LLaMA 7B", "LLaMA 13B", "LLaMA 33B", "LLaMA 65B"];
    let first = [(82_432.0, 1.0), (135_168.0, 1.0), (530_432.0, 1.4), (1_022_362.0, 1.4)];
    let assumed = "tensor parallelism as the files are cut, 2,048 GPUs";
    let mut rows = Vec::new();
    for ((name, (model, tp)), (hours, trillions)) in names.into_iter().zip(&sizes).zip(first) {
        let plan = Plan {
            tp: *tp,
            micro_batch: *tp,
            recompute: Recompute::Selective,
            kernels: Kernels::Eager2022,
            zero: 3,
            ..Plan::data_parallel(2048 / tp, 2048, 2048)
        };
        let published = Published::HoursPerTrillion { hours: hours / trillions, pays_restarts: false };
        rows.push(
            Row::new(name, "LLaMA, table 15", model.clone(), "a100-80x2048", plan, published)
                .sets(LLAMA_2022)
                .assumed(assumed),
        );
    }
    let sizes = [
        ("Llama 2 7B", dense(4096, 32, 32, 32, 11008, 32000), 1, 184_320.0, 1.0),
        ("Llama 2 13B", dense(5120, 40, 40, 40, 13824, 32000), 2, 368_640.0, 1.0),
        // The only one with a power cap: 350 of 400 W.
        ("Llama 2 34B", dense(8192, 48, 64, 8, 22016, 32000), 4, 1_038_336.0, 350.0 / 400.0),
        ("Llama 2 70B", dense(8192, 80, 64, 8, 28672, 32000), 8, 1_720_320.0, 1.0),
    ];
    for (name, model, tp, hours, power_share) in sizes {
        let plan = Plan {
            tp,
            micro_batch: tp,
            recompute: Recompute::Full,
            kernels: Kernels::Eager2022,
            zero: 3,
            ..Plan::data_parallel(1024 / tp, 1024, 4096)
        };
        let published = Published::HoursPerTrillion { hours: hours / 2.0, pays_restarts: true };
        let row = Row::new(name, "Llama 2, table 2", model, "a100-80x1024", plan, published).sets(LLAMA_2022);
        rows.push(Row {
            power_share,
            ..row.assumed("tensor parallelism as the files are cut, 1,024 GPUs, full recomputation")
        });
    }
    rows
}

/// Forced to equal loads, as all of NVIDIA's mixtures are.
fn nvidia() -> Row {
    let plan = Plan {
        tp: 2,
        pp: 8,
        ep: 64,
        dp: 64,
        global_batch: 8192,
        schedule: ScheduleKind::Interleaved { virtual_stages: 4 },
        ..Plan::v3()
    };
    let (model, rate) = (published_model("v3-671b"), Published::TokensPerSecond(1297.0));
    let row = Row::new("V3 by NVIDIA, 1024 H100", "NVIDIA, Megatron Bridge", model, "h100x1024", plan, rate);
    Row { is_balanced: true, ..row.within(10.0).assumed("what is recomputed, V3's limit of nodes") }
}
