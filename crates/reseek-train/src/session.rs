//! The loop of a stage: steps, rows of metrics, saved states. Cut it anywhere and run it again: it goes on from the last saved state and
//! ends in the same bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reseek_store::{Moment, PROFILE, StageDir, StepLog, StoreError, TrainState, write_atomic};
use reseek_tensor::dtype::bf16;
use reseek_tensor::profile::record;
use serde_json::{Map, Value, json};

use crate::{Learner, Moments, Optimizer, profile};

/// Whether to go on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save and stop: the user asked for it.
    Stop,
}

/// What a step did.
#[derive(Clone, Debug, Default)]
pub struct StepRow {
    /// Deterministic numbers, in the order in which they are written.
    pub metrics: Map<String, Value>,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Floating-point operations, by the counts of the specification.
    pub flops: f64,
}

/// What a running stage tells its observer after every step.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The stage.
    pub stage: &'a str,
    /// Steps done.
    pub step: u64,
    /// Steps in all: an estimate where operations end the stage.
    pub steps: u64,
    /// Tokens so far.
    pub tokens: u64,
    /// Of these, the tokens of this process.
    pub tokens_here: u64,
    /// Seconds that this process has worked on the stage.
    pub seconds_here: f64,
    /// The step's numbers.
    pub metrics: &'a Map<String, Value>,
}

/// Sees every step and may stop the stage after it.
pub trait Observer {
    /// A step is done; whether to go on.
    fn step(&mut self, progress: &Progress) -> Control;
    /// Something that the user should know: a damaged state that was passed over.
    fn warn(&mut self, message: &str);
}

/// What a stage used, over all processes that worked on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// By the clock.
    pub seconds: f64,
    /// Through the model.
    pub tokens: u64,
    /// Floating-point operations, by the counts of the specification.
    pub flops: f64,
}

/// How long a stage runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// As many steps as have so many floating-point operations, `most` of them at most. A step is begun only where it fits if it takes what
    /// the steps before it took on average; the first always is.
    Operations {
        /// Floating-point operations.
        budget: f64,
        /// Steps at most.
        most: u64,
    },
}

impl Length {
    /// Whether the stage is over after `done` steps that used `usage`.
    fn is_over(self, done: u64, usage: &Usage) -> bool {
        match self {
            Length::Steps(steps) => done >= steps,
            Length::Operations { budget, most } => {
                done >= most || done > 0 && usage.flops + usage.flops / done as f64 > budget
            }
        }
    }

    /// Whether at least half of it is done.
    fn is_half_done(self, done: u64, usage: &Usage) -> bool {
        match self {
            Length::Steps(steps) => done >= steps / 2,
            Length::Operations { budget, most } => done >= most / 2 || usage.flops >= budget / 2.0,
        }
    }

    /// Steps in all, as far as they can be known after `done` of them.
    fn steps(self, done: u64, usage: &Usage) -> u64 {
        match self {
            Length::Steps(steps) => steps,
            Length::Operations { .. } if self.is_over(done, usage) => done,
            Length::Operations { budget, most } => {
                ((done as f64 * budget / usage.flops.max(1.0)) as u64).clamp(done + 1, most)
            }
        }
    }
}

/// Why a stage ended early.
#[derive(Debug, thiserror::Error)]
pub enum SessionError<E: std::error::Error + 'static> {
    /// The user asked for it; the state is saved.
    #[error("stopped in {stage} after step {step}; the state is saved")]
    Interrupted {
        /// The stage.
        stage: String,
        /// Steps done.
        step: u64,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step failed.
    #[error("stage {stage}: {source}")]
    Step {
        /// The stage.
        stage: String,
        /// Why.
        source: E,
    },
}

/// What a stage does. A closure of the learner and the number of the step is one that has nothing to remember.
pub trait Steps {
    /// Why a step fails.
    type Error: std::error::Error + 'static;

    /// Does a step, counted from 0.
    ///
    /// # Errors
    /// The stage's own.
    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, Self::Error>;

    /// What the stage has to be given back, beside the learner, to go on after a stop. Asked for at saved states alone.
    fn save(&self) -> Saved<'_> {
        Saved::default()
    }

    /// Takes back what [`Steps::save`] gave in another process; the learner has its own already.
    ///
    /// # Errors
    /// If it is not what the stage saves.
    fn restore(&mut self, _learner: &Learner, _saved: Saved<'static>) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl<F, E> Steps for F
where
    F: FnMut(&mut Learner, u64) -> Result<StepRow, E>,
    E: std::error::Error + 'static,
{
    type Error = E;

    fn step(&mut self, learner: &mut Learner, step: u64) -> Result<StepRow, E> {
        self(learner, step)
    }
}

/// What is saved beside the learner.
#[derive(Clone, Debug, Default)]
pub struct Saved<'a> {
    /// Where reading the data stands.
    pub cursor: Value,
    /// Other weights: a reference policy.
    pub buffers: BTreeMap<String, Cow<'a, [f32]>>,
}

/// Time between saved states, at least.
const SAVE_EVERY: Duration = Duration::from_secs(20);

/// So many times as long as a save takes, the next one waits: the state of a large model would otherwise take more time than its steps.
const SAVES_APART: u32 = 20;

/// Name of the routers' correction biases in a state.
const BIASES: &str = "biases";

