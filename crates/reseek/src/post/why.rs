//! `reseek why RUN`: what a step of reinforcement learning saw and did, in sentences, and its groups to be read.

use std::path::Path;

use reseek_store::{RunDir, read_metrics};
use serde_json::{Map, Value, json};

use super::seen::GROUPS;
use super::train::STEPS;
use crate::cli_eval::WhyArgs;
use crate::error::{Outcome, fail};

/// Figures of a step.
type Row = Map<String, Value>;

/// Groups that are shown whole, and characters of an answer.
const SHOWN: usize = 4;
const CHARACTERS: usize = 160;

/// Tells about a step.
pub fn why(args: &WhyArgs) -> Outcome<()> {
    RunDir::inspect(&args.run)?;
    let folder = args.run.join(STEPS);
    let rows = rows_of(&folder.join("metrics.jsonl"))?;
    let groups = rows_of(&folder.join(GROUPS))?;
    let Some(last) = rows.len().min(groups.len()).checked_sub(1) else {
        return fail(format!("{} has no step yet. Wait for its first one.", folder.display()));
    };
    let step = args.step.unwrap_or(last);
    if step > last {
        return fail(format!("{} has the steps 0 to {last}, and --step {step} is none of them.", folder.display()));
    }
    let (row, groups) = (&rows[step], &groups[step]["groups"]);
    let sentences = explain(row, groups, &rows[0]);
    if args.json {
        crate::say!("{}", json!({"step": step, "figures": row, "why": sentences, "groups": groups}));
        return Ok(());
    }
    crate::say!("{}, step {step} of 0 to {last}", args.run.display());
    for name in ["reward", "entropy", "kl", "grad_norm", "response_length", "lr"] {
        if let Some(value) = row.get(name).and_then(Value::as_f64) {
            crate::say!("  {name:<26} {value:.4}");
        }
    }
    sentences.iter().for_each(|sentence| crate::say!("- {sentence}"));
    for group in list(groups).iter().take(args.groups.unwrap_or(SHOWN)) {
        show(group);
    }
    Ok(())
}

