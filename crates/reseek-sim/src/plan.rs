//! How a model is laid over a cluster, and which plans cannot be.

use reseek_spec::{ClusterSpec, ModelSpec, schedule::ScheduleKind};

use crate::SimError;
use crate::choice::Choice;

/// What is computed again in the backward pass instead of being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// Every activation is kept.
    None,
    /// Norms, activations and, with MLA, the up-projections (V3 report, 3.2.3).
    Selective,
    /// Every layer from its input.
    Full,
}

impl Choice for Recompute {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::None, "none", "Every activation is kept"),
        (
            Self::Selective,
            "selective",
            "Norms, activations and, with latent attention, the up-projections are computed again",
        ),
        (Self::Full, "full", "Every layer is computed again from its input"),
    ];
}

/// What products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 16 bits throughout.
    Bf16,
    /// V3's: tiles of 1×128 and blocks of 128×128, dispatch in fp8, combine in bf16. GPUs that scale blocks of 32 themselves run it as those
    /// (Transformer Engine emulates it so), so there it takes the time of MX.
    Fp8,
    /// Blocks of 32 that the tensor cores scale. A byte of scale for 32 values weighs as much as V3's four for 128.
    Mxfp8,
}

impl Choice for Precision {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Bf16, "bf16", "16 bits throughout"),
        (Self::Fp8, "fp8", "V3's: tiles of 1 x 128 and blocks of 128 x 128"),
        (Self::Mxfp8, "mxfp8", "Blocks of 32 that the tensor cores scale: b200, gb200, gb300"),
    ];
}

/// The generation of kernels that a run had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// The best of today: FlashAttention-3 and cuDNN on Hopper, fused element-wise kernels.
    Current,
    /// The best before July 2024: FlashAttention-2.
    Flash2,
    /// Before July 2023: the first FlashAttention and xformers; norms, rotation and activations are single operations of the framework.
    Eager2022,
    /// Attention as products and a softmax over a matrix of scores in memory.
    Megatron2021,
}

impl Choice for Kernels {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Current, "current", "The best of today, such as FlashAttention-3"),
        (Self::Flash2, "flash2", "FlashAttention-2, before July 2024"),
        (Self::Eager2022, "eager2022", "The first FlashAttention, and element-wise work that is not fused"),
        (Self::Megatron2021, "megatron2021", "Attention as products around a matrix of scores"),
    ];
}

/// A plan. GPUs = tp · cp · pp · dp; experts are spread over `ep` of the tp · cp · dp ranks of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Tensor parallelism: ranks that share a layer's matrices.
    pub tp: usize,
    /// Context parallelism: ranks that share a sequence.
    pub cp: usize,
    /// Pipeline parallelism: ranks that share the layers.
    pub pp: usize,
    /// Expert parallelism: ranks over which a layer's experts are spread.
    pub ep: usize,
    /// Data parallelism: copies of the model, each with its own sequences.
    pub dp: usize,
    /// Sequences in a micro-batch of one data-parallel rank.
    pub micro_batch: usize,
    /// Sequences in a step.
    pub global_batch: usize,
    /// Tokens in a sequence.
    pub seq: usize,
    /// Order of passes in the pipeline.
    pub schedule: ScheduleKind,
    /// What the backward pass computes again.
    pub recompute: Recompute,
    /// What products are computed in.
    pub precision: Precision,
    /// Generation of attention and element-wise kernels.
    pub kernels: Kernels,
    /// ZeRO stage: 0 nothing, 1 optimizer, 2 and gradients, 3 and weights are divided among data-parallel ranks.
    pub zero: u8,
    /// SMs that communication kernels hold.
    pub comm_sms: u32,
    /// Domains that a token's experts lie in, at most.
    pub node_limit: Option<usize>,
}

/// SMs that communication kernels hold where experts lie on `ep` ranks: DeepSeek's 20 (V3 report, 3.2.2), none without all-to-alls.
pub fn comm_sms(ep: usize) -> u32 {
    if ep > 1 { 20 } else { 0 }
}

