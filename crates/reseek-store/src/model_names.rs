//! Names of tensors: where Hugging Face's files call something otherwise than [`reseek_spec::ModelSpec::tensors`], or beside it.

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const HEAD: &str = "lm_head.weight";
/// Behind the name of a matrix in FP8: that of its blocks' scales.
pub(crate) const SCALE: &str = "_scale_inv";

pub(crate) fn scale_name(name: &str) -> String {
    format!("{name}{SCALE}")
}

/// Which of the equal parts of a tensor: experts follow each other, each with its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub expert: usize,
    pub part: usize,
    pub parts: usize,
}

/// The tensor that holds an expert's matrix together with all others', as transformers 5 has them in memory: gate above up.
pub(crate) fn fused(name: &str) -> Option<(String, Part)> {
    let (prefix, rest) = name.split_once(".experts.")?;
    let (expert, part) = rest.split_once('.')?;
    let (whole, part, parts) = match part.strip_suffix(".weight")? {
        "gate_proj" | "w1" => ("gate_up_proj", 0, 2),
        "up_proj" | "w3" => ("gate_up_proj", 1, 2),
        "down_proj" | "w2" => ("down_proj", 0, 1),
        _ => return None,
    };
    Some((format!("{prefix}.experts.{whole}"), Part { expert: expert.parse().ok()?, part, parts }))
}

/// The name that transformers 5 has in memory, where that is another one (Mixtral).
pub(crate) fn converted(name: &str) -> Option<String> {
    name.contains(".block_sparse_moe.").then(|| name.replace(".block_sparse_moe.", ".mlp."))
}

/// N of `model.layers.N.…`.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_found_in_what_holds_all_of_them() {
        let of = |name| fused(name).map(|(name, Part { expert, part, parts })| (name, expert, part, parts));
        let whole = |name: &str| format!("model.layers.3.{name}");
        let gate_up = whole("mlp.experts.gate_up_proj");
        assert_eq!(of("model.layers.3.mlp.experts.7.gate_proj.weight"), Some((gate_up.clone(), 7, 0, 2)));
        assert_eq!(of("model.layers.3.mlp.experts.7.up_proj.weight"), Some((gate_up, 7, 1, 2)));
        let down = whole("block_sparse_moe.experts.down_proj");
        assert_eq!(of("model.layers.3.block_sparse_moe.experts.0.w2.weight"), Some((down.clone(), 0, 0, 1)));
        assert_eq!(converted(&down), Some(whole("mlp.experts.down_proj")));
        assert_eq!(of("model.layers.3.mlp.shared_experts.gate_proj.weight"), None);
        assert_eq!(of("model.layers.3.mlp.experts.x.gate_proj.weight"), None);
    }
}