fn rows_of(path: &Path) -> Outcome<Vec<Row>> {
    match path.exists() {
        true => Ok(read_metrics(path)?),
        false => fail(format!("{} is not there: {} was not made by `reseek rl`.", path.display(), path.display())),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn show(group: &Value) {
    let gold = group["gold"].as_str().map_or(String::new(), |gold| format!("   (right: {gold})"));
    crate::say!("\n{}{gold}", group["question"].as_str().unwrap_or_default());
    for sample in list(&group["samples"]) {
        let answer: String = sample["answer"].as_str().unwrap_or_default().chars().take(CHARACTERS).collect();
        let reward = sample["reward"].as_f64().map_or("  none".to_string(), |reward| format!("{reward:6.2}"));
        let cut = if sample["truncated"] == true { " …cut off" } else { "" };
        crate::say!("  {reward}  {:+.2}  {answer:?}{cut}", sample["advantage"].as_f64().unwrap_or(0.0));
    }
}

/// What is worth knowing of a step, beside the run's first.
fn explain(row: &Row, groups: &Value, first: &Row) -> Vec<String> {
    let figure = |row: &Row, name: &str| row.get(name).and_then(Value::as_f64);
    let groups = list(groups);
    let rewards = |group: &Value| -> Vec<Option<f64>> {
        list(&group["samples"]).iter().map(|sample| sample["reward"].as_f64()).collect()
    };
    let all: Vec<Vec<Option<f64>>> = groups.iter().map(rewards).collect();
    let known = |group: &[Option<f64>]| group.iter().copied().flatten().collect::<Vec<f64>>();
    let is_even = |group: &[Option<f64>]| known(group).windows(2).all(|pair| pair[0] == pair[1]);
    let mut why = Vec::new();

    let even = all.iter().filter(|group| is_even(group)).count();
    if even > 0 {
        let is_right = |group: &Value| {
            list(&group["samples"]).iter().all(|sample| sample["rewards"]["accuracy"].as_f64() == Some(1.0))
        };
        let right = all.iter().zip(groups).filter(|(rewards, group)| is_even(rewards) && is_right(group)).count();
        let all_even = if even == all.len() { ": the step moves nothing but by the KL term" } else { "" };
        why.push(format!(
            "in {even} of {} groups all answers earned the same ({right} of them all right), so they teach nothing{all_even}",
            all.len()
        ));
    }
    let unjudged = all.iter().flatten().filter(|reward| reward.is_none()).count();
    if unjudged > 0 {
        let samples = all.iter().flatten().count();
        why.push(format!("{unjudged} of {samples} answers could not be judged: they have no reward and no advantage"));
    }
    if figure(row, "loss").is_some_and(|loss| loss.abs() < 1e-3) && even < all.len() {
        why.push(
            "the loss is about 0 because the advantages of a group add up to 0 where nothing has been learnt from them yet; its gradient is \
             not (see grad_norm)"
                .to_string(),
        );
    }
    if let Some(share) = figure(row, "truncated").filter(|share| *share > 0.2) {
        why.push(format!(
            "{:.0} % of the answers were cut off: raise rl.max_new_tokens, or leave them out with rl.mask_truncated",
            100.0 * share
        ));
    }
    if figure(row, "format") == Some(0.0) && groups.iter().any(opens_itself) {
        why.push("format is 0: the template already opens <think>, and answers open it once more".to_string());
    }
    if let (Some(now), Some(then)) = (figure(row, "entropy"), figure(first, "entropy"))
        && now < 0.1 * then
    {
        why.push(format!("the entropy fell from {then:.3} to {now:.3} nats: answers hardly differ any more"));
    }
    if let Some(kl) = figure(row, "kl").filter(|kl| *kl > 10.0) {
        why.push(format!(
            "KL to the reference is {kl:.1} nats a token: the policy has left it. Lower rl.lr or raise rl.kl_beta"
        ));
    }
    why
}

/// Whether an answer has two opening tags.
fn opens_itself(group: &Value) -> bool {
    let answers = list(&group["samples"]).iter();
    answers.filter_map(|sample| sample["answer"].as_str()).any(|answer| answer.matches("<think>").count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(figures: Value) -> Row {
        figures.as_object().unwrap().clone()
    }

    fn group(rewards: &[Option<f64>]) -> Value {
        let sample = |reward: &Option<f64>| json!({"answer": "<think> <think> a", "reward": reward, "rewards": {"accuracy": reward}, "advantage": 0.0});
        json!({"question": "?", "gold": "1", "samples": rewards.iter().map(sample).collect::<Vec<_>>()})
    }

    #[test]
    fn what_a_step_shows_is_said() {
        let (r, w) = (Some(1.0), Some(0.0));
        let groups = json!([group(&[r, r]), group(&[w, w]), group(&[r, w]), group(&[r, None])]);
        let figures = row(json!({
            "loss": 0.0, "truncated": 0.5, "format": 0.0, "entropy": 0.01, "kl": 11.0,
        }));
        let said = explain(&figures, &groups, &row(json!({"entropy": 1.0}))).join("\n");
        for part in [
            "in 3 of 4 groups all answers earned the same (1 of them all right)",
            "1 of 8 answers could not be judged",
            "the advantages of a group add up to 0",
            "50 % of the answers were cut off",
            "format is 0: the template already opens <think>",
            "from 1.000 to 0.010 nats",
            "KL to the reference is 11.0",
        ] {
            assert!(said.contains(part), "no {part:?} in\n{said}");
        }
        let quiet = explain(
            &row(json!({"loss": 0.4, "entropy": 1.0})),
            &json!([group(&[r, w])]),
            &row(json!({"entropy": 1.0})),
        );
        assert!(quiet.is_empty(), "{quiet:?}");
    }
}
