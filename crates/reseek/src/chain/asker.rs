//! How a policy is asked, and what it is asked in each step of reinforcement learning.

use reseek_data::Problems;
use reseek_rl::rewards::Question;
use reseek_rl::stage_of_round;
use reseek_spec::RlRecipe;
use reseek_tasks::{Extraction, extraction, general};
use reseek_tensor::random::Stream;
use reseek_text::{Special, Tokenizer};

use super::step::StepError;
use crate::error::{Outcome, fail};
use crate::style::{Style, prompt};

/// How a policy is asked, and what of its answers is looked at.
pub trait Form: Sync {
    /// The tokens of a question, ready for the answer.
    fn prompt(&self, question: &str) -> Outcome<Vec<u32>>;
    /// A completion as the text that is judged.
    fn text(&self, tokens: &[u32]) -> String;
    /// Tokens that end an answer.
    fn stops(&self) -> &[u32];
    /// Where a problem's answer is looked for.
    fn extraction(&self) -> &'static Extraction;
}

/// The form of the chain's own models.
pub struct OwnForm<'a> {
    tokenizer: &'a Tokenizer,
    style: Style,
    stops: [u32; 1],
}

impl<'a> OwnForm<'a> {
    pub fn new(tokenizer: &'a Tokenizer, style: Style) -> Outcome<Self> {
        Ok(Self { tokenizer, style, stops: [tokenizer.special(Special::Eos)?] })
    }
}

impl Form for OwnForm<'_> {
    fn prompt(&self, question: &str) -> Outcome<Vec<u32>> {
        prompt(self.tokenizer, self.style, question)
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode_visible(tokens)
    }

    fn stops(&self) -> &[u32] {
        &self.stops
    }

    fn extraction(&self) -> &'static Extraction {
        extraction("tags").expect("an extraction of the table")
    }
}

/// Draws the questions of a stage.
pub struct Asker<'a> {
    pub problems: &'a Problems,
    /// How the policy is asked.
    pub form: &'a dyn Form,
    pub stage: &'a str,
    pub seed: u64,
    /// The model's context, in tokens.
    pub context: usize,
}

/// Problems that are tried for one question before the stage gives up.
const ATTEMPTS: u64 = 1000;

impl Asker<'_> {
    /// The questions of a step at some places of its batch, each with its prompt. Those of every round are others.
    pub fn questions(
        &self,
        recipe: &RlRecipe,
        step: u64,
        round: u64,
        places: &[usize],
    ) -> Result<Vec<(Question, Vec<u32>)>, StepError> {
        let stage = stage_of_round(self.stage, round);
        let one = |&i: &usize| self.question(recipe, &stage, step, i as u64).map_err(StepError::Question);
        places.iter().map(one).collect()
    }

    /// Question `i` of a step: one that fills the context gives way to another.
    fn question(&self, recipe: &RlRecipe, stage: &str, step: u64, i: u64) -> Outcome<(Question, Vec<u32>)> {
        for attempt in 0..ATTEMPTS {
            let question = self.draw(recipe, stage, step, i, attempt);
            let prompt = self.form.prompt(question.text())?;
            if prompt.len() < self.context {
                return Ok((question, prompt));
            }
        }
        fail(format!(
            "no problem of {ATTEMPTS} fits into the model's context of {} tokens. Raise pretrain.seq_len, or give shorter problems.",
            self.context
        ))
    }

    /// One of the streams that `stage` names.
    fn draw(&self, recipe: &RlRecipe, stage: &str, step: u64, i: u64, attempt: u64) -> Question {
        let Asker { problems, seed, .. } = *self;
        let index = step * recipe.questions as u64 + i;
        let general_turn = step as usize + recipe.preference_steps >= recipe.steps;
        let mut stream = Stream::new(seed, &format!("{stage}/ask"), step, i);
        if general_turn && stream.uniform() < recipe.general_share {
            let exchange = general(seed, stage, index);
            return Question::General { prompt: exchange.prompt, language: exchange.language };
        }
        Question::Problem(Box::new(problems.train(seed, &format!("{stage}/{attempt}"), index)))
    }
}
