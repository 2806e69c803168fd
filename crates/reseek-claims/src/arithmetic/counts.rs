//! Parameters, operations, cache and utilisation.

use reseek_sim::published::Report;
use reseek_spec::ModelSpec;

use super::{arithmetic, printed};
use crate::claim::{Claim, Finding, Tolerance};
use crate::inputs::Inputs;

/// The table does not say how it counts attention: at 4K tokens causal or not is 2 % of a dense 405B.
const GFLOP: Tolerance = Tolerance::Relative { by: 0.02, why: "the table does not say how it counts attention" };

pub(crate) static COUNTS: &[Claim] = &[
    arithmetic(
        "v3-total-params",
        (Report::V3, "section 4.2"),
        "The model has 671B parameters.",
        (671.0, "B parameters"),
        printed(0.5),
        |i| {
            let total = i.v3.params().total;
            Finding::of(total as f64 / 1e9, format!("sum of the main model's tensors: {total}"))
        },
    ),
    arithmetic(
        "v3-active-params",
        (Report::V3, "section 4.2"),
        "37B parameters are activated for each token.",
        (37.0, "B parameters"),
        printed(0.5),
        |i| {
            let p = i.v3.params();
            let found = p.active_without_embedding as f64 / 1e9;
            let all = p.active as f64 / 1e9;
            Finding::of(
                found,
                format!(
                    "8 of 256 experts, the head and no embedding table, of which a token reads a row; with it {all:.3}"
                ),
            )
        },
    ),
    arithmetic(
        "repos-active-params",
        (Report::Repos, "DeepSeek-V3, README_WEIGHTS.md"),
        "36.7B parameters are activated, 0.9B of the embedding and 0.9B of the head among them.",
        (36.7, "B parameters"),
        printed(0.05),
        |i| {
            let p = i.v3.params();
            let (all, one) = (p.active as f64 / 1e9, p.active_without_embedding as f64 / 1e9);
            Finding::of(all, format!("with embedding and head {all:.3}; with one of them {one:.3}: the count has one"))
        },
    ),
    arithmetic(
        "repos-mtp-params",
        (Report::Repos, "DeepSeek-V3, README_WEIGHTS.md"),
        "The MTP module has 11.5B parameters of its own, without the shared embedding and head.",
        (11.5, "B parameters"),
        printed(0.05),
        |i| {
            let mtp = i.v3.params().mtp as f64 / 1e9;
            let projection = 2.0 * (i.v3.hidden_size as f64).powi(2) / 1e9;
            let rest = mtp - projection;
            Finding::of(
                mtp,
                format!(
                    "block, norms and a projection of {projection:.3}B; without the projection {rest:.3}, which is what is printed"
                ),
            )
        },
    ),
    arithmetic(
        "repos-files-params",
        (Report::Repos, "DeepSeek-V3, README.md"),
        "The published files hold 685B parameters: the model, the MTP module and its copies of embedding and head.",
        (685.0, "B parameters"),
        printed(0.5),
        files,
    ),
    arithmetic(
        "insights-gflop-v3",
        (Report::Insights, "table 2"),
        "Training V3 takes 250 GFLOP a token.",
        (250.0, "GFLOP a token"),
        GFLOP,
        |i| gflop(&i.v3, i.seq_len),
    ),
    arithmetic(
        "insights-gflop-v2",
        (Report::Insights, "table 2"),
        "Training V2 takes 155 GFLOP a token.",
        (155.0, "GFLOP a token"),
        GFLOP,
        |i| gflop(&i.v2, i.seq_len),
    ),
    arithmetic(
        "insights-gflop-qwen-72b",
        (Report::Insights, "table 2"),
        "Training a dense 72B (Qwen2.5) takes 394 GFLOP a token.",
        (394.0, "GFLOP a token"),
        GFLOP,
        |i| gflop(&i.qwen_72b, i.seq_len),
    ),
    arithmetic(
        "insights-gflop-llama-405b",
        (Report::Insights, "table 2"),
        "Training a dense 405B (Llama 3.1) takes 2448 GFLOP a token.",
        (2448.0, "GFLOP a token"),
        GFLOP,
        |i| gflop(&i.llama_405b, i.seq_len),
    ),
    arithmetic(
        "insights-tflops-causal",
        (Report::Insights, "table 4"),
        "A GPU reaches 385 TFLOPS with causal attention counted.",
        (385.0, "TFLOPS"),
        printed(0.5),
        |i| rate(i, i.v3.train_flops_per_token(i.seq_len).causal, 1e-12),
    ),
    arithmetic(
        "insights-tflops-noncausal",
        (Report::Insights, "table 4"),
        "A GPU reaches 432 TFLOPS with the whole square of scores counted.",
        (432.0, "TFLOPS"),
        printed(0.5),
        |i| rate(i, i.v3.train_flops_per_token(i.seq_len).noncausal, 1e-12),
    ),
    arithmetic(
        "insights-mfu-causal",
        (Report::Insights, "table 4"),
        "Utilisation is 38.94 % of the bf16 peak with causal attention counted.",
        (38.94, "%"),
        printed(0.005),
        |i| rate(i, i.v3.train_flops_per_token(i.seq_len).causal, 100.0 / i.cluster.gpu.bf16_flops),
    ),
    arithmetic(
        "insights-mfu-noncausal",
        (Report::Insights, "table 4"),
        "Utilisation is 43.73 % of the bf16 peak with the whole square of scores counted.",
        (43.73, "%"),
        printed(0.005),
        |i| rate(i, i.v3.train_flops_per_token(i.seq_len).noncausal, 100.0 / i.cluster.gpu.bf16_flops),
    ),
    arithmetic(
        "insights-kv-v3",
        (Report::Insights, "table 1"),
        "V3 caches 70.272 KB a token.",
        (70.272, "KB"),
        printed(0.0005),
        |i| Finding::of(kb(&i.v3), "(512 latent + 64 rotary) · 61 layers · 2 bytes".to_string()),
    ),
    arithmetic(
        "insights-kv-qwen-72b",
        (Report::Insights, "table 1"),
        "Qwen2.5 72B caches 327.680 KB a token.",
        (327.680, "KB"),
        printed(0.0005),
        |i| Finding::of(kb(&i.qwen_72b), "2 · 8 heads · 128 · 80 layers · 2 bytes".to_string()),
    ),
    arithmetic(
        "insights-kv-llama-405b",
        (Report::Insights, "table 1"),
        "Llama 3.1 405B caches 516.096 KB a token.",
        (516.096, "KB"),
        printed(0.0005),
        |i| Finding::of(kb(&i.llama_405b), "2 · 8 heads · 128 · 126 layers · 2 bytes".to_string()),
    ),
    arithmetic(
        "insights-kv-ratio-qwen",
        (Report::Insights, "table 1"),
        "Qwen2.5 72B's cache is 4.66 times V3's.",
        (4.66, "times"),
        printed(0.005),
        |i| ratio(&i.qwen_72b, &i.v3),
    ),
    arithmetic(
        "insights-kv-ratio-llama",
        (Report::Insights, "table 1"),
        "Llama 3.1 405B's cache is 7.28 times V3's.",
        (7.28, "times"),
        printed(0.005),
        |i| ratio(&i.llama_405b, &i.v3),
    ),
];

