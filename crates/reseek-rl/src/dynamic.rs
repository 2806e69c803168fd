//! Dynamic sampling (DAPO, 3.2): questions whose answers are all right or all wrong teach nothing, and give way to others.
//!
//! The filter looks at the accuracy, not at the weighted sum: rewards for form or length differ in almost every group, so a filter on the sum
//! would keep groups in which no answer is more right than another.

use reseek_engine::Completion;
use reseek_spec::RlRecipe;
use reseek_train::Learner;

use crate::{Rewards, RlError, Rollout, Sample, StepName, rollout};

/// What was drawn for a step, and what of it is learnt from.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Everything: what a step reports of the policy, which the filter must not flatter.
    pub all: Rollout,
    /// The prompt in `all` that holds each place of the step's batch.
    pub taken: Vec<usize>,
    /// Prompts whose answers differ in what the filter looks at.
    pub mixed: usize,
}

impl Drawn {
    /// The groups that are learnt from, one for each place.
    pub fn taken(&self) -> Rollout {
        let group = |(place, &prompt): (usize, &usize)| {
            let of = self.all.samples.iter().filter(move |sample| sample.prompt == prompt);
            of.cloned().map(move |sample| Sample { prompt: place, ..sample })
        };
        Rollout {
            prompts: self.taken.iter().map(|&prompt| self.all.prompts[prompt].clone()).collect(),
            samples: self.taken.iter().enumerate().flat_map(group).collect(),
            ..self.all
        }
    }

    /// Share of the prompts whose answers differ.
    pub fn share_mixed(&self) -> f64 {
        self.mixed as f64 / self.all.prompts.len().max(1) as f64
    }
}

/// Draws a step's samples. `ask(round, places)` says what is asked at these places of the batch: in round 0 at all of them, in up to
/// `dynamic_sampling` further rounds where no answer has differed from another yet. A place that stays open after the last round keeps what
/// was drawn last, whose advantages are 0, so that every step has as many groups. `grade(number of the prompt, question, prompt, its
/// completions)` is called once for each prompt.
///
/// The random streams of a round are named by it, and a round by its step: a run that goes on draws what it would have drawn.
///
/// # Errors
/// If asking or sampling fails.
///
/// # Panics
/// If `ask` gives fewer questions than places.
pub fn draw<Q: Sync, E: From<RlError>>(
    policy: &Learner,
    stops: &[u32],
    recipe: &RlRecipe,
    name: &StepName,
    mut ask: impl FnMut(u64, &[usize]) -> Result<Vec<(Q, Vec<u32>)>, E>,
    grade: impl Fn(usize, &Q, &[u32], &[Completion]) -> Vec<Rewards> + Sync + Send,
) -> Result<Drawn, E> {
    let mut open: Vec<usize> = (0..recipe.questions).collect();
    let mut drawn: Option<Drawn> = None;
    for round in 0..=recipe.dynamic_sampling as u64 {
        let (questions, prompts): (Vec<Q>, Vec<Vec<u32>>) = ask(round, &open)?.into_iter().unzip();
        assert_eq!(prompts.len(), open.len(), "{} questions for {} places", prompts.len(), open.len());
        let stage = stage_of_round(name.stage, round);
        let name = StepName { stage: &stage, ..*name };
        let before = drawn.as_ref().map_or(0, |drawn| drawn.all.prompts.len());
        let graded = |i: usize, prompt: &[u32], group: &[Completion]| grade(before + i, &questions[i], prompt, group);
        let more = rollout(policy, prompts, stops, recipe, &name, graded)?;
        let is_open: Vec<bool> = more.groups().map(|group| !is_mixed(group)).collect();
        let drawn = match &mut drawn {
            None => drawn.insert(Drawn { all: more, taken: open.clone(), mixed: 0 }),
            Some(drawn) => {
                drawn.add(more, &open);
                drawn
            }
        };
        drawn.mixed += is_open.iter().filter(|is_open| !**is_open).count();
        open = open.into_iter().zip(is_open).filter_map(|(place, is_open)| is_open.then_some(place)).collect();
        if open.is_empty() {
            break;
        }
    }
    Ok(drawn.expect("round 0"))
}

/// The name under which a stage's `round` draws: its streams are its own, and those of round 0 the stage's.
pub fn stage_of_round(stage: &str, round: u64) -> String {
    if round == 0 { stage.to_string() } else { format!("{stage}/round {round}") }
}

impl Drawn {
    fn add(&mut self, more: Rollout, places: &[usize]) {
        let before = self.all.prompts.len();
        for (i, &place) in places.iter().enumerate() {
            self.taken[place] = before + i;
        }
        self.all.prompts.extend(more.prompts);
        self.all.samples.extend(more.samples.into_iter().map(|s| Sample { prompt: before + s.prompt, ..s }));
    }
}

/// Whether answers of a group differ in accuracy, or in the sum of rewards where none is graded for accuracy, such as general prompts.
fn is_mixed(group: &[Sample]) -> bool {
    let of = |reward: fn(&Sample) -> Option<f64>| group.iter().filter_map(reward).collect::<Vec<f64>>();
    let accuracies = of(|sample| sample.rewards.get("accuracy"));
    let judged = if accuracies.is_empty() { of(|sample| sample.rewards.total) } else { accuracies };
    judged.iter().any(|reward| *reward != judged[0])
}