/// Runs `stage` for `length`, from the newest saved state if there is one. The step in the middle, when buffers are warm and batches full,
/// is recorded op by op.
///
/// # Errors
/// If a step fails, the disk refuses, or the observer stops the stage.
pub fn run<S: Steps>(
    stage: &StageDir,
    learner: &mut Learner,
    steps: &mut S,
    length: Length,
    observer: &mut dyn Observer,
) -> Result<Usage, SessionError<S::Error>> {
    let failed = |source| SessionError::Step { stage: stage.name().to_string(), source };
    let states = stage.state()?;
    let mut usage = Usage::default();
    let mut done = 0;
    if let Some(loaded) = states.load()? {
        loaded.damaged.iter().for_each(|error| observer.warn(&error.to_string()));
        done = loaded.state.step;
        let (before, saved) = restore(learner, loaded.state);
        usage = before;
        steps.restore(learner, saved).map_err(failed)?;
    }
    let mut metrics = StepLog::open(&stage.path().join("metrics.jsonl"), done)?;
    let mut timing = StepLog::open(&stage.path().join("timing.jsonl"), done)?;
    let (before, start, mut saved) = (usage, Instant::now(), Instant::now());
    let mut pause = SAVE_EVERY;
    let mut profiled = stage.path().join(PROFILE).exists();
    while !length.is_over(done, &usage) {
        let began = Instant::now();
        let row = if !profiled && length.is_half_done(done, &usage) {
            profiled = true;
            recorded(stage, done, || steps.step(learner, done))?
        } else {
            steps.step(learner, done)
        }
        .map_err(failed)?;
        let seconds = began.elapsed().as_secs_f64();
        usage.tokens += row.tokens;
        usage.flops += row.flops;
        usage.seconds = before.seconds + start.elapsed().as_secs_f64();
        metrics.append(done, &row.metrics)?;
        timing.append(done, &json!({"seconds": seconds, "tokens_per_s": row.tokens as f64 / seconds}))?;
        done += 1;
        let tokens_here = usage.tokens - before.tokens;
        let seconds_here = start.elapsed().as_secs_f64();
        let progress = Progress {
            stage: stage.name(),
            step: done,
            steps: length.steps(done, &usage),
            tokens: usage.tokens,
            tokens_here,
            seconds_here,
            metrics: &row.metrics,
        };
        let stop = observer.step(&progress) == Control::Stop;
        let over = length.is_over(done, &usage);
        if stop || over || saved.elapsed() > pause {
            let saving = Instant::now();
            metrics.sync()?;
            timing.sync()?;
            save(&states, learner, steps.save(), done, &usage)?;
            pause = SAVE_EVERY.max(SAVES_APART * saving.elapsed());
            saved = Instant::now();
        }
        if stop && !over {
            return Err(SessionError::Interrupted { stage: stage.name().to_string(), step: done });
        }
    }
    Ok(usage)
}

/// Runs a step and writes where its time went. The clocks change none of its bits; the file stands before any state from which the step
/// is over, so a run that goes on has it too.
fn recorded<R>(stage: &StageDir, step: u64, run: impl FnOnce() -> R) -> Result<R, StoreError> {
    let start = Instant::now();
    let (result, events) = record(run);
    let seconds = start.elapsed().as_secs_f64();
    let file = json!({"step": step, "seconds": seconds, "ops": profile::table(&events, seconds)});
    write_atomic(&stage.path().join(PROFILE), file.to_string().as_bytes())?;
    Ok(result)
}

fn save(
    states: &reseek_store::StateDir,
    learner: &Learner,
    saved: Saved,
    step: u64,
    usage: &Usage,
) -> Result<(), StoreError> {
    let Saved { cursor, mut buffers } = saved;
    buffers.insert(BIASES.to_string(), Cow::Borrowed(&learner.weights.buffers));
    let (m, v) = match &learner.optimizer.moments {
        Moments::F32 { m, v } => (Moment::F32(m.into()), Moment::F32(v.into())),
        Moments::Bf16 { m, v } => (Moment::Bf16(m.into()), Moment::Bf16(v.into())),
    };
    states.save(&TrainState {
        step,
        weights: Cow::Borrowed(&learner.weights.data),
        m,
        v,
        buffers,
        cursor,
        counters: BTreeMap::from([("optimizer".to_string(), learner.optimizer.step)]),
        extra: json!({"seconds": usage.seconds, "tokens": usage.tokens, "flops": usage.flops}),
    })
}

/// Gives the learner its state back; what was used until then, and what is the stage's.
fn restore(learner: &mut Learner, state: TrainState<'static>) -> (Usage, Saved<'static>) {
    learner.weights.data = state.weights.into_owned();
    let step = state.counters.get("optimizer").copied().unwrap_or(state.step);
    let moments = match &learner.optimizer.moments {
        Moments::F32 { .. } => Moments::F32 { m: to_f32(state.m), v: to_f32(state.v) },
        Moments::Bf16 { .. } => Moments::Bf16 { m: to_bf16(state.m), v: to_bf16(state.v) },
    };
    learner.optimizer = Optimizer { moments, step };
    let mut buffers = state.buffers;
    if let Some(biases) = buffers.remove(BIASES) {
        learner.weights.buffers = biases.into_owned();
    }
    learner.model.repack(&learner.weights);
    let number = |key: &str| state.extra.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let usage = Usage { seconds: number("seconds"), tokens: number("tokens") as u64, flops: number("flops") };
    (usage, Saved { cursor: state.cursor, buffers })
}

/// A saved moment for a learner that keeps f32: one in bf16 is exact in it.
fn to_f32(moment: Moment<'static>) -> Vec<f32> {
    match moment {
        Moment::F32(values) => values.into_owned(),
        Moment::Bf16(values) => values.iter().map(|x| x.to_f32()).collect(),
    }
}

/// A saved moment for a learner that keeps bf16: one in f32, of a state from before the setting, is rounded.
fn to_bf16(moment: Moment<'static>) -> Vec<bf16> {
    match moment {
        Moment::F32(values) => values.iter().map(|&x| bf16::from_f32(x)).collect(),
        Moment::Bf16(values) => values.into_owned(),
    }
}
