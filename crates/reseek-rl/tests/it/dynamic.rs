//! Dynamic sampling: which questions give way, to what, and what is reported of it.

use std::collections::BTreeMap;

use reseek_engine::Completion;
use reseek_rl::{Drawn, Rewards, RlError, StepName, draw};
use reseek_spec::RlRecipe;
use reseek_train::Learner;

use crate::common::{STOP, policy, recipe, specs};

/// How a question's answers are graded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// By chance, so that right and wrong answers are both there.
    Mixed,
    /// All right, or all wrong, with a second reward that differs from answer to answer.
    Shaped(bool),
    /// No verdict.
    Outage,
    /// By a sum alone, as general prompts are.
    General,
}

fn grade_group(_: usize, kind: &Kind, prompt: &[u32], group: &[Completion]) -> Vec<Rewards> {
    group.iter().map(|completion| grade(kind, prompt, completion)).collect()
}

fn grade(kind: &Kind, _: &[u32], completion: &Completion) -> Rewards {
    let chance = f64::from(completion.tokens[0] % 2);
    let accuracy = match kind {
        Kind::Mixed => Some(chance),
        Kind::Shaped(right) => Some(f64::from(u8::from(*right))),
        Kind::Outage | Kind::General => None,
    };
    let total = match kind {
        Kind::General => Some(chance),
        _ => accuracy.map(|accuracy| accuracy + 0.1 * chance),
    };
    Rewards { named: vec![("accuracy", accuracy), ("format", Some(chance))], total, learned: false }
}

/// A step whose places are asked `kinds[round][place]`, and the places that were asked in each round.
fn drawn(policy: &Learner, recipe: &RlRecipe, kinds: &[Vec<Kind>]) -> (Drawn, Vec<Vec<usize>>) {
    let mut rounds = Vec::new();
    let name = StepName { seed: 1, stage: "test", step: 3 };
    let ask = |round: u64, places: &[usize]| -> Result<Vec<(Kind, Vec<u32>)>, RlError> {
        rounds.push(places.to_vec());
        let kinds = &kinds[(round as usize).min(kinds.len() - 1)];
        Ok(places.iter().map(|&place| (kinds[place], vec![0, 9, 10 + 5 * round as u32 + place as u32])).collect())
    };
    let drawn = draw(policy, &[STOP], recipe, &name, ask, grade_group).unwrap();
    (drawn, rounds)
}

fn small(dynamic_sampling: usize) -> RlRecipe {
    RlRecipe { questions: 4, group: 8, dynamic_sampling, ..recipe() }
}

#[test]
fn questions_give_way_by_their_accuracy_until_the_batch_is_full() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    let (right, wrong) = (Kind::Shaped(true), Kind::Shaped(false));
    let kinds = [
        vec![right, Kind::Mixed, Kind::Outage, Kind::General],
        vec![wrong, right, Kind::Mixed, right],
        vec![Kind::Mixed; 4],
    ];
    let (step, rounds) = drawn(&policy, &small(5), &kinds);
    assert_eq!(rounds, [vec![0, 1, 2, 3], vec![0, 2], vec![0]]);
    assert_eq!((step.all.prompts.len(), step.mixed, step.share_mixed()), (7, 4, 4.0 / 7.0));
    assert_eq!(step.taken, [6, 1, 5, 3]);
    let taken = step.taken();
    let prompts: Vec<u32> = taken.prompts.iter().map(|prompt| prompt[2]).collect();
    assert_eq!((prompts, taken.samples.len(), taken.groups().count()), (vec![20, 11, 17, 13], 32, 4));
    for (place, group) in taken.groups().enumerate() {
        assert!(group.iter().all(|sample| sample.prompt == place));
        assert!(group.iter().any(|sample| sample.rewards.total != group[0].rewards.total), "place {place}");
    }
    // What is reported of the policy is of all that it answered.
    let sampled: usize = step.all.samples.iter().map(|sample| sample.completion.tokens.len()).sum();
    assert_eq!(step.all.report().sampled_tokens, sampled);
    assert!(step.all.groups().count() == 7 && step.all.report().frac_reward_zero_std < 0.5);
}

/// No more rounds than allowed; a place that stays open keeps what was drawn last.
#[test]
fn rounds_end() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    for (rounds, expected) in [(0, vec![0, 1, 2, 3]), (1, vec![4, 1, 5, 6]), (3, vec![10, 1, 11, 12])] {
        let first = vec![Kind::Shaped(true), Kind::Mixed, Kind::Shaped(false), Kind::Outage];
        let (step, asked) = drawn(&policy, &small(rounds), &[first, vec![Kind::Shaped(false); 4]]);
        assert_eq!((asked.len(), step.taken.clone(), step.mixed), (rounds + 1, expected, 1));
        assert_eq!(step.taken().groups().count(), 4);
    }
}

/// Round 0 is what is drawn without the filter, and every round's answers are its own.
#[test]
fn rounds_draw_from_streams_of_their_own() {
    let (_, spec) = specs().into_iter().next().unwrap();
    let policy = policy(spec);
    let tokens = |drawn: &Drawn| {
        let mut of: BTreeMap<usize, Vec<Vec<u32>>> = BTreeMap::new();
        drawn.all.samples.iter().for_each(|s| of.entry(s.prompt).or_default().push(s.completion.tokens.clone()));
        of
    };
    let kinds = [vec![Kind::Shaped(true); 4]];
    let (off, on, again) =
        (drawn(&policy, &small(0), &kinds), drawn(&policy, &small(2), &kinds), drawn(&policy, &small(2), &kinds));
    let (off, on, again) = (tokens(&off.0), tokens(&on.0), tokens(&again.0));
    assert_eq!(on, again);
    assert!(off.iter().all(|(prompt, answers)| on[prompt] == *answers));
    assert!((0..4).all(|place| on[&place] != on[&(place + 4)] && on[&(place + 4)] != on[&(place + 8)]));
}
