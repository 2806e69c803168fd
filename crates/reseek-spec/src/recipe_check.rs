//! What a recipe's values may be: a range for every number by its key, and what must fit together.

use toml::{Table, Value};

use crate::{MomentsDtype, RecipeSpec, RlRecipe, SpecError};

/// A key, or the end of one, with the least and the greatest value and a hint. A longer key comes before its own end.
type Rule = (&'static str, f64, f64, &'static str);

/// Below this everything but 0 is meant.
const ABOVE_0: f64 = f64::MIN_POSITIVE;
const ANY: f64 = f64::MAX;
const SHARE: &str = "it is a share";
const COUNT: &str = "set it to a number that the machine can hold";
const RATE: &str = "V3's learning rates lie between 7.3e-6 and 2.2e-4, small models stand ten times as much";

const RULES: [Rule; 43] = [
    ("eval.temperature", 0.0, ANY, "0 is greedy, R1 was evaluated at 0.6"),
    ("temperature", ABOVE_0, ANY, "R1-Zero samples at 1"),
    ("top_p", ABOVE_0, 1.0, "1 switches it off, R1 was evaluated at 0.95"),
    ("levels", 0.0, ANY, "they are weights of the levels 1, 2 and 3"),
    ("share", 0.0, 1.0, SHARE),
    ("fraction", 0.0, 1.0, SHARE),
    ("rejection_language", 0.0, 1.0, SHARE),
    ("fim_rate", 0.0, 1.0, SHARE),
    ("vocab_size", 1.0, 1e6, "V3 has 129,280 tokens"),
    ("digit_group", 1.0, 3.0, "V3 has at most three digits in a token"),
    ("bytes", 1.0, 1e12, COUNT),
    ("seq_len", 2.0, 1_048_576.0, "V3 pre-trains on 4,096 tokens"),
    ("max_new_tokens", 1.0, 1_048_576.0, "R1-Zero begins with 32,768"),
    ("batch_tokens", 1.0, 1e9, COUNT),
    ("tokens", 1.0, 1e15, "V3 has 14.8e12"),
    ("sequences_start", 1.0, 1e6, COUNT),
    ("sequences", 1.0, 1e6, COUNT),
    ("problems_seed", 0.0, 9e18, "a run's problems do not follow its --seed, so that runs can be compared"),
    ("lanes", 1.0, 4096.0, "as many as there are threads will do"),
    ("lr_peak", 0.0, ANY, RATE),
    ("lr_decay", 0.0, ANY, RATE),
    ("lr_final", 0.0, ANY, RATE),
    ("lr", 0.0, ANY, RATE),
    ("beta1", 0.0, 0.999_999, "V3 has 0.9"),
    ("beta2", 0.0, 0.999_999, "V3 has 0.95"),
    ("weight_decay", 0.0, ANY, "V3 has 0.1"),
    ("clip", ABOVE_0, ANY, "V3 has 1"),
    ("clip_epsilon", ABOVE_0, ANY, "R1-Zero has 10"),
    ("clip_epsilon_high", 0.0, ANY, "0 stands for clip_epsilon, DAPO has 0.28 above 0.2"),
    ("clip_delta", 0.0, ANY, "0 switches it off, INTELLECT-2 has 4"),
    ("kl_beta", 0.0, ANY, "R1-Zero has 0.001"),
    ("balance_alpha", 0.0, ANY, "V3 has 0.0001"),
    ("bias_speed", 0.0, ANY, "V3 has 0.001"),
    ("mtp_lambda", 0.0, ANY, "V3 has 0.3"),
    ("mtp_lambda_late", 0.0, ANY, "V3 has 0.1"),
    ("factor", 2.0, 1024.0, "V3 goes to 32 times its length"),
    ("group", 2.0, 65_536.0, "an advantage is relative to a group: R1 uses 16"),
    ("reference_interval", 1.0, 1e9, "R1-Zero has 400"),
    ("reference_mixup_alpha", ABOVE_0, 1.0, "1 replaces the reference by the policy, TR-DPO has 0.6"),
    ("num_iterations", 1.0, 1e6, "1 learns once from each sample, as R1 does"),
    (
        "dynamic_sampling",
        0.0,
        1000.0,
        "0 switches it off; these are further rounds of sampling, DAPO's release has 10 in all",
    ),
    ("k", 1.0, 4096.0, "R1 was evaluated with 4 to 64 samples"),
    ("epochs", 1.0, 1e4, "R1's fine-tuning takes 2"),
];

/// Of the weights in a section of rewards, whose names are open.
const REWARDS: Rule = ("rewards", 0.0, ANY, "0 switches a reward off");

/// Sizes that may be 0, where a part of the work is left out, and sizes that may not.
const OPTIONAL: [&str; 6] = ["steps", "heldout_examples", "general_samples", "needles", "pairs", "rejection_questions"];
const NEEDED: [&str; 6] = ["questions", "minibatches", "problems", "samples", "batch", "kept"];

/// Holds every number of a recipe, all keys decided, against its range. Before types are: -3 is out of range, not of another type.
///
/// # Errors
/// The first value that cannot be, with its key.
pub fn check_ranges(recipe: &Table) -> Result<(), SpecError> {
    walk(recipe, "")
}

