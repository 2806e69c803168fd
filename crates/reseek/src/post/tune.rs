//! `reseek sft`: fine-tuning a model of anyone's on conversations. The loss is on the assistant's turns alone, the token that ends each among
//! them; examples do not see each other, and a batch's loss is the mean over all of its tokens.

use std::path::Path;
use std::sync::Arc;

use reseek_data::{Trace, Traces, parse_traces};
use reseek_engine::logprobs;
use reseek_eval::{Interval, mean_of};
use reseek_model::{Model, Rows};
use reseek_spec::{Layer, ResolvedSft, SftRunRecipe, resolve_sft, thousands};
use reseek_store::sha256_file;
use reseek_tasks::{Split, question_key};
use reseek_text::{ChatTemplate, GenerationPrompt, Message, Tokenizer, encode_turn};
use reseek_train::{Example, Learner, Length, run, sft_batch, sft_settings, sft_steps};
use serde_json::{Value, json};

use super::folder::{MODEL, begin, check_memory, compute, finish, finished, moments, publish};
use super::measure::hash_of;
use crate::chain::ended;
use crate::chain::text::sft_row;
use crate::cli_eval::SftArgs;
use crate::commands::refuse_inside;
use crate::error::{Outcome, fail};
use crate::opened::{Opened, render};
use crate::ui::Ui;

/// The folder of the steps, in the run's.
const STEPS: &str = "sft";
/// The losses of examples that were not learnt from, in the folder of the steps.
const HELDOUT: &str = "heldout.json";
/// Raised when the same inputs would give another model than before.
const VERSION: u64 = 1;

/// Trains.
pub fn sft(args: &SftArgs) -> Outcome<()> {
    let ResolvedSft { recipe, toml } = recipe_of(args)?;
    if args.show_recipe {
        crate::out::write(format_args!("{toml}"));
        return Ok(());
    }
    let (Some(name), Some(data), Some(out)) = (&args.model, &args.data, &args.out) else {
        return fail(
            "Name what to train with --model, what it learns from with --data, and the folder of the run with --out.",
        );
    };
    let opened = Opened::new(name)?;
    refuse_inside(&opened.path, out)?;
    check_memory(&opened, compute(recipe.compute), moments(recipe.moments), recipe.lanes, false)?;
    let traces = read(data, args.skip_bad)?;
    let lessons = Lessons::of(&traces, &opened, &recipe)?;
    let seed = args.seed.unwrap_or(1);
    let mut made_from = json!({
        "model": hash_of(&opened.path)?, "data": sha256_file(data)?.sha256, "recipe": toml, "version": VERSION, "skip_bad": args.skip_bad,
    });
    let folder = begin(out, &made_from, seed, &toml)?;
    made_from["seed"] = seed.into();
    let mut ui = Ui::new(args.quiet);
    told(data, &traces, &lessons, &recipe).iter().for_each(|line| ui.line(line));

    let stage = folder.stage(STEPS)?;
    let report = stage.path().join(HELDOUT);
    if finished(out, &made_from)?.is_none() {
        stage.begin(made_from.clone())?;
        let weights = opened.weights()?.computing_in(compute(recipe.compute));
        let before = losses(&Model::new(&weights), &lessons.heldout);
        let steps = sft_steps(lessons.train.len(), &recipe.sft);
        let spec = weights.spec.clone();
        let mut learner = Learner::with_moments(weights, moments(recipe.moments));
        let mut step = |learner: &mut Learner, step: u64| {
            let batch = sft_batch(&lessons.train, &recipe.sft, seed, "sft/order", step);
            let settings = sft_settings(&recipe.sft, step, steps, recipe.lanes);
            learner.step(&batch, &settings).map(|report| sft_row(&report, &settings, &spec))
        };
        let usage = run(&stage, &mut learner, &mut step, Length::Steps(steps), &mut ui).map_err(ended)?;
        let after = losses(&learner.model, &lessons.heldout);
        stage.write(HELDOUT, serde_json::to_vec_pretty(&json!({"before": before, "after": after}))?.as_slice())?;
        finish(&stage, made_from.clone(), &["metrics.jsonl", HELDOUT], usage)?;
        publish(out, &opened, name, &learner.weights, &made_from)?;
        ui.line(&crate::chain::done_line(STEPS, usage));
    }
    stage.state()?.clear()?;
    show(out, &serde_json::from_slice(&std::fs::read(report)?)?, args.json)
}

fn recipe_of(args: &SftArgs) -> Outcome<ResolvedSft> {
    let mut layers = Vec::new();
    for path in &args.recipe {
        match std::fs::read_to_string(path) {
            Ok(text) => layers.push(Layer { name: path.display().to_string(), text }),
            Err(error) => return fail(format!("cannot read {}: {error}. Name a TOML file.", path.display())),
        }
    }
    Ok(resolve_sft(&layers, &args.set)?)
}

fn read(data: &Path, skip_bad: bool) -> Outcome<Traces> {
    match std::fs::read(data) {
        Ok(bytes) => Ok(parse_traces(&bytes, &data.display().to_string(), skip_bad)?),
        Err(error) => fail(format!("cannot read {}: {error}. Name a file of JSON lines.", data.display())),
    }
}

/// Examples on both sides.
struct Lessons {
    train: Vec<Example>,
    heldout: Vec<Example>,
    too_long: usize,
}

