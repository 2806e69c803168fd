//! The mixture of experts of a config.json.

use super::config::{Config, shown};
use crate::{Family, MoeSpec, Scoring, SpecError};

impl Config<'_> {
    /// The mixture of a family that has one.
    pub fn moe(&self, family: Family, layers: usize) -> Result<Option<MoeSpec>, SpecError> {
        match family {
            Family::DeepseekV2 | Family::DeepseekV3 | Family::Glm4Moe => self.deepseek_moe(family).map(Some),
            Family::Mixtral => {
                let width = self.size("intermediate_size")?;
                Ok(Some(MoeSpec { norm_topk_prob: true, ..self.plain_moe(width)? }))
            }
            Family::Qwen2Moe | Family::Qwen3Moe => self.qwen_moe(family, layers).map(Some),
            _ => Ok(None),
        }
    }

    fn qwen_moe(&self, family: Family, layers: usize) -> Result<MoeSpec, SpecError> {
        let decoder_sparse_step = self.size_or("decoder_sparse_step", 1)?;
        Ok(MoeSpec {
            shared_expert_intermediate_size: match family {
                Family::Qwen2Moe => self.size_or("shared_expert_intermediate_size", 5632)?,
                _ => 0,
            },
            mlp_only_layers: self.mlp_only_layers(layers)?,
            decoder_sparse_step,
            norm_topk_prob: self.flag_or("norm_topk_prob", false)?,
            ..self.plain_moe(self.size("moe_intermediate_size")?)?
        })
    }

    /// A mixture with a softmax over all experts, none shared, in every layer.
    fn plain_moe(&self, moe_intermediate_size: usize) -> Result<MoeSpec, SpecError> {
        let experts = self.either_size(["num_experts", "num_local_experts"])?;
        Ok(MoeSpec {
            n_routed_experts: experts.ok_or_else(|| SpecError::Missing { key: "num_experts".to_string() })?,
            shared_expert_intermediate_size: 0,
            num_experts_per_tok: self.size("num_experts_per_tok")?,
            moe_intermediate_size,
            first_k_dense_replace: 0,
            mlp_only_layers: Vec::new(),
            decoder_sparse_step: 1,
            n_group: 1,
            topk_group: 1,
            routed_scaling_factor: 1.0,
            norm_topk_prob: false,
            scoring: Scoring::Softmax,
        })
    }

    fn deepseek_moe(&self, family: Family) -> Result<MoeSpec, SpecError> {
        let is_v2 = family == Family::DeepseekV2;
        let experts = match family {
            Family::DeepseekV2 => ["n_routed_experts", "num_experts"],
            _ => ["n_routed_experts", "num_local_experts"],
        };
        let experts = self.either_size(experts)?;
        let moe_intermediate_size = self.size("moe_intermediate_size")?;
        let shared = self.size_or("n_shared_experts", if is_v2 { 2 } else { 1 })?;
        let scale = if family == Family::DeepseekV3 { 2.5 } else { 1.0 };
        let grouped = !is_v2 || self.is_group_limited()?;
        let [n_group, topk_group] = match (grouped, family) {
            (true, Family::DeepseekV3) => [self.size_or("n_group", 8)?, self.size_or("topk_group", 4)?],
            (true, Family::Glm4Moe) => [self.size_or("n_group", 1)?, self.size_or("topk_group", 1)?],
            (true, _) => [self.size("n_group")?, self.size("topk_group")?],
            (false, _) => self.no_groups()?,
        };
        Ok(MoeSpec {
            n_routed_experts: experts.ok_or_else(|| SpecError::Missing { key: "n_routed_experts".to_string() })?,
            shared_expert_intermediate_size: shared.saturating_mul(moe_intermediate_size),
            num_experts_per_tok: self.size("num_experts_per_tok")?,
            moe_intermediate_size,
            first_k_dense_replace: self.size_or("first_k_dense_replace", if is_v2 { 0 } else { 1 })?,
            mlp_only_layers: Vec::new(),
            decoder_sparse_step: 1,
            n_group,
            topk_group,
            routed_scaling_factor: self.number_or("routed_scaling_factor", scale)?,
            norm_topk_prob: !is_v2 && self.flag_or("norm_topk_prob", true)?,
            scoring: if family.has_sigmoid_gate() { Scoring::Sigmoid } else { Scoring::Softmax },
        })
    }

    /// Whether V2's gate chooses groups before it chooses experts.
    fn is_group_limited(&self) -> Result<bool, SpecError> {
        match self.text("topk_method")? {
            // DeepSeek's own files have both spellings.
            None | Some("greedy" | "gready") => Ok(false),
            Some("group_limited_greedy") => Ok(true),
            Some(other) => {
                let what = format!("topk_method = {}", other.chars().take(60).collect::<String>());
                Err(SpecError::clash(what, "greedy or group_limited_greedy", "V2's gate has no other"))
            }
        }
    }

    /// A greedy gate has no groups, whatever is said of them.
    fn no_groups(&self) -> Result<[usize; 2], SpecError> {
        for key in ["n_group", "topk_group"] {
            if let Some(value) = self.value(key).filter(|value| value.as_u64() != Some(1)) {
                let what = format!("{key} = {} beside a greedy topk_method", shown(value));
                return Err(SpecError::clash(what, "1 or null", "groups are chosen by group_limited_greedy"));
            }
        }
        Ok([1, 1])
    }
}