fn walk(table: &Table, prefix: &str) -> Result<(), SpecError> {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => walk(inner, &path)?,
            Value::Array(values) => values.iter().filter_map(number).try_for_each(|v| check(&path, v))?,
            value => number(value).map_or(Ok(()), |v| check(&path, v))?,
        }
    }
    Ok(())
}

fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

fn check(path: &str, value: f64) -> Result<(), SpecError> {
    let Some((_, low, high, hint)) = rule(path) else { return Ok(()) };
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let low = if low == ABOVE_0 { "above 0".to_string() } else { format!("{low} or more") };
    let allowed = if high == ANY { low } else { format!("{low}, at most {high}") };
    wrong(path, value, &allowed, hint)
}

/// The rule of a key; one that has none may be anything, which a test forbids.
fn rule(path: &str) -> Option<Rule> {
    let fits = |end: &str| path == end || path.strip_suffix(end).is_some_and(|rest| rest.ends_with(['.', '_']));
    let size = |ends: &[&'static str], low| ends.iter().find(|end| fits(end)).map(|end| (*end, low, 1e9, COUNT));
    if is_reward(path) {
        return Some(REWARDS);
    }
    RULES.into_iter().find(|(end, ..)| fits(end)).or_else(|| size(&OPTIONAL, 0.0)).or_else(|| size(&NEEDED, 1.0))
}

/// Whether a key is the weight of a reward.
pub(crate) fn is_reward(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(section, _)| section.ends_with(".rewards"))
}

/// What must fit together.
///
/// # Errors
/// The first clash, with its keys and values.
pub fn check_together(recipe: &RecipeSpec) -> Result<(), SpecError> {
    let (p, levels) = (&recipe.pretrain, &recipe.tasks.levels);
    if levels.len() != 3 || levels.iter().sum::<f64>() <= 0.0 {
        let what = format!("tasks.levels = {levels:?}");
        return Err(SpecError::clash(what, "three weights that are not all 0", "problems have levels 1 to 3"));
    }
    let lengths = p.warmup_fraction + p.constant_fraction + p.cosine_fraction + p.decay_fraction;
    if lengths > 1.0 + 1e-9 {
        let keys = "pretrain.{warmup,constant,cosine,decay}_fraction";
        return wrong(keys, lengths, "at most 1 together", "shorten one of them");
    }
    // In bf16 a moment that should move by less than 1/512 of itself stays.
    if recipe.moments == MomentsDtype::Bf16 && p.beta2 > 0.99 {
        return wrong(
            "pretrain.beta2",
            p.beta2,
            "at most 0.99 with moments = \"bf16\"",
            "V3 has 0.95, or keep them in f32",
        );
    }
    if !recipe.extend.factor.is_multiple_of(2) {
        let factor = recipe.extend.factor as f64;
        return wrong("extend.factor", factor, "an even number", "the first phase goes to its half");
    }
    let context = p.seq_len.saturating_mul(recipe.extend.factor);
    let short = |name: &str, what: String, context: usize| {
        let allowed = format!("less than the {context} tokens of the model's context");
        Err(SpecError::clash(
            format!("{name}.max_new_tokens = {what}"),
            &allowed,
            "shorten it, or raise pretrain.seq_len",
        ))
    };
    for (name, rl) in recipe.rl_stages() {
        // The student is not extended.
        let context = if name == "distil.rl" { p.seq_len } else { context };
        if rl.max_new_tokens >= context {
            return short(name, rl.max_new_tokens.to_string(), context);
        }
        minibatches(name, rl)?;
    }
    Ok(())
}

pub(crate) fn minibatches(name: &str, rl: &RlRecipe) -> Result<(), SpecError> {
    let samples = rl.questions.saturating_mul(rl.group);
    if rl.minibatches > samples {
        let allowed = format!("at most the {samples} samples of a step");
        return wrong(&format!("{name}.minibatches"), rl.minibatches as f64, &allowed, "give each a sample at least");
    }
    Ok(())
}

fn wrong(key: &str, value: f64, allowed: &str, hint: &str) -> Result<(), SpecError> {
    Err(SpecError::clash(format!("{key} = {value}"), allowed, hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Scale, resolve};

    #[test]
    fn every_number_of_a_recipe_has_a_rule() {
        fn keys(table: &Table, prefix: &str, found: &mut Vec<String>) {
            for (key, value) in table {
                let path = format!("{prefix}{key}");
                match value {
                    Value::Table(inner) => keys(inner, &format!("{path}."), found),
                    Value::Integer(_) | Value::Float(_) => found.push(path),
                    _ => {}
                }
            }
        }
        let recipe: Table = resolve(Scale::Nano, &[], &[]).unwrap().toml.parse().unwrap();
        let mut found = Vec::new();
        keys(&recipe, "", &mut found);
        assert!(found.len() > 80, "{found:?}");
        let without: Vec<&String> = found.iter().filter(|path| rule(path).is_none()).collect();
        assert!(without.is_empty(), "no rule for {without:?}");
        for rule in RULES {
            assert!(found.iter().any(|path| super::rule(path) == Some(rule)) || rule.0 == "levels", "dead: {rule:?}");
        }
    }
}
