//! The chain on a CPU, predicted: counted work over rates that `sim calibrate` measures. Nothing here was fitted to a stage's time.

mod cost;
mod space;

pub use cost::product_flops;

use reseek_spec::stages::{self, examined};
use reseek_spec::{ModelSpec, RecipeSpec, RlRecipe, SftRecipe};
use serde::{Deserialize, Serialize};

use cost::{Cost, StepRows};
use space::{Doing, space};

/// Rates of one thread while all threads work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuRates {
    /// Threads that worked while the rates were measured.
    pub threads: usize,
    /// The format in which products were measured: f32, bf16 or fp8.
    pub compute: String,
    /// Products of many rows, in GFLOP/s by the length of their sums.
    pub products: Vec<Point>,
    /// Products of a few rows, as decoding has them.
    pub few_rows: Vec<Point>,
    /// Products for gradients of weights, by the rows that they sum over.
    pub weight_gradients: Vec<Point>,
    /// Causal attention, forward, in GFLOP/s of what it computes.
    pub attention: f64,
    /// Element-wise work in the cache, in GB/s.
    pub elementwise: f64,
    /// Memory, in GB/s.
    pub memory: f64,
}

/// A measured rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Length of the sum: columns of the left operand, or rows of a batch for gradients of weights.
    pub k: usize,
    /// Of one thread.
    pub gflops: f64,
}

/// A stage of the chain and what it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PredictedStage {
    /// As run directories name it.
    pub name: String,
    /// By the clock.
    pub seconds: f64,
    /// Tokens that go through the model, as the stage's own record counts them.
    pub tokens: f64,
    /// Memory while it works, in bytes.
    pub memory_bytes: f64,
    /// Disk that its results take, in bytes.
    pub disk_bytes: f64,
    /// Disk that its saved states take until it is done, in bytes.
    pub state_bytes: f64,
}

/// How long a question is in a style, in tokens, and the share of the longest answer that a mean one takes. Both are known only when a run is
/// over: these are what a nano run came to.
#[derive(Clone, Copy)]
struct Style {
    prompt: f64,
    share: f64,
}

/// R1-Zero's template around a completion, and the chat template.
const ZERO: Style = Style { prompt: 44.0, share: 0.47 };
const CHAT: Style = Style { prompt: 24.0, share: 0.57 };
/// A worked solution or a kept sample, of the longest answer of R1's first RL stage.
const LESSON_SHARE: f64 = 0.44;
/// Share of the rejection samples that are kept, from the same run, and how many of a question may be.
const KEPT: f64 = 0.35;
const KEPT_OF_QUESTION: f64 = 4.0;
/// Windows of held-out text that measure the extension, in rows of the longest: the embedded corpus has 29, which a short context reads 1.2 times.
const WINDOWS_READ: f64 = 29.0 * 2.2;
/// Bytes of held-out text a token.
const BYTES_PER_TOKEN: f64 = 3.0;

/// What each stage takes that computes with a model: `model` and the dense `student` by `recipe` at `rates`, on `text_bytes` bytes of text.
/// The tokenizer's merges and the report are not predicted.
pub fn predict(
    model: &ModelSpec,
    student: &ModelSpec,
    recipe: &RecipeSpec,
    rates: &CpuRates,
    text_bytes: usize,
) -> Vec<PredictedStage> {
    let (teacher, pupil) = (Part::of(model, recipe, rates, text_bytes), Part::of(student, recipe, rates, text_bytes));
    let r1 = &recipe.r1;
    let cold_start = SftRecipe { epochs: r1.cold_start_epochs, ..r1.sft.clone() };
    let kept = (KEPT * r1.rejection_samples as f64).min(KEPT_OF_QUESTION) * r1.rejection_questions as f64;
    let lessons = kept + r1.general_samples as f64;
    let rejection = teacher.rejection();
    let distilled = pupil.tune("student", lessons, &recipe.distil.sft);
    // RL alone has the operations of the distillation and of its samples.
    let budget = pupil.train_flops(distilled.tokens) + teacher.forward_flops(rejection.tokens);
    let by_rl =
        (budget / pupil.reinforce_flops(&recipe.distil.rl, ZERO)).floor().max(1.0).min(recipe.distil.rl.steps as f64);
    vec![
        teacher.pretrain("pretrain", recipe.pretrain.tokens),
        teacher.extend(),
        teacher.reinforce("zero", &recipe.zero, ZERO, recipe.zero.steps as f64),
        teacher.tune("r1_cold_start", r1.cold_start_samples as f64, &cold_start),
        teacher.reinforce("r1_rl", &r1.rl, CHAT, r1.rl.steps as f64),
        rejection,
        teacher.tune("r1_sft", lessons, &r1.sft),
        teacher.reinforce("r1", &r1.rl_all, CHAT, r1.rl_all.steps as f64),
        pupil.pretrain("student_base", recipe.distil.pretrain_tokens),
        distilled,
        pupil.reinforce("student_rl", &recipe.distil.rl, ZERO, by_rl),
        eval(&teacher, &pupil),
    ]
}

