//! What samples come to.

use std::collections::BTreeMap;

use reseek_store::summary::{HELDOUT, PassAtK, TaskScore};

use crate::{Interval, ProblemResult, mean_of_shares};

/// pass@k of all problems for k from 1 to the samples of a problem.
pub fn pass_at_k(results: &[ProblemResult]) -> Vec<PassAtK> {
    let samples = results.iter().map(|r| r.answers.len()).max().unwrap_or(0);
    let of = |k: usize| {
        let chances: Vec<f64> = results.iter().filter_map(|r| r.pass_at(k)).collect();
        let Interval { mean, low, high } = mean_of_shares(&chances);
        (!chances.is_empty()).then_some(PassAtK { k: k as u64, mean, ci_low: low, ci_high: high })
    };
    (1..=samples).filter_map(of).collect()
}

/// Scores of all problems ([`HELDOUT`]) and of each family.
pub fn score(results: &[ProblemResult]) -> BTreeMap<String, TaskScore> {
    let mut groups: BTreeMap<&str, Vec<&ProblemResult>> = BTreeMap::new();
    for result in results {
        groups.entry(HELDOUT).or_default().push(result);
        groups.entry(&result.family).or_default().push(result);
    }
    groups.into_iter().map(|(name, results)| (name.to_string(), of_group(&results))).collect()
}

/// Mean share of the reasoning's words in the question's language, with its interval clustered by problem.
pub fn language_share_of(results: &[ProblemResult]) -> Interval {
    let of =
        |r: &ProblemResult| r.answers.iter().map(|a| a.language_share).sum::<f64>() / r.answers.len().max(1) as f64;
    mean_of_shares(&results.iter().map(of).collect::<Vec<_>>())
}

/// Of each problem that could be judged, what the majority of its answers gains over the mean answer.
pub fn majority_gains(results: &[ProblemResult]) -> Vec<f64> {
    results.iter().filter_map(|result| Some(majority(result) - result.pass()?)).collect()
}

fn of_group(results: &[&ProblemResult]) -> TaskScore {
    let shares: Vec<f64> = results.iter().filter_map(|r| r.pass()).collect();
    let Interval { mean, low, high } = mean_of_shares(&shares);
    let consensus: Vec<f64> = results.iter().filter(|r| r.pass().is_some()).map(|r| majority(r)).collect();
    let answers: Vec<f64> = results.iter().flat_map(|r| &r.answers).map(|a| a.tokens as f64).collect();
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    TaskScore {
        pass_at_1: mean,
        ci_low: low,
        ci_high: high,
        cons_at_k: average(&consensus),
        k: results.iter().map(|r| r.answers.len()).max().unwrap_or(0) as u64,
        n: shares.len() as u64,
        mean_tokens: average(&answers),
    }
}

/// The share of correct ones among the answers that got the most votes: 1 or 0 unless several tie.
fn majority(result: &ProblemResult) -> f64 {
    let mut votes: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for answer in &result.answers {
        if let Some(vote) = &answer.vote {
            let entry = votes.entry(vote).or_insert((0, false));
            entry.0 += 1;
            entry.1 |= answer.outcome.is_correct();
        }
    }
    let most = votes.values().map(|v| v.0).max().unwrap_or(0);
    let leaders: Vec<bool> = votes.values().filter(|v| v.0 == most).map(|v| v.1).collect();
    leaders.iter().filter(|correct| **correct).count() as f64 / leaders.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;
    use reseek_tasks::Outcome;

    fn result(family: &str, votes: &[(&str, bool)]) -> ProblemResult {
        let answer = |&(vote, correct): &(&str, bool)| Answer {
            completion: String::new(),
            outcome: if correct { Outcome::Correct } else { Outcome::Wrong },
            vote: (!vote.is_empty()).then(|| vote.to_string()),
            tokens: 10,
            truncated: false,
            language_share: 1.0,
        };
        ProblemResult { problem: 0, family: family.to_string(), answers: votes.iter().map(answer).collect() }
    }

    #[test]
    fn scores() {
        let results = [
            result("a", &[("1", true), ("1", true), ("2", false), ("", false)]),
            result("a", &[("3", false), ("3", false), ("4", true), ("5", false)]),
            result("b", &[("1", true), ("2", false), ("", false), ("", false)]),
        ];
        let scores = score(&results);
        let a = &scores["a"];
        assert_eq!((a.pass_at_1, a.cons_at_k, a.n, a.k), (0.375, 0.5, 2, 4));
        assert_eq!(scores["heldout"].n, 3);
        assert_eq!(scores["b"].cons_at_k, 0.5, "a tie counts by its share");
    }

    /// With every choice of k of the samples counted out.
    #[test]
    fn pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one() {
        for right in 0..=6usize {
            let votes: Vec<(&str, bool)> = (0..6).map(|i| ("1", i < right)).collect();
            let got = pass_at_k(&[result("a", &votes)]);
            assert_eq!(got.len(), 6);
            for k in 1..=6u32 {
                let choices: Vec<u32> = (0..64u32).filter(|set| set.count_ones() == k).collect();
                let hits = choices.iter().filter(|&&set| set & ((1 << right) - 1) != 0).count();
                let expected = hits as f64 / choices.len() as f64;
                let at = &got[k as usize - 1];
                assert!(at.k == u64::from(k) && (at.mean - expected).abs() < 1e-12, "{right} of 6, {k}: {at:?}");
            }
        }
    }

    #[test]
    fn pass_at_k_is_of_the_problems_with_k_judged_samples() {
        let mut results = [result("a", &[("1", true), ("2", false)]), result("a", &[("1", false), ("2", false)])];
        results[1].answers[0].outcome = Outcome::Unverifiable("no gold".to_string());
        let got = pass_at_k(&results);
        assert_eq!((got[0].mean, got[1].mean), (0.25, 1.0));
        assert!(got.iter().all(|at| at.ci_low <= at.mean && at.mean <= at.ci_high));
        assert_eq!(score(&results)["a"].pass_at_1, got[0].mean);
    }

    #[test]
    fn gains_of_the_majority_are_those_of_the_scores() {
        let mut results = vec![
            result("a", &[("1", true), ("1", true), ("2", false), ("", false)]),
            result("b", &[("3", false), ("3", false), ("4", true), ("5", false)]),
            result("b", &[("", false)]),
        ];
        results[2].answers[0].outcome = Outcome::Unverifiable("no gold".to_string());
        assert_eq!(majority_gains(&results), [0.5, -0.25]);
        let heldout = &score(&results)["heldout"];
        assert!(
            (majority_gains(&results).iter().sum::<f64>() / 2.0 - (heldout.cons_at_k - heldout.pass_at_1)).abs()
                < 1e-12
        );
    }

    #[test]
    fn what_cannot_be_judged_is_not_counted() {
        let mut results = [result("a", &[("1", true)]), result("a", &[("", false)])];
        results[1].answers[0].outcome = Outcome::Unverifiable("no gold".to_string());
        assert_eq!(score(&results)["a"].n, 1);
        assert_eq!(score(&results)["a"].pass_at_1, 1.0);
    }
}
