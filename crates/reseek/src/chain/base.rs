//! Raw text to a base model of the full length: tokenizer, pre-training, YaRN.

use std::sync::Arc;
use std::time::Instant;

use reseek_data::{
    Cursor, DataError, Mixture, MixtureSpec, NeedleSpec, PackedBatches, TokenizedCorpus, tokenizer_texts,
};
use reseek_model::Weights;
use reseek_spec::{ModelSpec, PretrainRecipe, RopeScaling};
use reseek_store::DirWriter;
use reseek_tasks::FormMix;
use reseek_text::Tokenizer;
use reseek_train::{
    Extra, Hyper, Length, PretrainSchedule, Sequence, StepReport, StepRow, StepSettings, TrainError, Usage,
    expert_load_max, run,
};
use serde_json::{Map, json};

use super::extension::{Probe, in_words};
use super::{Chain, EXTENSION, Work, ended, room};
use crate::error::Outcome;
use crate::folder::with_vocabulary;

/// What can end a step of training on text.
#[derive(Debug)]
pub enum TextStepError {
    Data(DataError),
    Train(TrainError),
}

impl std::fmt::Display for TextStepError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Train(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TextStepError {}

/// Byte-level BPE on the corpus and the problems.
pub fn tokenizer(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("tokenizer")? else { return Ok(()) };
    let recipe = chain.recipe.tokenizer.clone();
    let start = Instant::now();
    let spec = mixture_spec(&chain.recipe.pretrain, NeedleSpec::default());
    let texts = tokenizer_texts(&chain.corpus, &chain.problems, &spec, recipe.sample_bytes, chain.seed);
    let tokenizer = Tokenizer::train(&texts, recipe.vocab_size, recipe.digit_group)?;
    let mut folder = DirWriter::create(work.dir.path())?;
    folder.write("tokenizer.json", tokenizer.to_json())?;
    // No template: how a model is asked is its own, and lies in its folder.
    folder.write("tokenizer_config.json", &tokenizer.to_config_json(None, chain.recipe.pretrain.seq_len))?;
    folder.finish(json!({"stage": "tokenizer"}))?;
    chain.finish(work, &["."], Usage { seconds: start.elapsed().as_secs_f64(), ..Usage::default() })
}

/// V3's base model.
pub fn pretrain(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("pretrain")? else { return Ok(()) };
    let recipe = chain.recipe.pretrain.clone();
    let tokenizer = chain.tokenizer()?;
    room::check_problems(chain, &tokenizer)?;
    room::check_later_stages(chain, &tokenizer)?;
    let mut spec = with_vocabulary(ModelSpec::ladder(chain.scale(), 0), &tokenizer)?;
    spec.max_position_embeddings = recipe.seq_len;
    let weights = chain.init_weights(spec)?;
    let (weights, usage) = pretrain_model(chain, &work, weights, &recipe)?;
    chain.finish_model(work, &weights, usage)
}

/// Pre-trains `weights` in `work` on the mixture of `recipe`.
pub fn pretrain_model(
    chain: &mut Chain,
    work: &Work,
    weights: Weights,
    recipe: &PretrainRecipe,
) -> Outcome<(Weights, Usage)> {
    let spec = weights.spec.clone();
    let schedule = PretrainSchedule::new(recipe);
    let plan = batch_plan(&schedule, recipe);
    let mixture =
        mixture(chain, mixture_spec(recipe, needles_in(recipe.needle_share, recipe.seq_len)), recipe.seq_len)?;
    let mut learner = chain.learner(weights);
    let mut extra = Extra { cursor: json!(Cursor::default()), ..Extra::default() };
    let mut batches: Option<PackedBatches> = None;
    let flops = train_flops(&spec, recipe.seq_len, recipe.mtp_share);
    let usage = run(
        &work.dir,
        &mut learner,
        &mut extra,
        Length::Steps(plan.len() as u64),
        &mut chain.ui,
        |learner, extra, step| {
            let batches = resume(&mut batches, &mixture, recipe.seq_len, extra).map_err(TextStepError::Data)?;
            let (sequences, tokens_done) = plan[step as usize];
            let batch = next(batches, sequences, extra).map_err(TextStepError::Data)?;
            let done = tokens_done as f64 / recipe.tokens as f64;
            let settings = StepSettings {
                hyper: hyper(recipe, schedule.lr(done)),
                mtp_lambda: schedule.mtp_lambda(done),
                mtp_share: recipe.mtp_share as f32,
                balance_alpha: recipe.balance_alpha as f32,
                bias_speed: schedule.bias_speed(done),
                lanes: recipe.lanes,
            };
            let report = learner.step(&batch, &settings).map_err(TextStepError::Train)?;
            Ok::<_, TextStepError>(row(&report, &settings, step, flops))
        },
    )
    .map_err(ended)?;
    Ok((learner.weights, usage))
}

/// Sequences and tokens done after it, of each step.
fn batch_plan(schedule: &PretrainSchedule, recipe: &PretrainRecipe) -> Vec<(usize, u64)> {
    let mut plan = Vec::new();
    let mut tokens = 0;
    while tokens < recipe.tokens {
        let sequences = schedule.sequences(tokens as f64 / recipe.tokens as f64);
        tokens += (sequences * recipe.seq_len) as u64;
        plan.push((sequences, tokens.min(recipe.tokens)));
    }
    plan
}

/// YaRN in two phases: to half of the new length, then to all of it.
pub fn extend(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("extend")? else { return Ok(()) };
    let recipe = chain.recipe.extend.clone();
    let base = chain.load_weights("pretrain")?;
    let seq_len = base.spec.max_position_embeddings;
    let long = base.spec.extended(recipe.factor);
    let tokenizer = chain.tokenizer()?;
    let plain = ModelSpec { rope_scaling: RopeScaling::None, ..long.clone() };
    let probe = Probe::new(chain, &tokenizer, seq_len, recipe.factor)?;
    let before = probe.ask(&respec(&base, plain)?)?;

    let phases = [recipe.factor / 2, recipe.factor].map(|factor| factor * seq_len);
    let pretrain = chain.recipe.pretrain.clone();
    let mut mixtures = Vec::new();
    for length in phases {
        mixtures.push(mixture(chain, mixture_spec(&pretrain, needles_in(recipe.needle_share, length)), length)?);
    }
    let mut learner = chain.learner(respec(&base, long)?);
    let mut extra = Extra { cursor: json!(Cursor::default()), ..Extra::default() };
    let mut batches: [Option<PackedBatches>; 2] = [None, None];
    let steps = recipe.steps as u64;
    let mut usage =
        run(&work.dir, &mut learner, &mut extra, Length::Steps(2 * steps), &mut chain.ui, |learner, extra, step| {
            let phase = (step / steps) as usize;
            if step == steps {
                extra.cursor = json!(Cursor::default());
            }
            let length = phases[phase];
            let batches = resume(&mut batches[phase], &mixtures[phase], length, extra).map_err(TextStepError::Data)?;
            let sequences = (recipe.batch_tokens / length).max(1);
            let batch = next(batches, sequences, extra).map_err(TextStepError::Data)?;
            let settings = StepSettings {
                hyper: hyper(
                    &pretrain,
                    recipe.lr * ((step % steps + 1) as f64 / recipe.warmup_steps.max(1) as f64).min(1.0),
                ),
                mtp_lambda: pretrain.mtp_lambda_late as f32,
                mtp_share: pretrain.mtp_share as f32,
                balance_alpha: pretrain.balance_alpha as f32,
                bias_speed: 0.0,
                lanes: pretrain.lanes,
            };
            let report = learner.step(&batch, &settings).map_err(TextStepError::Train)?;
            let flops = train_flops(&learner.weights.spec, length, pretrain.mtp_share);
            Ok::<_, TextStepError>(row(&report, &settings, step, flops))
        })
        .map_err(ended)?;
    let after = probe.ask(&learner.weights)?;
    for asked in [before.usage, after.usage] {
        usage.seconds += asked.seconds;
        usage.tokens += asked.tokens;
        usage.flops += asked.flops;
    }
    let found = probe.compare(&before, &after);
    for line in in_words(&found) {
        chain.ui.line(&format!("  {line}"));
    }
    work.dir.write(EXTENSION, &serde_json::to_vec_pretty(&found)?)?;
    chain.finish_model(work, &learner.weights, usage)
}

/// The same values under another specification of the same shapes.
fn respec(weights: &Weights, spec: ModelSpec) -> Outcome<Weights> {
    let mut other = Weights::init(spec, 0)?.computing_in(weights.compute);
    other.data.copy_from_slice(&weights.data);
    other.buffers.copy_from_slice(&weights.buffers);
    Ok(other)
}

/// Needle documents that most often fit whole into a sequence of `seq_len` tokens.
fn needles_in(share: f64, seq_len: usize) -> NeedleSpec {
    NeedleSpec { share, tokens: seq_len * 3 / 4, ..NeedleSpec::default() }
}

fn mixture_spec(recipe: &PretrainRecipe, needles: NeedleSpec) -> MixtureSpec {
    MixtureSpec {
        problem_share: recipe.problem_share * (1.0 - needles.share),
        fim_rate: recipe.fim_rate,
        forms: FormMix {
            conversation_share: recipe.conversation_share,
            mixed_language_share: recipe.mixed_language_share,
            direct_share: recipe.direct_share,
        },
        needles,
    }
}

/// Bytes of text a token, about: passages as long as a sequence need no better.
const BYTES_PER_TOKEN: usize = 4;

/// The mixture for sequences of `seq_len` tokens.
fn mixture(chain: &Chain, spec: MixtureSpec, seq_len: usize) -> Outcome<Mixture> {
    let (documents, tokenizer) = (passages(chain)?, chain.tokenizer()?);
    let mixture = |documents| Mixture::new(documents, chain.problems.clone(), tokenizer, spec, chain.seed);
    if seq_len > chain.recipe.pretrain.seq_len {
        let documents = Arc::new(documents.joined(seq_len * BYTES_PER_TOKEN));
        return Ok(mixture(documents)?.of_stage(&format!("extend/{seq_len}")));
    }
    Ok(mixture(documents)?)
}

/// The corpus in passages of the length of pre-training's sequences, encoded when they are first asked for: it takes longer than many steps.
fn passages(chain: &Chain) -> Outcome<Arc<TokenizedCorpus>> {
    if let Some(passages) = chain.passages.get() {
        return Ok(passages.clone());
    }
    let bytes_max = chain.recipe.pretrain.seq_len * BYTES_PER_TOKEN;
    let encoded = TokenizedCorpus::in_passages(&chain.corpus, bytes_max, &*chain.tokenizer()?)?;
    Ok(chain.passages.get_or_init(|| Arc::new(encoded)).clone())
}

/// The batches, from the saved cursor when this process comes to them first.
fn resume<'a>(
    batches: &'a mut Option<PackedBatches>,
    mixture: &Mixture,
    seq_len: usize,
    extra: &Extra,
) -> Result<&'a mut PackedBatches, DataError> {
    if batches.is_none() {
        let cursor: Cursor = serde_json::from_value(extra.cursor.clone()).unwrap_or_default();
        *batches = Some(PackedBatches::new(mixture.clone(), seq_len, cursor)?);
    }
    Ok(batches.as_mut().expect("just made"))
}