impl Lessons {
    fn of(traces: &Traces, opened: &Opened, recipe: &SftRunRecipe) -> Outcome<Self> {
        let tokenizer = Arc::new(opened.needed_tokenizer()?);
        let Some(template) = opened.template()? else {
            return fail(format!(
                "{} has no chat template, and conversations are learnt in one. Put chat_template.jinja into its folder.",
                opened.path.display()
            ));
        };
        let end = end_of_turn(opened, &template, &tokenizer)?;
        let most = recipe.example_tokens.min(opened.source.spec().max_position_embeddings);
        let mut lessons = Self { train: Vec::new(), heldout: Vec::new(), too_long: 0 };
        for trace in &traces.traces {
            // One question is on one side, whatever is answered to it.
            let asked = trace.turns.iter().find(|turn| turn.role == "user").map_or("", |turn| turn.content.as_str());
            let is_heldout = Split::of("traces", &question_key(asked)) == Split::Test
                && lessons.heldout.len() < recipe.heldout_examples;
            for example in examples(trace, &template, &tokenizer, end)? {
                match (example.prompt.len() + example.answer.len() > most, is_heldout) {
                    (true, _) => lessons.too_long += 1,
                    (false, true) => lessons.heldout.push(example),
                    (false, false) => lessons.train.push(example),
                }
            }
        }
        match lessons.train.is_empty() {
            true => fail(format!(
                "no example has at most {most} tokens: {} are longer. Raise example_tokens as far as the model's context of {} goes.",
                lessons.too_long,
                opened.source.spec().max_position_embeddings
            )),
            false => Ok(lessons),
        }
    }
}

/// The token that ends an answer: what the template puts behind one, of those at which sampling ends.
fn end_of_turn(opened: &Opened, template: &ChatTemplate, tokenizer: &Tokenizer) -> Outcome<u32> {
    let stops = opened.stops(Some(tokenizer))?;
    let messages = [Message::user("1"), Message::assistant("1")];
    let turn = render(|| template.encode(tokenizer, &messages, GenerationPrompt::None))?;
    let behind = turn.iter().rev().find(|token| stops.contains(token));
    match behind.or(stops.first()) {
        Some(&end) => Ok(end),
        None => fail(format!(
            "{} names no token that ends an answer, so none could be learnt. Set eos_token_id in its generation_config.json.",
            opened.path.display()
        )),
    }
}

/// What a template may end its prompt with, so that the answer begins inside of it.
const THINK: &str = "<think>";

/// An example for each of the assistant's turns, behind what was said until then as the model will be asked it.
fn examples(trace: &Trace, template: &ChatTemplate, tokenizer: &Tokenizer, end: u32) -> Outcome<Vec<Example>> {
    let messages: Vec<Message> =
        trace.turns.iter().map(|turn| Message { role: turn.role.clone(), content: turn.content.clone() }).collect();
    let turns = messages.iter().enumerate().filter(|(_, message)| message.role == "assistant");
    let example = |(i, message): (usize, &Message)| {
        let before = &messages[..i];
        let (text, prompt) = render(|| {
            let text = template.render(tokenizer, before, GenerationPrompt::Assistant)?;
            Ok::<_, reseek_text::TextError>((text, template.encode(tokenizer, before, GenerationPrompt::Assistant)?))
        })?;
        let mut content = message.content.as_str();
        if text.trim_end().ends_with(THINK) {
            content = content.trim_start().strip_prefix(THINK).map_or(content, str::trim_start);
        }
        let mut answer = encode_turn(tokenizer, content)?;
        answer.push(end);
        Ok(Example { prompt, answer })
    };
    turns.map(example).collect()
}

fn told(data: &Path, traces: &Traces, lessons: &Lessons, recipe: &SftRunRecipe) -> Vec<String> {
    let count = |n: usize| thousands(n as u64);
    let tokens: usize = lessons.train.iter().map(|example| example.answer.len()).sum();
    let mut lines = vec![format!(
        "{}: {} conversations, {} answers to learn ({} tokens), {} held out",
        data.display(),
        count(traces.traces.len()),
        count(lessons.train.len()),
        count(tokens),
        count(lessons.heldout.len())
    )];
    let mut left_out = |n: usize, what: &str| lines.extend((n > 0).then(|| format!("  left out: {} {what}", count(n))));
    left_out(traces.copies, "conversations that say the same as one before");
    left_out(lessons.too_long, &format!("answers of more than {} tokens with their questions", recipe.example_tokens));
    left_out(traces.bad.len(), "lines that cannot be read");
    lines.extend(traces.bad.iter().take(3).map(|(line, reason)| format!("    line {line}: {reason}")));
    lines
}

/// Mean −log p of the tokens of each answer, in nats.
fn losses(model: &Model, examples: &[Example]) -> Vec<f64> {
    let lane = |example: &Example| {
        let (tokens, targets) = example.sequence();
        (Rows::new(&tokens, &[tokens.len()]), targets)
    };
    let of = |(values, example): (Vec<f32>, &Example)| {
        -values.iter().map(|&logp| f64::from(logp)).sum::<f64>() / example.answer.len() as f64
    };
    logprobs(model, examples.iter().map(lane).collect(), 1.0).into_iter().zip(examples).map(of).collect()
}

fn show(out: &Path, heldout: &Value, json: bool) -> Outcome<()> {
    let values =
        |key: &str| heldout[key].as_array().into_iter().flatten().filter_map(Value::as_f64).collect::<Vec<f64>>();
    let (before, after) = (values("before"), values("after"));
    let change = mean_of(&after.iter().zip(&before).map(|(after, before)| after - before).collect::<Vec<_>>());
    let (before, after, model) = (mean_of(&before), mean_of(&after), out.join(MODEL));
    if json {
        crate::say!("{}", json!({"model": model, "before": before, "after": after, "change": change}));
        return Ok(());
    }
    let Interval { mean, low, high } = change;
    crate::say!(
        "held out  {:.3} nats a token before, {:.3} after: {mean:+.3} ({low:+.3} to {high:+.3})",
        before.mean,
        after.mean
    );
    crate::say!("\nmodel: {}", model.display());
    Ok(())
}