/// Parameters in the files: main model, MTP module, its copies of embedding and head, and the scales of the fp8 weights, one for each
/// block of 128 × 128.
fn files(i: &Inputs) -> Result<Finding, String> {
    let p = i.v3.params();
    let copies = 2 * (i.v3.vocab_size * i.v3.hidden_size) as u64;
    let tensors = i.v3.tensors();
    let quantised = tensors.iter().filter(|t| t.name.contains("_proj") && !t.name.contains("eh_proj"));
    let scales: u64 = quantised.map(|t| t.shape.iter().map(|n| n.div_ceil(128) as u64).product::<u64>()).sum();
    let (main, mtp) = (p.total as f64 / 1e9, p.mtp as f64 / 1e9);
    let working = format!(
        "main {main:.3} + MTP {mtp:.3} + copies {:.3} + fp8 scales {:.3}; the MTP part alone is {:.2}, printed as 14",
        copies as f64 / 1e9,
        scales as f64 / 1e9,
        mtp + copies as f64 / 1e9
    );
    Finding::of((p.total + p.mtp + copies + scales) as f64 / 1e9, working)
}

fn gflop(model: &ModelSpec, seq_len: usize) -> Result<Finding, String> {
    let flops = model.train_flops_per_token(seq_len);
    let products = 6.0 * model.matmul_params() as f64 / 1e9;
    let (causal, square) = (flops.causal / 1e9, flops.noncausal / 1e9);
    let quarter = products + (causal - products) / 2.0;
    Finding::of(
        causal,
        format!(
            "6 · {:.3}B parameters in products = {products:.2}; causal attention at {seq_len} tokens makes {causal:.2}, the whole square {square:.2}, \
             a quarter of it {quarter:.2}",
            model.matmul_params() as f64 / 1e9
        ),
    )
}

/// Operations a second and GPU from the step, in `unit`.
fn rate(i: &Inputs, flops_per_token: f64, unit: f64) -> Result<Finding, String> {
    let (tokens, gpus) = (i.step_tokens(), i.cluster.gpus as f64);
    let found = flops_per_token * tokens / i.step_s / gpus * unit;
    Finding::of(found, format!("{:.2} GFLOP · {tokens} tokens / {} s / {gpus} GPUs", flops_per_token / 1e9, i.step_s))
}

/// Of bf16 keys and values a token.
fn kb(model: &ModelSpec) -> f64 {
    model.kv_bytes_per_token(2) as f64 / 1e3
}

fn ratio(model: &ModelSpec, v3: &ModelSpec) -> Result<Finding, String> {
    Finding::of(kb(model) / kb(v3), format!("{} KB / {} KB", kb(model), kb(v3)))
}
