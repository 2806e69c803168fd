//! Published runs that are shown beside the table and do not count, nor set a rate of a step (Llama 3.1's interruptions set those of failures):
//! NVIDIA's performance tables, whose settings are published and whose experts are forced to equal loads, and hours of whole runs whose plans are not
//! published. Where they miss, the simulator does.

use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{Family, ModelSpec, MoeSpec, Scoring, SlidingWindow};

use super::rows::{dense, published_model};
use super::{Published, Row};
use crate::plan::comm_sms;
use crate::rates::Rate;
use crate::{Kernels, Plan, Precision, Recompute};

/// Sizes of a plan of NVIDIA's tables.
struct Sizes {
    tp: usize,
    pp: usize,
    cp: usize,
    /// Chunks a rank.
    chunks: usize,
    ep: usize,
    micro_batch: usize,
    global_batch: usize,
    seq: usize,
}

const fn sizes(tp: usize, pp: usize, cp: usize, chunks: usize) -> Sizes {
    Sizes { tp, pp, cp, chunks, ep: 1, micro_batch: 1, global_batch: 1536, seq: 8192 }
}

const fn experts(pp: usize, chunks: usize, ep: usize, micro_batch: usize, global_batch: usize) -> Sizes {
    Sizes { tp: 1, pp, cp: 1, chunks, ep, micro_batch, global_batch, seq: 4096 }
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let mut rows = nvidia();
    rows.extend(whole_runs());
    rows.into_iter().map(Row::shown).collect()
}

fn nvidia() -> Vec<Row> {
    use Precision::{Bf16, Fp8, Mxfp8};
    let v3 = || published_model("v3-671b");
    let without_mtp = || ModelSpec { num_nextn_predict_layers: 0, ..v3() };
    let (small, large) = (|| published_model("llama-3.1-70b"), || published_model("llama-3.1-405b"));
    let batch_256 = |sizes: Sizes| Sizes { global_batch: 256, ..sizes };
    [
        ("V3, 256 B200", v3(), "b200x256", Mxfp8, experts(16, 1, 8, 1, 4096), 2689.0),
        ("V3, 256 GB200", v3(), "gb200x256", Mxfp8, experts(4, 4, 64, 1, 4096), 3955.0),
        ("V3, 256 GB300", v3(), "gb300x256", Mxfp8, experts(2, 8, 32, 2, 4096), 4612.0),
        ("V3 without MTP, GB200", without_mtp(), "gb200x256", Mxfp8, experts(8, 4, 32, 1, 4096), 4018.0),
        ("V3 without MTP, GB200 bf16", without_mtp(), "gb200x256", Bf16, experts(4, 4, 64, 1, 4096), 3139.0),
        ("Llama 3 70B, 64 H100", small(), "h100x64", Fp8, batch_256(sizes(4, 8, 1, 5)), 1621.0),
        ("Llama 3 70B, 64 GB200", small(), "gb200x64", Mxfp8, batch_256(sizes(2, 4, 1, 5)), 3613.0),
        ("Llama 3 70B, 64 GB300", small(), "gb300x64", Mxfp8, batch_256(sizes(1, 4, 1, 5)), 4596.0),
        ("Llama 3.1 405B, 1024 H100", large(), "h100x1024", Fp8, sizes(8, 8, 2, 8), 311.0),
        ("Llama 3.1 405B, 256 GB200", large(), "gb200x256", Mxfp8, sizes(4, 16, 1, 8), 786.0),
        ("Llama 3.1 405B, 256 GB300", large(), "gb300x256", Mxfp8, sizes(2, 8, 2, 4), 931.0),
        ("Qwen3 235B, 256 H100", qwen3_235b(), "h100x256", Fp8, Sizes { tp: 2, ..experts(8, 4, 32, 1, 8192) }, 1633.0),
        ("Qwen3 235B, 256 GB200", qwen3_235b(), "gb200x256", Mxfp8, experts(8, 1, 32, 1, 8192), 5448.0),
        ("Qwen3 235B, 256 B200", qwen3_235b(), "b200x256", Mxfp8, experts(8, 1, 8, 1, 8192), 3805.0),
        ("Qwen3 30B, 16 H100", qwen3_30b(), "h100x16", Fp8, experts(2, 12, 8, 1, 1024), 5113.0),
        ("Qwen3 30B, 8 GB200", qwen3_30b(), "gb200x8", Mxfp8, experts(1, 1, 8, 4, 512), 26_084.0),
    ]
    .into_iter()
    .map(|(name, model, gpus, precision, sizes, rate)| {
        let row = Row::new(name, "NVIDIA, Megatron Bridge", model, gpus, Plan::v3(), Published::TokensPerSecond(rate));
        let plan = plan(sizes, precision, row.cluster.gpus);
        Row { plan, is_balanced: true, ..row.assumed("what is recomputed") }
    })
    .collect()
}

fn plan(sizes: Sizes, precision: Precision, gpus: usize) -> Plan {
    let Sizes { tp, pp, cp, chunks, ep, micro_batch, global_batch, seq } = sizes;
    let dp = gpus / (tp * pp * cp);
    Plan {
        tp,
        pp,
        cp,
        ep,
        micro_batch,
        schedule: if chunks > 1 {
            ScheduleKind::Interleaved { virtual_stages: chunks }
        } else {
            ScheduleKind::OneFOneB
        },
        recompute: Recompute::Selective,
        precision,
        comm_sms: comm_sms(ep),
        ..Plan::data_parallel(dp, global_batch, seq)
    }
}