impl Plan {
    /// DeepSeek-V3's (report, 3.2): PP16 × EP64 × ZeRO-1, DualPipe, fp8, 15,360 sequences of 4,096 tokens.
    pub fn v3() -> Self {
        Self {
            tp: 1,
            cp: 1,
            pp: 16,
            ep: 64,
            dp: 128,
            micro_batch: 1,
            global_batch: 15360,
            seq: 4096,
            schedule: ScheduleKind::DualPipe,
            recompute: Recompute::Selective,
            precision: Precision::Fp8,
            kernels: Kernels::Current,
            zero: 1,
            comm_sms: comm_sms(64),
            node_limit: Some(4),
        }
    }

    /// A plan that uses one GPU for each of `gpus` as data parallelism; the other fields are set from there.
    pub fn data_parallel(gpus: usize, global_batch: usize, seq: usize) -> Self {
        Self {
            tp: 1,
            pp: 1,
            ep: 1,
            dp: gpus,
            global_batch,
            seq,
            schedule: ScheduleKind::OneFOneB,
            recompute: Recompute::None,
            precision: Precision::Bf16,
            comm_sms: comm_sms(1),
            node_limit: None,
            ..Self::v3()
        }
    }

    /// GPUs that the plan occupies.
    pub fn gpus(&self) -> usize {
        self.tp * self.cp * self.pp * self.dp
    }

    /// Micro-batches a step of each data-parallel rank.
    pub fn micro_batches(&self) -> usize {
        self.global_batch / (self.dp * self.micro_batch)
    }

    /// Tokens of a micro-batch on one rank, before tensor parallelism divides them.
    pub fn tokens(&self) -> f64 {
        (self.micro_batch * self.seq) as f64 / self.cp as f64
    }

    /// # Errors
    /// The first two values that do not fit together, with the nearest that do.
    pub fn validate(&self, model: &ModelSpec, cluster: &ClusterSpec) -> Result<(), SimError> {
        let sizes = [
            ("tp", self.tp),
            ("cp", self.cp),
            ("pp", self.pp),
            ("ep", self.ep),
            ("dp", self.dp),
            ("micro-batch", self.micro_batch),
            ("global-batch", self.global_batch),
            ("seq", self.seq),
        ];
        for (name, value) in sizes {
            if value == 0 || value > 1 << 26 {
                return Err(SimError::plan(
                    format!("--{name} {value}"),
                    "a number from 1 to 67108864",
                    "1 switches it off",
                ));
            }
        }
        if self.node_limit == Some(0) {
            return Err(SimError::plan("--node-limit 0".into(), "1 domain or more", "V3 has 4"));
        }
        self.validate_depth(model)?;
        let product = [self.tp, self.cp, self.pp, self.dp].into_iter().try_fold(1usize, usize::checked_mul);
        if product != Some(cluster.gpus) {
            let found = format!("tp {} × cp {} × pp {} × dp {}", self.tp, self.cp, self.pp, self.dp);
            let others = self.tp.saturating_mul(self.cp).saturating_mul(self.pp);
            let hint = match cluster.gpus % others {
                0 => format!("use --dp {}, which fills the cluster", cluster.gpus / others),
                _ => format!("the product tp × cp × pp = {others} must divide {}", cluster.gpus),
            };
            return Err(SimError::plan(found, &format!("{} GPUs", cluster.gpus), &hint));
        }
        self.validate_model(model, cluster.gpus)?;
        self.validate_batch(model)?;
        self.validate_precision(cluster)?;
        if self.comm_sms >= cluster.gpu.sms {
            let found = format!("{} SMs for communication", self.comm_sms);
            let hint = format!("DeepSeek gives {} of 132", Self::v3().comm_sms);
            return Err(SimError::plan(found, &format!("fewer than {}", cluster.gpu.sms), &hint));
        }
        Ok(())
    }

