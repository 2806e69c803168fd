//! The recipe of fine-tuning a model of anyone's on answers: `reseek sft`.

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::recipe_check::check_ranges;
use crate::resolve::laid;
use crate::{ComputeDtype, Layer, MomentsDtype, SftRecipe, SpecError};

/// Everything that such a run needs to know beside its model, its data and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftRunRecipe {
    /// The format in which products multiply; weights, gradients and sums are f32 in all.
    pub compute: ComputeDtype,
    /// The format in which AdamW keeps its moments from step to step.
    pub moments: MomentsDtype,
    /// Fixed shares of a batch whose gradients are summed in order.
    pub lanes: usize,
    /// Tokens of a question with its answer at most: longer ones are left out, as an answer that is cut has no end.
    pub example_tokens: usize,
    /// Examples that are not learnt from, whose loss is measured before and after, at most.
    pub heldout_examples: usize,
    /// The learning.
    pub sft: SftRecipe,
}

/// Such a recipe with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedSft {
    /// Every value.
    pub recipe: SftRunRecipe,
    /// The recipe as TOML, every key written out.
    pub toml: String,
}

/// The compiled-in recipe with `layers` and then `settings` (`a.b=value`) on top.
///
/// # Errors
/// Text that is not TOML, an unknown key, a value of the wrong type or outside of its range.
pub fn resolve_sft(layers: &[Layer], settings: &[String]) -> Result<ResolvedSft, SpecError> {
    let table: Table = include_str!("../recipes/distil-small.toml").parse().expect("the recipe is TOML");
    let table = laid(table, layers, settings)?;
    check_ranges(&table)?;
    let text = toml::to_string(&table).expect("a table is TOML");
    let recipe: SftRunRecipe = toml::from_str(&text).map_err(|error| SpecError::Recipe {
        layer: "the recipe".to_string(),
        message: error.message().to_string(),
        mend: "Compare with what `reseek sft --show-recipe` prints.".to_string(),
    })?;
    let toml = toml::to_string(&recipe).expect("a recipe is TOML");
    Ok(ResolvedSft { recipe, toml })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_whole_and_settings_are_laid_over_it() {
        let resolved = resolve_sft(&[], &[]).unwrap();
        let again = Layer { name: "config.toml".to_string(), text: resolved.toml.clone() };
        assert_eq!(resolve_sft(&[again], &[]).unwrap(), resolved);
        assert_eq!(resolve_sft(&[], &["sft.epochs=7".to_string()]).unwrap().recipe.sft.epochs, 7);
        for (setting, says) in
            [("sft.epoch=7", "sft.epoch"), ("sft.lr=-1", "sft.lr = -1"), ("example_tokens=0", "example_tokens = 0")]
        {
            let error = resolve_sft(&[], &[setting.to_string()]).unwrap_err().to_string();
            assert!(error.contains(says), "{setting}: {error}");
        }
    }
}
