//! What samples come to by one way of finding their answers.

use reseek_eval::{Answer, Interval, ProblemResult, Sampled, judge, paired_difference, pass_at_k, score};
use reseek_store::RunDir;
use reseek_store::summary::{HELDOUT, PassAtK, TaskScore};
use reseek_tasks::{Extraction, Outcome as Verdict, Problem};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Outcome;

/// The scores of a model on a task.
#[derive(Serialize)]
pub struct Score {
    task: String,
    prompt_sha256: String,
    /// Where answers were looked for.
    extract: &'static str,
    #[serde(flatten)]
    score: TaskScore,
    pass_at_k: Vec<PassAtK>,
    /// Share of the answers that ended at the limit of their length.
    truncated: f64,
    /// Share of those in which no answer was found.
    no_answer: f64,
    /// Share of those that could not be judged and count for nothing.
    unverifiable: f64,
    /// Share of right samples of each problem; nothing where none could be judged.
    passes: Vec<Option<f64>>,
    #[serde(skip)]
    results: Vec<ProblemResult>,
}

impl Score {
    pub fn of(
        task: &str,
        prompt_sha256: &str,
        problems: &[Problem],
        samples: &[Vec<Sampled>],
        extraction: &'static Extraction,
    ) -> Self {
        let results = judge(problems, samples, extraction);
        let answers: Vec<&Answer> = results.iter().flat_map(|result| &result.answers).collect();
        let share = |is: fn(&Answer) -> bool| {
            answers.iter().filter(|answer| is(answer)).count() as f64 / answers.len().max(1) as f64
        };
        Self {
            task: task.to_string(),
            prompt_sha256: prompt_sha256.to_string(),
            extract: extraction.name,
            score: score(&results).remove(HELDOUT).expect("a task has problems"),
            pass_at_k: pass_at_k(&results),
            truncated: share(|answer| answer.truncated),
            no_answer: share(|answer| answer.vote.is_none()),
            unverifiable: share(|answer| answer.outcome.reward().is_none()),
            passes: results.iter().map(ProblemResult::pass).collect(),
            results,
        }
    }

    /// Writes it beside the samples, with the verdict on each of them: a row for each in their order.
    pub fn keep(&self, run: &RunDir, place: &str, problems: &[Problem]) -> Outcome<()> {
        let mut rows = String::new();
        for (problem, result) in problems.iter().zip(&self.results) {
            for (sample, answer) in result.answers.iter().enumerate() {
                let (verdict, reason) = verdict(&answer.outcome);
                let row = json!({
                    "id": problem.id, "sample": sample, "gold": problem.answer, "answer": answer.vote, "verdict": verdict,
                    "reason": reason,
                });
                rows += &row.to_string();
                rows.push('\n');
            }
        }
        run.write(&format!("{place}/verdicts-{}.jsonl", self.extract), rows.as_bytes())?;
        run.write(&format!("{place}/score-{}.json", self.extract), &serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Share of right samples of each problem; nothing where none could be judged.
    pub fn passes(&self) -> &[Option<f64>] {
        &self.passes
    }

    /// It in a line.
    pub fn line(&self, model: &str) -> String {
        let TaskScore { pass_at_1, ci_low, ci_high, cons_at_k, k, mean_tokens, .. } = self.score;
        let several = match self.pass_at_k.last() {
            Some(last) if k > 1 => format!("  pass@{k} {:.3}  cons@{k} {cons_at_k:.3}", last.mean),
            _ => String::new(),
        };
        let unjudged = match self.unverifiable {
            0.0 => String::new(),
            share => format!(", {:.1} % could not be judged and count for nothing", 100.0 * share),
        };
        format!(
            "{model:<24} pass@1 {pass_at_1:.3} ({ci_low:.3}–{ci_high:.3}) by {}{several}  {mean_tokens:.0} tokens, {:.1} % truncated, {:.1} % \
             without an answer{unjudged}",
            self.extract,
            100.0 * self.truncated,
            100.0 * self.no_answer
        )
    }

    /// Prints it, with the difference from `first` on the same problems.
    pub fn show(&self, model: &str, first: Option<&Score>, json: bool) -> Outcome<()> {
        let difference = first.map(|first| paired_difference(&self.passes, &first.passes));
        if json {
            let mut row = serde_json::to_value(self)?;
            row["model"] = Value::from(model);
            row["above_the_first"] = serde_json::to_value(difference)?;
            row.as_object_mut().map(|row| row.remove("passes"));
            crate::say!("{row}");
            return Ok(());
        }
        crate::say!("{}", self.line(model));
        if let Some(Interval { mean, low, high }) = difference {
            crate::say!("{:<24} {mean:+.3} ({low:+.3} to {high:+.3}) above the first, on the same problems", "");
        }
        Ok(())
    }
}

/// The verdict in a word, and its reason where it has one.
pub fn verdict(outcome: &Verdict) -> (&'static str, Option<&str>) {
    match outcome {
        Verdict::Correct => ("correct", None),
        Verdict::Wrong => ("wrong", None),
        Verdict::Unverifiable(reason) => ("unverifiable", Some(reason)),
        Verdict::InfrastructureError(message) => ("infrastructure_error", Some(message)),
        Verdict::TimeOut => ("time_out", None),
    }
}