    fn validate_precision(&self, cluster: &ClusterSpec) -> Result<(), SimError> {
        let gpu = &cluster.gpu;
        let (is_able, able, instead) = match self.precision {
            Precision::Bf16 => return Ok(()),
            Precision::Fp8 => (gpu.fp8_flops.is_some(), "a GPU with fp8", Precision::Bf16),
            Precision::Mxfp8 if gpu.fp8_flops.is_none() => (false, "b200, gb200 or gb300", Precision::Bf16),
            Precision::Mxfp8 => (gpu.has_mx, "b200, gb200 or gb300", Precision::Fp8),
        };
        match is_able {
            true => Ok(()),
            false => {
                let hint = format!("use --precision {}", instead.name());
                Err(SimError::plan(format!("--precision {} on {}", self.precision.name(), gpu.name), able, &hint))
            }
        }
    }

    fn validate_depth(&self, model: &ModelSpec) -> Result<(), SimError> {
        let layers = model.num_hidden_layers;
        let each = self.schedule.chunks_per_rank();
        // Embedding and head can be chunks of their own, so that all are alike (Llama 3 report, 3.3.2).
        if self.pp > layers || self.pp.saturating_mul(each) > layers + 2 {
            let found = format!("pp {} with {each} chunks a rank", self.pp);
            let hint = format!("use at most --pp {}", ((layers + 2) / each.max(1)).min(layers));
            let allowed = format!("at most {layers} layers, embedding and head");
            return Err(SimError::plan(found, &allowed, &hint));
        }
        Ok(())
    }

    fn validate_model(&self, model: &ModelSpec, gpus: usize) -> Result<(), SimError> {
        let heads = model.num_attention_heads;
        if !heads.is_multiple_of(self.tp) {
            // What divides the GPUs too, so that the mend does not need another.
            let hint = format!("use --tp {}", nearest_divisor(gcd(heads, gpus), self.tp));
            return Err(SimError::plan(format!("--tp {}", self.tp), &format!("a divisor of {heads} heads"), &hint));
        }
        let Some(moe) = &model.moe else {
            return match self.ep {
                1 => Ok(()),
                // The 64 may be a recipe's: to leave the option out would be no mend.
                ep => Err(SimError::plan(format!("--ep {ep}"), "1 for a dense model", "set --ep 1")),
            };
        };
        let experts = moe.n_routed_experts;
        if !experts.is_multiple_of(self.ep) {
            let hint = format!("use --ep {}", nearest_divisor(experts, self.ep));
            return Err(SimError::plan(format!("--ep {}", self.ep), &format!("a divisor of {experts} experts"), &hint));
        }
        let ranks = self.tp * self.cp * self.dp;
        if !ranks.is_multiple_of(self.ep) {
            let hint = format!("use --ep {}", nearest_divisor(gcd(ranks, experts), self.ep));
            let allowed = format!("a divisor of tp × cp × dp = {ranks}");
            return Err(SimError::plan(format!("--ep {}", self.ep), &allowed, &hint));
        }
        Ok(())
    }

    fn validate_batch(&self, model: &ModelSpec) -> Result<(), SimError> {
        let each = self.dp.saturating_mul(self.micro_batch);
        if !self.global_batch.is_multiple_of(each) {
            let below = (self.global_batch / each).max(1) * each;
            let hint = format!("use --global-batch {below}");
            let allowed = format!("a multiple of dp {} × micro-batch {}", self.dp, self.micro_batch);
            return Err(SimError::plan(format!("--global-batch {}", self.global_batch), &allowed, &hint));
        }
        if !self.seq.is_multiple_of(self.cp * self.tp) {
            let hint = "sequences are divided among context- and tensor-parallel ranks";
            let allowed = format!("a multiple of cp {} × tp {}", self.cp, self.tp);
            return Err(SimError::plan(format!("--seq {}", self.seq), &allowed, hint));
        }
        if self.zero > 3 {
            return Err(SimError::plan(format!("--zero {}", self.zero), "0 to 3", "V3 has 1"));
        }
        if self.kernels == Kernels::Megatron2021 && model.mla.is_some() {
            return Err(SimError::plan("unfused attention".into(), "fused attention with MLA", "leave it out"));
        }
        Ok(())
    }
}

/// The divisor of `n` nearest to `wanted`.
fn nearest_divisor(n: usize, wanted: usize) -> usize {
    (1..=n).filter(|d| n.is_multiple_of(*d)).min_by_key(|d| d.abs_diff(wanted)).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