/// One of the two models with what its stages need.
struct Part<'a> {
    model: &'a ModelSpec,
    recipe: &'a RecipeSpec,
    cost: Cost<'a>,
    threads: usize,
    text_bytes: f64,
}

impl<'a> Part<'a> {
    fn of(model: &'a ModelSpec, recipe: &'a RecipeSpec, rates: &'a CpuRates, text_bytes: usize) -> Self {
        let cost = Cost::of(model, rates);
        Self { model, recipe, cost, threads: rates.threads, text_bytes: text_bytes as f64 }
    }

    fn stage(&self, name: &str, seconds: f64, tokens: f64, doing: &Doing, steps: f64) -> PredictedStage {
        let space = space(self.model, self.recipe, self.threads, self.text_bytes, doing, steps);
        PredictedStage {
            name: name.to_string(),
            seconds,
            tokens,
            memory_bytes: space.memory,
            disk_bytes: space.left,
            state_bytes: space.states,
        }
    }

    /// Rows of a lane's share of a batch.
    fn lane(&self, rows: usize) -> f64 {
        rows as f64 / self.recipe.pretrain.lanes as f64
    }

    fn pretrain(&self, name: &str, tokens: u64) -> PredictedStage {
        let p = &self.recipe.pretrain;
        let (tokens, length) = (tokens as f64, p.seq_len as f64);
        let steps = (tokens / (p.sequences * p.seq_len) as f64).ceil();
        let rows = self.cost.text_rows(length, self.lane(p.sequences * p.seq_len));
        let share = if self.model.num_nextn_predict_layers > 0 { p.mtp_share } else { 0.0 };
        let seconds = tokens * self.cost.train_s(length / 2.0, rows, share) + steps * self.cost.update_s(p.lanes);
        self.stage(name, seconds, tokens, &Doing::Training, steps)
    }

    fn extend(&self) -> PredictedStage {
        let (p, e) = (&self.recipe.pretrain, &self.recipe.extend);
        let steps = e.steps as f64;
        // A batch holds a sequence at least.
        let phase = |length: f64| {
            let tokens = steps * (e.batch_tokens as f64 / length).floor().max(1.0) * length;
            let rows = self.cost.text_rows(length, tokens / steps.max(1.0) / p.lanes as f64);
            let seconds =
                tokens * self.cost.train_s(length / 2.0, rows, p.mtp_share) + steps * self.cost.update_s(p.lanes);
            (seconds, tokens)
        };
        let longest = (p.seq_len * e.factor) as f64;
        let ((first_s, first), (second_s, second)) = (phase(longest / 2.0), phase(longest));
        // Needles at three lengths and held-out text, before and after.
        let asked = [p.seq_len as f64, longest / 2.0, longest].map(|length| (e.needles as f64 * length, length));
        let read = asked.into_iter().chain([(WINDOWS_READ * longest, longest)]);
        let (probe_s, probed) = read.fold((0.0, 0.0), |(seconds, tokens), (rows, length)| {
            (seconds + 2.0 * rows * self.cost.read_s(length / 2.0), tokens + 2.0 * rows)
        });
        let (seconds, tokens) = (first_s + second_s + probe_s, first + second + probed);
        self.stage("extend", seconds, tokens, &Doing::Training, 2.0 * steps)
    }