fn whole_runs() -> Vec<Row> {
    let row = |name, source, model, gpus, plan, hours, assumed| {
        let published = Published::HoursPerTrillion { hours, pays_restarts: true };
        Row::new(name, source, model, gpus, plan, published).assumed(assumed)
    };
    let sharded = |dp, batch| Plan { zero: 3, recompute: Recompute::Selective, ..Plan::data_parallel(dp, batch, 8192) };
    let smollm3 = Plan { tp: 2, micro_batch: 3, ..Plan::data_parallel(192, 576, 4096) };
    let llama = Plan {
        tp: 8,
        pp: 16,
        schedule: ScheduleKind::Interleaved { virtual_stages: 8 },
        zero: 2,
        recompute: Recompute::Selective,
        ..Plan::data_parallel(128, 2048, 8192)
    };
    vec![
        row(
            "Llama 3.1 405B",
            "Llama 3.1's model card",
            published_model("llama-3.1-405b"),
            "h100x16384",
            llama,
            30.84e6 / 15.6,
            "",
        )
        .sets(&[Rate::Failures]),
        row("SmolLM3 3B", "SmolLM3's blog", smollm3_3b(), "h100x384", smollm3, 221e3 / 11.2, ""),
        row(
            "OLMo 3 7B",
            "OLMo 3 report",
            olmo3_7b(),
            "h100x512",
            sharded(512, 512),
            234e3 / 6.1,
            "6.1T tokens, 512 GPUs",
        ),
        row(
            "OLMo 3 32B",
            "OLMo 3 report",
            olmo3_32b(),
            "h100x1024",
            sharded(1024, 1024),
            1.05e6 / 5.8,
            "5.8T tokens, 1,024 GPUs",
        ),
        row(
            "Llama 3 8B",
            "Llama 3's model card",
            published_model("llama-3.1-8b"),
            "h100x1024",
            sharded(1024, 1024),
            1.3e6 / 15.0,
            "ZeRO-3 on 1,024 GPUs",
        ),
        row(
            "Llama 3 70B",
            "Llama 3's model card",
            published_model("llama-3.1-70b"),
            "h100x2048",
            Plan { tp: 8, ..sharded(256, 2048) },
            6.4e6 / 15.0,
            "TP 8, ZeRO-3 on 2,048 GPUs",
        ),
        row(
            "Falcon 180B",
            "Falcon report",
            falcon_180b(),
            "a100-40x4096",
            falcon_plan(),
            7.0e6 / 3.5,
            "what is recomputed",
        ),
    ]
}

fn smollm3_3b() -> ModelSpec {
    ModelSpec { tie_word_embeddings: true, ..dense(2048, 36, 16, 4, 11008, 128_256) }
}

/// OLMo 3's layers: a window of 4,096 tokens in all but every fourth.
fn olmo3(model: ModelSpec) -> ModelSpec {
    let sliding_window = Some(SlidingWindow::but_every(4, 4096, model.num_hidden_layers));
    ModelSpec { family: Family::Olmo3, qk_norm: true, sliding_window, ..model }
}

fn olmo3_7b() -> ModelSpec {
    olmo3(dense(4096, 32, 32, 32, 11_008, 100_278))
}

fn olmo3_32b() -> ModelSpec {
    olmo3(dense(5120, 64, 40, 8, 27_648, 100_278))
}

fn falcon_plan() -> Plan {
    Plan {
        tp: 8,
        pp: 8,
        kernels: Kernels::Eager2022,
        recompute: Recompute::Selective,
        ..Plan::data_parallel(64, 2048, 2048)
    }
}

/// Two projections of four times the width, as one of 8/3 with a gate.
fn falcon_180b() -> ModelSpec {
    dense(14_848, 80, 232, 8, 8 * 14_848 / 3, 65_024)
}

/// Qwen3's mixtures: 128 experts of which 8 are chosen, no shared ones (their config.json).
fn qwen3(width: usize, layers: usize, heads: usize, expert: usize) -> ModelSpec {
    ModelSpec {
        family: Family::Qwen3Moe,
        head_dim: 128,
        qk_norm: true,
        moe: Some(MoeSpec {
            n_routed_experts: 128,
            shared_expert_intermediate_size: 0,
            num_experts_per_tok: 8,
            moe_intermediate_size: expert,
            first_k_dense_replace: 0,
            mlp_only_layers: Vec::new(),
            decoder_sparse_step: 1,
            n_group: 1,
            topk_group: 1,
            routed_scaling_factor: 1.0,
            norm_topk_prob: true,
            scoring: Scoring::Softmax,
        }),
        ..dense(width, layers, heads, 4, 3 * width, 151_936)
    }
}

fn qwen3_30b() -> ModelSpec {
    qwen3(2048, 48, 32, 768)
}

fn qwen3_235b() -> ModelSpec {
    qwen3(4096, 94, 64, 1536)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_their_published_sizes() {
        let billions = |model: ModelSpec| model.params().total as f64 / 1e9;
        assert!((billions(qwen3_30b()) - 30.532).abs() < 1e-3 && (billions(qwen3_235b()) - 235.094).abs() < 1e-3);
        for (name, size) in [("SmolLM3 3B", 3.075), ("OLMo 3 7B", 7.298), ("OLMo 3 32B", 32.23), ("Falcon 180B", 179.5)]
        {
            let row = whole_runs().into_iter().find(|row| row.name == name).unwrap();
            let found = billions(row.model);
            assert!((found / size - 1.0).abs() < 0.005, "{name}: {found}");
        }
    }
}
