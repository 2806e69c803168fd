//! How many problems a run's families can ask, beside how many the run draws to train on.

use reseek_spec::RecipeSpec;
use reseek_tasks::{Family, FormMix, LEVELS, Space, Split, TaskMix, document, sample, spaces};
use reseek_tensor::pool::map_lanes;
use serde_json::{Value, json};

use crate::chain::task_mix;
use crate::error::Outcome;

/// Problems whose mean length stands for all.
const MEASURED: u64 = 400;

/// Bytes of a problem that make a token, at most: a larger vocabulary would see fewer tokens and so more problems.
const BYTES_A_TOKEN: f64 = 2.5;

/// A family beside what is drawn of it.
pub struct Row {
    pub family: Family,
    pub levels: [Space; LEVELS as usize],
    /// All levels together.
    pub space: u64,
    /// Training problems that the run's stages draw, repeats counted.
    pub drawn: u64,
}

/// The families of a recipe.
pub fn rows(recipe: &RecipeSpec) -> Outcome<Vec<Row>> {
    let mix = task_mix(&recipe.tasks)?;
    let drawn = drawn(recipe, &mix) / mix.families.len() as u64;
    let row = |family: Family| {
        let levels = spaces(family);
        Row { family, levels, space: levels.iter().map(|space| space.problems()).sum(), drawn }
    };
    Ok(map_lanes(mix.families, row))
}

/// Problems that all stages draw to train on. The student's base reads those of the teacher's.
fn drawn(recipe: &RecipeSpec, mix: &TaskMix) -> u64 {
    let forms = FormMix {
        conversation_share: recipe.pretrain.conversation_share,
        mixed_language_share: recipe.pretrain.mixed_language_share,
        direct_share: recipe.pretrain.direct_share,
    };
    let bytes: usize =
        (0..MEASURED).map(|i| document(&sample(0, "pretrain", i, Split::Train, mix), 0, i, &forms).len()).sum();
    let tokens_each = bytes as f64 / MEASURED as f64 / BYTES_A_TOKEN;
    let extension = 2 * recipe.extend.steps * recipe.extend.batch_tokens;
    let text = (recipe.pretrain.tokens + extension as u64) as f64 * recipe.pretrain.problem_share;
    let learnt = [&recipe.zero, &recipe.r1.rl, &recipe.r1.rl_all, &recipe.distil.rl].map(|rl| rl.steps * rl.questions);
    let others = learnt.iter().sum::<usize>() + recipe.r1.cold_start_samples + recipe.r1.rejection_questions;
    (text / tokens_each) as u64 + others as u64
}

/// The rows as a table.
pub fn show(recipe: &RecipeSpec) -> Outcome<()> {
    crate::say!(
        "{:<15} {:>13} {:>13} {:>13} {:>14} {:>8} {:>8}",
        "family",
        "level 1",
        "level 2",
        "level 3",
        "in all",
        "drawn",
        "times"
    );
    for row in rows(recipe)? {
        let [a, b, c] = row.levels.map(in_words);
        crate::say!(
            "{:<15} {a:>13} {b:>13} {c:>13} {:>14} {:>8} {:>8.1}",
            row.family.name(),
            row.space,
            row.drawn,
            row.space as f64 / row.drawn.max(1) as f64
        );
    }
    crate::say!(
        "\nDifferent problems, whatever their wording and language; ~ is an estimate from problems that were drawn twice, the others are counted. \
         Six in eight are for training, one for development, one for the test. Drawn is what all stages of this recipe train on, about, \
         repeats counted; the levels are drawn in shares of {:?}.",
        recipe.tasks.levels
    );
    Ok(())
}

fn in_words(space: Space) -> String {
    match space {
        Space::Counted(n) => n.to_string(),
        Space::Estimated(n) => format!("~{n}"),
    }
}

/// The rows for programs.
pub fn as_json(recipe: &RecipeSpec) -> Outcome<Value> {
    let level = |space: Space| json!({"problems": space.problems(), "counted": matches!(space, Space::Counted(_))});
    let row = |row: Row| json!({"family": row.family.name(), "levels": row.levels.map(level), "problems": row.space, "drawn": row.drawn});
    Ok(rows(recipe)?.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use reseek_spec::{Scale, resolve};

    use super::*;

    #[test]
    fn the_default_run_draws_less_from_a_family_than_it_holds() {
        let recipe = resolve(Scale::Nano, &[], &[]).unwrap().recipe;
        for row in rows(&recipe).unwrap() {
            assert!(row.drawn > 1000, "{} of {}", row.drawn, row.family);
            assert!(row.space >= 2 * row.drawn, "{} holds {}, {} are drawn", row.family, row.space, row.drawn);
        }
    }
}