    /// Fine-tuning on `examples` answers such as R1's.
    fn tune(&self, name: &str, examples: f64, sft: &SftRecipe) -> PredictedStage {
        let lanes = self.recipe.pretrain.lanes;
        let length = CHAT.prompt + LESSON_SHARE * self.recipe.r1.rl.max_new_tokens as f64;
        let epochs = examples * sft.epochs as f64;
        let steps = (epochs / sft.sequences as f64).ceil();
        let rows = self.cost.text_rows(length, sft.sequences as f64 * length / lanes as f64);
        let seconds = epochs * length * self.cost.train_s(length / 2.0, rows, 0.0) + steps * self.cost.update_s(lanes);
        self.stage(name, seconds, epochs * length, &Doing::Training, steps)
    }

    fn reinforce(&self, name: &str, rl: &RlRecipe, style: Style, steps: f64) -> PredictedStage {
        let rows = StepRows::of(rl, style);
        let trained = rows.answered + rl.minibatches as f64 * rows.asked;
        let tokens = steps * (rows.answered + rl.num_iterations as f64 * trained);
        let doing = Doing::Reinforcing { context: style.prompt + rl.max_new_tokens as f64 };
        let seconds = steps * self.cost.reinforce_s(rl, &rows, self.recipe.pretrain.lanes);
        self.stage(name, seconds, tokens, &doing, steps)
    }

    /// Operations of a step of RL as the stage counts them: sampling, prompts and the reference once, the rows of an update three times.
    fn reinforce_flops(&self, rl: &RlRecipe, style: Style) -> f64 {
        let StepRows { asked, answered, .. } = StepRows::of(rl, style);
        let passes = 1.0 + 3.0 * rl.num_iterations as f64;
        self.forward_flops(answered + asked + passes * (answered + rl.minibatches as f64 * asked))
    }

    fn rejection(&self) -> PredictedStage {
        let (r1, longest) = (&self.recipe.r1, self.recipe.r1.rl.max_new_tokens as f64);
        let (questions, samples) = (r1.rejection_questions as f64, r1.rejection_samples as f64);
        let answer = CHAT.share * longest;
        let seconds = self.ask_s(questions, samples, CHAT.prompt, answer);
        let doing = Doing::Sampling { context: CHAT.prompt + longest };
        self.stage("r1_rejection", seconds, questions * samples * answer, &doing, 0.0)
    }

    /// Seconds of `samples` answers to each of so many questions: a prompt is read once for all of its samples.
    fn ask_s(&self, questions: f64, samples: f64, prompt: f64, answer: f64) -> f64 {
        questions * prompt * self.cost.read_s(prompt / 2.0) + self.cost.sample_s(questions * samples, prompt, answer)
    }

    fn forward_flops(&self, tokens: f64) -> f64 {
        tokens * self.model.forward_flops_per_token(64.0)
    }

    fn train_flops(&self, tokens: f64) -> f64 {
        tokens * self.model.train_flops_per_token(64).causal
    }
}

/// Every examined model, the students of the pupil's shape, on the same problems and text. Answers are as long as training made them.
fn eval(teacher: &Part, pupil: &Part) -> PredictedStage {
    let (recipe, e) = (teacher.recipe, &teacher.recipe.eval);
    let (questions, samples, longest) = (e.problems as f64, e.k as f64, e.max_new_tokens as f64);
    let text = e.text_bytes as f64 / BYTES_PER_TOKEN;
    let length = recipe.pretrain.seq_len as f64;
    let answer = |style: Style, rl: &RlRecipe| (style.share * rl.max_new_tokens as f64).min(longest);
    let (zero, chat) = (answer(ZERO, &recipe.zero), answer(CHAT, &recipe.r1.rl));
    let asked: Vec<(&Part, Style, f64)> = examined()
        .map(|(_, stage)| {
            let part = if stage.command == "distil" { pupil } else { teacher };
            match stage.model.as_ref().map(|model| model.style) {
                Some(stages::Style::Chat) => (part, CHAT, chat),
                _ => (part, ZERO, zero),
            }
        })
        .collect();
    let seconds = asked.iter().map(|(part, style, answer)| {
        part.ask_s(questions, samples, style.prompt, *answer) + text * part.cost.read_s(length / 2.0)
    });
    let tokens = asked.iter().map(|(.., answer)| questions * samples * answer);
    let doing = Doing::Sampling { context: ZERO.prompt + longest };
    teacher.stage("eval", seconds.sum(), tokens.sum(), &doing, 0.0)
}