fn next(batches: &mut PackedBatches, sequences: usize, extra: &mut Extra) -> Result<Vec<Sequence>, DataError> {
    let batch = batches.next_batch(sequences)?;
    extra.cursor = json!(batches.cursor());
    let rows = batch.tokens.chunks(batch.seq_len).zip(batch.targets.chunks(batch.seq_len));
    Ok(rows.map(|(tokens, targets)| (tokens.to_vec(), targets.to_vec())).collect())
}

fn hyper(recipe: &PretrainRecipe, lr: f64) -> Hyper {
    Hyper { lr, beta1: recipe.beta1, beta2: recipe.beta2, weight_decay: recipe.weight_decay, clip: recipe.clip }
}

/// Operations of a token's training, the MTP module's share included.
fn train_flops(spec: &ModelSpec, seq_len: usize, mtp_share: f64) -> f64 {
    spec.train_flops_per_token(seq_len).causal + mtp_share * spec.mtp_train_flops_per_token(seq_len)
}

/// Steps between rows that show the load of every expert.
const LOAD_EVERY: u64 = 20;

fn row(report: &StepReport, settings: &StepSettings, step: u64, flops_per_token: f64) -> StepRow {
    let mut metrics = Map::new();
    metrics.insert("tokens".into(), json!(report.rows));
    metrics.insert("lr".into(), json!(settings.hyper.lr));
    metrics.insert("loss".into(), json!(report.loss));
    metrics.insert("loss_main".into(), json!(report.loss_main));
    if settings.mtp_lambda > 0.0 && report.loss_mtp > 0.0 {
        metrics.insert("loss_mtp".into(), json!(report.loss_mtp));
        metrics.insert("mtp_lambda".into(), json!(settings.mtp_lambda));
    }
    metrics.insert("grad_norm".into(), json!(report.grad_norm));
    if let Some(load) = expert_load_max(&report.expert_counts) {
        metrics.insert("loss_balance".into(), json!(report.loss_balance));
        metrics.insert("expert_load_max".into(), json!(load));
        if step.is_multiple_of(LOAD_EVERY) {
            let shares = report.expert_counts.iter().map(|counts| {
                let total = counts.iter().sum::<u32>().max(1) as f64;
                counts.iter().map(|&c| (1e4 * c as f64 / total).round() / 1e4).collect::<Vec<f64>>()
            });
            metrics.insert("expert_load".into(), json!(shares.collect::<Vec<_>>()));
        }
    }
    StepRow { metrics, tokens: report.rows as u64, flops: report.rows as f64 * flops_per_token }
}

/// The row of a fine-tuning step.
pub fn sft_row(report: &StepReport, settings: &StepSettings, spec: &ModelSpec) -> StepRow {
    // Mixtures rest while answers are learnt, and the MTP module does not run.
    let quiet = StepReport { expert_counts: Vec::new(), ..report.clone() };
    row(&quiet, settings, 0, spec.train_flops_per_token(64).causal)
}
