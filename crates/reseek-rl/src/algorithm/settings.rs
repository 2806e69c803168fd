//! The settings of a term from a recipe, and what of them fits together.

use reseek_spec::{RlRecipe, ScaleRewards};

use super::{Algorithm, Bounds, TermSettings};
use crate::RlError;

impl TermSettings {
    /// Those of `recipe`, whose zeros stand for "as below" and "none".
    pub fn new(recipe: &RlRecipe) -> Self {
        let RlRecipe { clip_epsilon, clip_delta, kl_beta, kl_estimator, .. } = *recipe;
        Self {
            clip_epsilon: clip_epsilon as f32,
            clip_epsilon_high: high(recipe) as f32,
            clip_delta: if clip_delta == 0.0 { f32::INFINITY } else { clip_delta as f32 },
            kl_beta: kl_beta as f32,
            kl_estimator,
        }
    }
}

impl Algorithm {
    /// What advantages are divided by where the recipe says `scale`.
    pub fn scale(&self, scale: ScaleRewards) -> ScaleRewards {
        match scale {
            ScaleRewards::Auto => self.scale,
            scale => scale,
        }
    }
}

fn high(recipe: &RlRecipe) -> f64 {
    if recipe.clip_epsilon_high == 0.0 { recipe.clip_epsilon } else { recipe.clip_epsilon_high }
}

/// Holds a recipe's settings against its algorithm: none is read by nothing, and bounds are in order.
///
/// # Errors
/// The first setting that cannot be, with its value and what to do.
pub fn check(algorithm: &Algorithm, recipe: &RlRecipe) -> Result<(), RlError> {
    let RlRecipe { clip_epsilon, clip_epsilon_high, clip_delta, scale_rewards, .. } = *recipe;
    let name = algorithm.name;
    let wrong = |key, value: f64, allowed: String, mend: String| {
        Err(RlError::Setting { key, value: value.to_string(), allowed, mend })
    };
    if algorithm.scale == ScaleRewards::Auto && scale_rewards != ScaleRewards::Auto {
        let value = format!("{scale_rewards:?}").to_lowercase();
        return Err(RlError::Setting {
            key: "scale_rewards",
            value,
            allowed: format!("auto where algorithm = {name}, which says itself what it divides by"),
            mend: "Take it out, or choose another algorithm".to_string(),
        });
    }
    if algorithm.bounds != Bounds::AroundOne && clip_delta != 0.0 {
        let allowed = format!("0 where algorithm = {name}, which bounds its ratio otherwise");
        return wrong("clip_delta", clip_delta, allowed, "Take it out, or choose another algorithm".to_string());
    }
    match algorithm.bounds {
        Bounds::AroundOne if high(recipe) < clip_epsilon => {
            let allowed = format!("at least clip_epsilon = {clip_epsilon}, or 0 for the same");
            wrong(
                "clip_epsilon_high",
                clip_epsilon_high,
                allowed,
                "Lower clip_epsilon: DAPO has 0.2 and 0.28".to_string(),
            )
        }
        Bounds::AroundOne if clip_delta != 0.0 && clip_delta <= 1.0 + high(recipe) => {
            let allowed = format!("above 1 + {}, where the clip of good samples lies, or 0 for none", high(recipe));
            wrong(
                "clip_delta",
                clip_delta,
                allowed,
                "Raise it, or lower clip_epsilon and clip_epsilon_high".to_string(),
            )
        }
        Bounds::Cap if high(recipe) < 1.0 => {
            let key = if clip_epsilon_high == 0.0 { "clip_epsilon" } else { "clip_epsilon_high" };
            let allowed = format!("1 or more where algorithm = {name}, whose cap it is: on-policy the ratio is 1");
            wrong(key, high(recipe), allowed, "Set clip_epsilon_high = 5, as ScaleRL has it".to_string())
        }
        Bounds::Soft if clip_epsilon_high != 0.0 => {
            let allowed = format!("0 where algorithm = {name}, which has no clip");
            wrong(
                "clip_epsilon_high",
                clip_epsilon_high,
                allowed,
                "Take it out, or choose another algorithm".to_string(),
            )
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use reseek_spec::{Scale, resolve};

    use super::super::TABLE;

    fn checked(settings: &str) -> Result<(), String> {
        let settings: Vec<String> = settings.split(' ').map(|setting| format!("zero.{setting}")).collect();
        let recipe = resolve(Scale::Smoke, &[], &settings).unwrap().recipe.zero;
        crate::check(&recipe).map_err(|error| error.to_string())
    }

    #[test]
    fn every_algorithm_runs_with_the_recipe_as_it_is() {
        for algorithm in TABLE {
            checked(&format!("algorithm={}", algorithm.name)).unwrap();
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused_with_a_mend() {
        for (settings, parts) in [
            (
                "clip_epsilon_high=0.28",
                ["clip_epsilon_high = 0.28", "at least clip_epsilon = 10", "Lower clip_epsilon"],
            ),
            ("clip_epsilon=0.2 clip_delta=1.2", ["clip_delta = 1.2", "above 1 + 0.2", "Raise it"]),
            ("clip_epsilon=0.2 clip_epsilon_high=3 clip_delta=4", ["clip_delta = 4", "above 1 + 3", "Raise it"]),
            ("algorithm=cispo clip_epsilon=0.2", ["clip_epsilon = 0.2", "1 or more", "clip_epsilon_high = 5"]),
            ("algorithm=cispo clip_delta=20", ["clip_delta = 20", "0 where algorithm = cispo", "Take it out"]),
            (
                "algorithm=sapo clip_epsilon_high=20",
                ["clip_epsilon_high = 20", "sapo, which has no clip", "Take it out"],
            ),
            (
                "algorithm=rloo scale_rewards=none",
                ["scale_rewards = none", "auto where algorithm = rloo", "Take it out"],
            ),
            ("algorithm=reinforce++ scale_rewards=group", ["scale_rewards = group", "reinforce++", "Take it out"]),
        ] {
            let error = checked(settings).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{settings}: {error}");
        }
        checked("algorithm=dapo clip_epsilon=0.2 clip_epsilon_high=0.28 clip_delta=4 scale_rewards=batch").unwrap();
        checked("algorithm=cispo clip_epsilon=0.2 clip_epsilon_high=5").unwrap();
    }
}
