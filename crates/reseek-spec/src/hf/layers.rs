//! What a config.json says layer by layer: sliding windows, rotation, dense networks among mixtures.

use serde_json::Value;

use super::config::{Config, shown, whole};
use super::keys::Defaults;
use crate::{Family, SlidingWindow, SpecError};

impl Config<'_> {
    /// The window, with the layers that do without it: named by `layer_types`, or by the family's own rule. One that no layer has is none.
    pub fn sliding_window(&self, family: Family, layers: usize) -> Result<Option<SlidingWindow>, SpecError> {
        let window = self.window_by_layers(family, layers)?;
        Ok(window.filter(|window| window.full_layers.len() < layers))
    }

    fn window_by_layers(&self, family: Family, layers: usize) -> Result<Option<SlidingWindow>, SpecError> {
        let tokens = self.window(family)?;
        let listed = self.layer_types(layers)?;
        let window = match (tokens, &listed) {
            (None, _) => None,
            (Some(tokens), Some(full_layers)) => Some(SlidingWindow { tokens, full_layers: full_layers.clone() }),
            (Some(tokens), None) => Some(self.windows_by_rule(family, tokens, layers)?),
        };
        let takes_types = !matches!(family, Family::Mistral | Family::Ministral3 | Family::Mixtral | Family::Qwen3Moe);
        let Some(full_layers) = listed else { return Ok(window) };
        let windowed = layers - full_layers.len();
        match (&window, takes_types) {
            (None, _) if windowed > 0 => {
                let what = format!("layer_types with {windowed} of sliding_attention");
                Err(SpecError::clash(
                    what,
                    "a window for them",
                    "write sliding_window, or full_attention in every layer",
                ))
            }
            (Some(window), false) if windowed < layers => {
                let what = format!("layer_types with {} of full_attention", full_layers.len());
                let allowed = format!("none beside sliding_window = {}", window.tokens);
                Err(SpecError::clash(what, &allowed, "the family has its window in every layer"))
            }
            _ => Ok(window),
        }
    }

    /// Tokens of the window that is in force.
    fn window(&self, family: Family) -> Result<Option<usize>, SpecError> {
        const KEY: &str = "sliding_window";
        let by_switch = match family {
            Family::Mistral
            | Family::Ministral
            | Family::Ministral3
            | Family::Mixtral
            | Family::Olmo3
            | Family::Gemma3 => false,
            Family::Qwen2 | Family::Qwen3 | Family::Qwen2Moe | Family::Qwen3Moe | Family::Smollm3 => true,
            _ => return Ok(None),
        };
        // Transformers' own default for a switched window of which nothing is said.
        let switched = (by_switch && family != Family::Smollm3).then_some(4096);
        let default = Defaults::of(family).sliding_window.or(switched);
        let is_off = by_switch && !self.flag_or("use_sliding_window", false)?;
        let tokens = match (self.has_key(KEY), self.value(KEY)) {
            (true, Some(_)) => Some(self.size(KEY)?),
            (true, None) => None,
            (false, _) => default,
        };
        Ok(tokens.filter(|_| !is_off))
    }

    /// Layers of full attention by `layer_types`, where that is given.
    fn layer_types(&self, layers: usize) -> Result<Option<Vec<usize>>, SpecError> {
        let Some(kinds) = self.list_of_layers("layer_types", layers)? else { return Ok(None) };
        let mut full_layers = Vec::new();
        for (layer, kind) in kinds.iter().enumerate() {
            match kind.as_str() {
                Some("full_attention" | "attention") => full_layers.push(layer),
                Some("sliding_attention") => {}
                _ => {
                    let what = format!("layer_types with {} as layer {layer}", shown(kind));
                    let hint = "no other attention is computed here";
                    return Err(SpecError::clash(what, "full_attention or sliding_attention", hint));
                }
            }
        }
        Ok(Some(full_layers))
    }

    fn windows_by_rule(&self, family: Family, tokens: usize, layers: usize) -> Result<SlidingWindow, SpecError> {
        let but = |is_full: &dyn Fn(usize) -> bool| {
            let full_layers = (0..layers).filter(|&layer| is_full(layer)).collect();
            Ok(SlidingWindow { tokens, full_layers })
        };
        match family {
            Family::Qwen2 | Family::Qwen3 => {
                let from = self.size_or("max_window_layers", 28)?;
                but(&|layer| layer < from)
            }
            Family::Qwen2Moe => {
                let to = self.size_or("max_window_layers", 28)?;
                but(&|layer| layer % 2 == 1 || layer >= to)
            }
            Family::Qwen3Moe => match self.value("max_window_layers") {
                None => but(&|_| false),
                Some(value) => {
                    let what = format!("max_window_layers = {} beside use_sliding_window", shown(value));
                    let hint = "transformers has this family's window in every layer";
                    Err(SpecError::clash(what, "neither, or the window alone", hint))
                }
            },
            Family::Smollm3 => {
                let bare = self.no_rope_layers(family, layers)?;
                but(&|layer| bare.binary_search(&layer).is_err())
            }
            Family::Olmo3 => Ok(SlidingWindow::but_every(4, tokens, layers)),
            Family::Gemma3 => match self.size_or("sliding_window_pattern", 6)? {
                0 => {
                    let hint = "6 has five layers with a window and then one without";
                    Err(SpecError::clash("sliding_window_pattern = 0".to_string(), "1 or more", hint))
                }
                period => Ok(SlidingWindow::but_every(period, tokens, layers)),
            },
            _ => but(&|_| false),
        }
    }

    /// Layers without rotation, in ascending order.
    pub fn no_rope_layers(&self, family: Family, layers: usize) -> Result<Vec<usize>, SpecError> {
        if family != Family::Smollm3 {
            return Ok(Vec::new());
        }
        let Some(list) = self.list_of_layers("no_rope_layers", layers)? else {
            let interval = self.size_or("no_rope_layer_interval", 4)?;
            if interval == 0 {
                let hint = "4 leaves every fourth layer without rotation";
                return Err(SpecError::clash("no_rope_layer_interval = 0".to_string(), "1 or more", hint));
            }
            return Ok((0..layers).filter(|layer| (layer + 1).is_multiple_of(interval)).collect());
        };
        self.value("no_rope_layer_interval");
        let mut bare = Vec::new();
        for (layer, value) in list.iter().enumerate() {
            // Despite its name the list holds 1 where there is rotation.
            match value.as_bool().map(u64::from).or(value.as_u64()) {
                Some(0) => bare.push(layer),
                Some(1) => {}
                _ => {
                    let what = format!("no_rope_layers with {} as layer {layer}", shown(value));
                    return Err(SpecError::clash(
                        what,
                        "1 for a layer that rotates, 0 for one that does not",
                        "mend it",
                    ));
                }
            }
        }
        Ok(bare)
    }

    /// Layers of a mixture's model with a dense network, in ascending order, by `mlp_only_layers`.
    pub fn mlp_only_layers(&self, layers: usize) -> Result<Vec<usize>, SpecError> {
        const KEY: &str = "mlp_only_layers";
        let list = self.list(KEY)?.unwrap_or_default();
        let wrong = |value: &Value| {
            let what = format!("{KEY} with {}", shown(value));
            SpecError::clash(what, &format!("numbers of layers, 0 to {}", layers - 1), "compare num_hidden_layers")
        };
        let index = |value| whole(value).filter(|&layer| layer < layers).ok_or_else(|| wrong(value));
        let mut dense = list.iter().take(layers + 1).map(index).collect::<Result<Vec<_>, _>>()?;
        dense.sort_unstable();
        dense.dedup();
        match list.len() <= layers {
            true => Ok(dense),
            false => Err(SpecError::clash(format!("{KEY} with {} entries", list.len()), "each layer once", "mend it")),
        }
    }
}
