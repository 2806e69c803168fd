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
    /// Of them, those of each level.
    pub drawn_at: [f64; LEVELS as usize],
}

/// The families of a recipe.
pub fn rows(recipe: &RecipeSpec) -> Outcome<Vec<Row>> {
    let mix = task_mix(&recipe.tasks)?;
    let drawn = drawn(recipe, &mix) / mix.families.len() as u64;
    let all_shares: f64 = mix.levels.iter().sum();
    let drawn_at = mix.levels.map(|share| drawn as f64 * share / all_shares);
    let row = |family: Family| {
        let levels = spaces(family);
        Row { family, levels, space: levels.iter().map(|space| space.problems()).sum(), drawn, drawn_at }
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
        "{:<15} {:>18} {:>18} {:>18} {:>18} {:>8}",
        "family",
        "level 1 (times)",
        "level 2 (times)",
        "level 3 (times)",
        "in all (times)",
        "drawn"
    );
    for row in rows(recipe)? {
        let level =
            |i: usize| format!("{} ({})", in_words(row.levels[i]), times(row.levels[i].problems(), row.drawn_at[i]));
        crate::say!(
            "{:<15} {:>18} {:>18} {:>18} {:>18} {:>8}",
            row.family.name(),
            level(0),
            level(1),
            level(2),
            format!("{} ({})", row.space, times(row.space, row.drawn as f64)),
            row.drawn,
        );
    }
    crate::say!(
        "\nDifferent problems, whatever their wording and language; ~ is an estimate from problems that were drawn twice, the others are counted. \
         Six in eight are for training, one for development, one for the test. Drawn is what all stages of this recipe train on, about, \
         repeats counted; the levels are drawn in shares of {:?}. In brackets: how many times what is drawn there.",
        recipe.tasks.levels
    );
    Ok(())
}

/// How many times what is drawn there is.
fn times(problems: u64, drawn: f64) -> String {
    let times = problems as f64 / drawn.max(1.0);
    if times < 9.95 { format!("{times:.1}") } else { format!("{times:.0}") }
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
    let row = |row: Row| json!({"family": row.family.name(), "levels": row.levels.map(level), "problems": row.space, "drawn": row.drawn, "drawn_at": row.drawn_at});
    Ok(rows(recipe)?.into_iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use reseek_spec::{Scale, resolve};

    use super::*;

    #[test]
    fn a_family_holds_more_than_three_times_what_the_default_run_draws_from_it() {
        let recipe = resolve(Scale::Nano, &[], &[]).unwrap().recipe;
        for row in rows(&recipe).unwrap() {
            assert!(row.drawn > 1000, "{} of {}", row.drawn, row.family);
            // README has this number.
            let times = row.space as f64 / row.drawn as f64;
            assert!(times >= 3.25, "{} holds {}, {} are drawn", row.family, row.space, row.drawn);
            let drawn: f64 = row.drawn_at.iter().sum();
            assert!((drawn - row.drawn as f64).abs() < 1e-6 * drawn, "{drawn} are not {}", row.drawn);
        }
    }
}
