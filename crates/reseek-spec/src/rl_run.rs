//! The recipe of reinforcement learning on a model of anyone's: `reseek rl`.

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::recipe_check::check_ranges;
use crate::resolve::{laid, merge};
use crate::{AskRecipe, ComputeDtype, EvalSplit, Layer, MomentsDtype, RlRecipe, SpecError, TasksRecipe, nearest};

/// Everything that such a run needs to know beside its model, its data and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlRunRecipe {
    /// The format in which products multiply; weights, gradients and sums are f32 in all.
    pub compute: ComputeDtype,
    /// The format in which AdamW keeps its moments from step to step.
    pub moments: MomentsDtype,
    /// Fixed shares of a batch whose gradients are summed in order.
    pub lanes: usize,
    /// Generated problems, where no data are given.
    pub tasks: TasksRecipe,
    /// How the model is asked, and where its answers are looked for.
    pub ask: AskRecipe,
    /// The learning.
    pub rl: RlRecipe,
    /// What the model is asked before, between and after.
    pub eval: RlEvalRecipe,
}

/// Held-out problems that the policy is asked while it learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlEvalRecipe {
    /// Where they come from.
    pub split: EvalSplit,
    /// Seed of the problems. It is not the run's, so that runs of several seeds are asked the same.
    pub problems_seed: u64,
    /// Problems.
    pub problems: usize,
    /// Samples a problem.
    pub k: usize,
    /// Temperature of the samples; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only the most likely tokens that together reach this probability are drawn; 1 for all.
    pub top_p: f64,
    /// Tokens of an answer at most.
    pub max_new_tokens: usize,
}

/// The recipes that are compiled in, by name.
pub const RL_RECIPES: [(&str, &str); 2] = [
    ("zero-arithmetic", include_str!("../recipes/zero-arithmetic.toml")),
    ("zero-gsm8k", include_str!("../recipes/zero-gsm8k.toml")),
];

/// Such a recipe with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRl {
    /// Every value.
    pub recipe: RlRunRecipe,
    /// The recipe as TOML, every key written out.
    pub toml: String,
}

/// The compiled-in recipe called `name` with `layers` and then `settings` (`a.b=value`) on top.
///
/// # Errors
/// No recipe of that name, text that is not TOML, an unknown key, a value of the wrong type or outside of its range.
pub fn resolve_rl(name: &str, layers: &[Layer], settings: &[String]) -> Result<ResolvedRl, SpecError> {
    let Some((_, preset)) = RL_RECIPES.iter().find(|(known, _)| *known == name) else {
        let known = RL_RECIPES.iter().map(|(known, _)| *known);
        return Err(SpecError::Recipe {
            layer: "--recipe".to_string(),
            message: format!(
                "no recipe is called {name:?}; there are {}",
                known.clone().collect::<Vec<_>>().join(", ")
            ),
            mend: format!("The nearest is {}.", nearest(name, known).unwrap_or_default()),
        });
    };
    let mut table: Table = include_str!("../recipes/rl.toml").parse().expect("the base recipe is TOML");
    merge(&mut table, preset.parse().expect("a preset is TOML"), None, "", name)?;
    let table = laid(table, layers, settings)?;
    check_ranges(&table)?;
    let text = toml::to_string(&table).expect("a table is TOML");
    let recipe: RlRunRecipe = toml::from_str(&text).map_err(|error| SpecError::Recipe {
        layer: "the recipe".to_string(),
        message: error.message().to_string(),
        mend: "Compare with what `reseek rl --show-recipe` prints.".to_string(),
    })?;
    check_together(&recipe)?;
    let toml = toml::to_string(&recipe).expect("a recipe is TOML");
    Ok(ResolvedRl { recipe, toml })
}

fn check_together(recipe: &RlRunRecipe) -> Result<(), SpecError> {
    recipe.ask.check("the recipe")?;
    let levels = &recipe.tasks.levels;
    if levels.len() != 3 || levels.iter().sum::<f64>() <= 0.0 {
        let what = format!("tasks.levels = {levels:?}");
        return Err(SpecError::clash(what, "three weights that are not all 0", "problems have levels 1 to 3"));
    }
    if recipe.eval.temperature == 0.0 && recipe.eval.k > 1 {
        let what = format!("eval.k = {} with eval.temperature = 0", recipe.eval.k);
        return Err(SpecError::clash(what, "1 sample", "the others would be like it"));
    }
    let rl = &recipe.rl;
    for (key, value) in [("preference_steps", rl.preference_steps as f64), ("general_share", rl.general_share)] {
        if value != 0.0 {
            let what = format!("rl.{key} = {value}");
            return Err(SpecError::clash(what, "0", "there is no learned judge of general answers here"));
        }
    }
    crate::recipe_check::minibatches("rl", rl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_whole_and_settings_are_laid_over_them() {
        for (name, _) in RL_RECIPES {
            let resolved = resolve_rl(name, &[], &[]).unwrap();
            let again = Layer { name: "config.toml".to_string(), text: resolved.toml.clone() };
            assert_eq!(resolve_rl(name, &[again], &[]).unwrap(), resolved, "{name}");
            let set = resolve_rl(name, &[], &["rl.steps=7".to_string(), "rl.rewards.accuracy=2".to_string()]).unwrap();
            assert_eq!((set.recipe.rl.steps, set.recipe.rl.rewards["accuracy"]), (7, 2.0));
        }
        assert!(
            resolve_rl("zero-arithmatic", &[], &[]).unwrap_err().to_string().contains("nearest is zero-arithmetic")
        );
    }

    #[test]
    fn what_will_not_do_is_refused_by_its_key() {
        for (setting, says) in [
            ("rl.group=1", "rl.group = 1"),
            ("rl.stpes=3", "rl.stpes"),
            ("ask.question=\"no place\"", "{question} 0 times"),
            ("rl.general_share=0.1", "rl.general_share = 0.1"),
            ("eval.temperature=0", "eval.temperature = 0"),
            ("tasks.levels=[1.0]", "tasks.levels"),
        ] {
            let error = resolve_rl("zero-arithmetic", &[], &[setting.to_string()]).unwrap_err().to_string();
            assert!(error.contains(says), "{setting}: {error}");
        }
    }
}
