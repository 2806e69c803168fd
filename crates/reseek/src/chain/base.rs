//! Raw text to a base model of the full length: tokenizer, pre-training, YaRN.

use std::sync::Arc;
use std::time::Instant;

use reseek_data::{Mixture, MixtureSpec, NeedleSpec, TokenizedCorpus, tokenizer_texts};
use reseek_model::Weights;
use reseek_spec::{ModelSpec, PretrainRecipe, RopeScaling};
use reseek_store::DirWriter;
use reseek_tasks::FormMix;
use reseek_text::Tokenizer;
use reseek_train::{PretrainSchedule, StepSettings, Usage};
use serde_json::json;

use super::extension::{Probe, in_words};
use super::text::{Phase, PlannedStep, hyper, train_on_text};
use super::{Chain, EXTENSION, Work, context_fit};
use crate::error::Outcome;
use crate::folder::with_vocabulary;

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
    context_fit::check_problems(chain, &tokenizer)?;
    context_fit::check_later_stages(chain, &tokenizer)?;
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
    let schedule = PretrainSchedule::new(recipe);
    let steps = batch_plan(&schedule, recipe).into_iter().map(|(sequences, tokens_done)| {
        let done = tokens_done as f64 / recipe.tokens as f64;
        let settings = StepSettings {
            hyper: hyper(recipe, schedule.lr(done)),
            mtp_lambda: schedule.mtp_lambda(done),
            mtp_share: recipe.mtp_share as f32,
            balance_alpha: recipe.balance_alpha as f32,
            bias_speed: schedule.bias_speed(done),
            lanes: recipe.lanes,
        };
        PlannedStep { sequences, settings }
    });
    let needles = needles_in(recipe.needle_share, recipe.seq_len);
    let mixture = mixture(chain, mixture_spec(recipe, needles), recipe.seq_len)?;
    let phases = vec![Phase { mixture, seq_len: recipe.seq_len, steps: steps.collect() }];
    train_on_text(chain, work, weights, phases, recipe.mtp_share)
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

    let pretrain = chain.recipe.pretrain.clone();
    let step = |seq_len: usize, i: usize| {
        let warmth = ((i + 1) as f64 / recipe.warmup_steps.max(1) as f64).min(1.0);
        let settings = StepSettings {
            hyper: hyper(&pretrain, recipe.lr * warmth),
            mtp_lambda: pretrain.mtp_lambda_late as f32,
            mtp_share: pretrain.mtp_share as f32,
            balance_alpha: pretrain.balance_alpha as f32,
            bias_speed: 0.0,
            lanes: pretrain.lanes,
        };
        PlannedStep { sequences: (recipe.batch_tokens / seq_len).max(1), settings }
    };
    let mut phases = Vec::new();
    for seq_len in [recipe.factor / 2, recipe.factor].map(|factor| factor * seq_len) {
        let needles = needles_in(recipe.needle_share, seq_len);
        let mixture = mixture(chain, mixture_spec(&pretrain, needles), seq_len)?;
        let steps = (0..recipe.steps).map(|i| step(seq_len, i)).collect();
        phases.push(Phase { mixture, seq_len, steps });
    }
    let (weights, mut usage) = train_on_text(chain, &work, respec(&base, long)?, phases, pretrain.mtp_share)?;
    let after = probe.ask(&weights)?;
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
    chain.finish_model(work, &weights, usage)
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
