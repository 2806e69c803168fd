//! `reseek rl`: R1-Zero on a model of anyone's, with rewards by rule alone.
//!
//! A run's folder has the recipe (config.toml), what the model answered before and after (before/, after/), the steps (rl/) and the model
//! (model/), which transformers and vLLM load. Stopped anywhere, the same command goes on and ends in the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reseek_data::{Corpus, Problems};
use reseek_engine::Sampling;
use reseek_eval::{EvalSettings, Interval, paired_difference};
use reseek_model::{Model, Weights};
use reseek_spec::{EvalSplit, Layer, RL_RECIPES, ResolvedRl, RlRunRecipe, resolve_rl, thousands};
use reseek_store::RunDir;
use reseek_tasks::{Extraction, Problem, Split, fingerprint};
use reseek_text::Tokenizer;
use reseek_train::{Learner, Length, run};
use serde_json::{Value, json};

use super::Asking;
use super::folder::{MODEL, begin, check_memory, compute, finish, finished, moments, publish};
use super::measure::hash_of;
use super::samples::{Drawing, draw};
use super::score::Score;
use super::seen::{GROUPS, Logged};
use crate::chain::asker::{Asker, Form};
use crate::chain::rl::RlStage;
use crate::chain::{ended, task_mix};
use crate::cli_eval::RlArgs;
use crate::commands::refuse_inside;
use crate::error::{Outcome, fail};
use crate::opened::Opened;
use crate::ui::Ui;

/// The folder of the steps, in the run's.
pub const STEPS: &str = "rl";

/// Trains.
pub fn rl(args: &RlArgs) -> Outcome<()> {
    let resolved = recipe_of(&args.recipe, &args.set)?;
    if args.show_recipe {
        crate::out::write(format_args!("{}", resolved.toml));
        return Ok(());
    }
    let (Some(name), Some(out)) = (&args.model, &args.out) else {
        return fail("Name what to train with --model, and the folder of the run with --out.");
    };
    let recipe = resolved.recipe;
    reseek_rl::check(&recipe.rl).or_else(|error| fail(format!("rl: {error}")))?;
    let opened = Opened::new(name)?;
    let tokenizer = Arc::new(opened.needed_tokenizer()?);
    let form = RealForm::new(&recipe, &opened, tokenizer)?;
    refuse_inside(&opened.path, out)?;
    let has_reference = recipe.rl.kl_beta > 0.0;
    check_memory(&opened, compute(recipe.compute), moments(recipe.moments), recipe.lanes, has_reference)?;
    let given = Given::read(args.data.as_deref(), &recipe)?;
    let heldout = given.heldout(&recipe)?;
    check_lengths(&form, &heldout, &opened, &recipe)?;

    let seed = args.seed.unwrap_or(1);
    let made_from =
        json!({"model": hash_of(&opened.path)?, "data": given.hash, "recipe": resolved.toml, "version": VERSION});
    let folder = begin(out, &made_from, seed, &resolved.toml)?;
    let mut ui = Ui::new(args.quiet);
    given.told(&recipe).iter().for_each(|line| ui.line(line));

    let run =
        Run { out, folder: &folder, recipe: &recipe, form: &form, given: &given, heldout: &heldout, seed, made_from };
    let weights = opened.weights()?.computing_in(compute(recipe.compute));
    let before = run.ask("before", &mut ui, || Ok(Model::new(&weights)))?;
    ui.line(&signal(before.passes(), recipe.rl.group));
    let trained = run.learn(&opened, name, weights, &mut ui)?;
    let after = run.ask("after", &mut ui, || Ok(Model::new(&trained)))?;
    run.show(&before, &after, args.json)
}

/// Raised when the same inputs would give another model than before.
const VERSION: u64 = 1;

/// The recipe that `--recipe` names, with its files and the command's settings laid over it.
pub fn recipe_of(names: &[String], settings: &[String]) -> Outcome<ResolvedRl> {
    let (mut base, mut layers) = (RL_RECIPES[0].0.to_string(), Vec::new());
    for name in names {
        match name.ends_with(".toml") {
            false => base.clone_from(name),
            true => match std::fs::read_to_string(name) {
                Ok(text) => layers.push(Layer { name: name.clone(), text }),
                Err(error) => return fail(format!("cannot read {name}: {error}. Name a TOML file.")),
            },
        }
    }
    let resolved = resolve_rl(&base, &layers, settings)?;
    task_mix(&resolved.recipe.tasks)?;
    Ok(resolved)
}

/// The problems of a run.
pub struct Given {
    problems: Problems,
    /// What they are, as a hash.
    pub hash: String,
    data: Option<PathBuf>,
}

impl Given {
    pub fn read(data: Option<&Path>, recipe: &RlRunRecipe) -> Outcome<Self> {
        let mix = task_mix(&recipe.tasks)?;
        match data {
            None => Ok(Self { hash: fingerprint(&mix), problems: Problems::Generated(mix), data: None }),
            Some(folder) => {
                let corpus = Corpus::from_folder(folder)?;
                if corpus.problems.is_empty() {
                    return fail(format!(
                        "{} has no problems: no .jsonl file with \"question\" and \"answer\". Give some, or leave --data out for generated ones.",
                        folder.display()
                    ));
                }
                let problems = Problems::of(&corpus, mix)?;
                Ok(Self { hash: corpus.sha256(), problems, data: Some(folder.to_path_buf()) })
            }
        }
    }

    /// `n` problems to train on, of the streams that `purpose` names; of a folder's own as many as there are.
    pub fn to_train_on(&self, seed: u64, purpose: &str, n: usize) -> Vec<Problem> {
        let n = match &self.problems {
            Problems::Listed { train, .. } => n.min(train.len()),
            Problems::Generated(_) => n,
        };
        (0..n as u64).map(|i| self.problems.train(seed, purpose, i)).collect()
    }

    fn heldout(&self, recipe: &RlRunRecipe) -> Outcome<Vec<Problem>> {
        let split = match recipe.eval.split {
            EvalSplit::Development => Split::Development,
            EvalSplit::Test => Split::Test,
        };
        let problems = self.problems.heldout(recipe.eval.problems_seed, split, recipe.eval.problems);
        match problems.is_empty() {
            true => fail(crate::chain::no_problems(split)),
            false => Ok(problems),
        }
    }

    /// What is trained on and measured by, in words.
    fn told(&self, recipe: &RlRunRecipe) -> Vec<String> {
        match (&self.problems, &self.data) {
            (Problems::Listed { train, test, development }, Some(data)) => vec![format!(
                "{}: {} problems to train on, {} to choose settings by, {} to test by",
                data.display(),
                thousands(train.len() as u64),
                thousands(development.len() as u64),
                thousands(test.len() as u64)
            )],
            _ => {
                let families = match recipe.tasks.families.is_empty() {
                    true => "all families".to_string(),
                    false => recipe.tasks.families.join(", "),
                };
                vec![format!("generated problems: {families}; those of the test are never trained on")]
            }
        }
    }
}

/// A model of anyone's as a policy.
pub struct RealForm {
    asking: Asking,
    stops: Vec<u32>,
    extraction: &'static Extraction,
}

impl RealForm {
    pub fn new(recipe: &RlRunRecipe, opened: &Opened, tokenizer: Arc<Tokenizer>) -> Outcome<Self> {
        let stops = opened.stops(Some(&tokenizer))?;
        let extraction = super::measure::extraction_of("ask.extract", &recipe.ask.extract)?;
        Ok(Self { asking: Asking::new(&recipe.ask, opened, tokenizer)?, stops, extraction })
    }
}

impl Form for RealForm {
    fn prompt(&self, question: &str) -> Outcome<Vec<u32>> {
        self.asking.prompt(question)
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.asking.answer(tokens)
    }

    fn stops(&self) -> &[u32] {
        &self.stops
    }

    fn extraction(&self) -> &'static Extraction {
        self.extraction
    }
}

/// Answers must fit behind their questions, and must be able to end.
fn check_lengths(form: &RealForm, heldout: &[Problem], opened: &Opened, recipe: &RlRunRecipe) -> Outcome<()> {
    if form.stops.is_empty() {
        return fail(format!(
            "{} names no token that ends an answer, so every answer would be cut off. Set eos_token_id in its generation_config.json.",
            opened.path.display()
        ));
    }
    let context = opened.source.spec().max_position_embeddings;
    let longest =
        heldout.iter().map(|problem| Ok(form.prompt(&problem.question)?.len())).collect::<Outcome<Vec<usize>>>()?;
    let longest = longest.into_iter().max().unwrap_or(0);
    for (key, new) in
        [("rl.max_new_tokens", recipe.rl.max_new_tokens), ("eval.max_new_tokens", recipe.eval.max_new_tokens)]
    {
        if longest + new > context {
            return fail(format!(
                "{key} = {new} behind a question of {longest} tokens is more than the model's context of {context}. Set it to {} or less.",
                context.saturating_sub(longest)
            ));
        }
    }
    Ok(())
}

/// Share of groups below which there is next to nothing to learn from: a base with 1 % of right answers learnt nothing.
const FAINT: f64 = 0.1;

/// How much a group tells: an answer is better or worse than its group's mean only where a group has both right and wrong ones.
fn signal(passes: &[Option<f64>], group: usize) -> String {
    let known: Vec<f64> = passes.iter().copied().flatten().collect();
    let mixed = |p: &f64| 1.0 - p.powi(group as i32) - (1.0 - p).powi(group as i32);
    let share = known.iter().map(mixed).sum::<f64>() / known.len().max(1) as f64;
    let mut text = format!("  about {:.0} % of groups of {group} would have right and wrong answers", 100.0 * share);
    if share < FAINT {
        text += ": next to no signal. Begin with easier problems (tasks.levels), show the form (ask.shots), or fine-tune first";
    }
    text
}

/// A run at work.
struct Run<'a> {
    out: &'a Path,
    folder: &'a RunDir,
    recipe: &'a RlRunRecipe,
    form: &'a RealForm,
    given: &'a Given,
    heldout: &'a [Problem],
    seed: u64,
    /// What the model follows from, beside the seed.
    made_from: Value,
}

impl Run<'_> {
    /// The policy's answers to the held-out problems, and what they come to.
    fn ask(&self, name: &str, ui: &mut Ui, model: impl FnOnce() -> Outcome<Model>) -> Outcome<Score> {
        let eval = &self.recipe.eval;
        let sampling = Sampling {
            temperature: eval.temperature as f32,
            top_k: 0,
            top_p: eval.top_p as f32,
            stop: self.form.stops.clone(),
            max_new_tokens: eval.max_new_tokens,
        };
        // Before and after draw from the same streams: what differs is the policy.
        let settings =
            EvalSettings { sampling, k: eval.k, seed: eval.problems_seed, purpose: "eval".to_string(), part: 0 };
        let mut inputs = self.made_from.clone();
        inputs["asked"] = name.into();
        inputs["seed"] = self.seed.into();
        let drawing = Drawing { name, problems: self.heldout, settings, inputs };
        let mut model = Some(model);
        let mut opened = None;
        let samples = draw(
            self.folder,
            name,
            &drawing,
            ui,
            |prompts, settings, seen| {
                let model = match &mut opened {
                    Some(model) => model,
                    none => none.insert(model.take().expect("opened once")()?),
                };
                let decode = |ids: &[u32]| self.form.text(ids);
                Ok(reseek_eval::sample(model, prompts, decode, settings, Some(seen))?)
            },
            &|question| self.form.prompt(question),
        )?;
        let score = Score::of(name, "", self.heldout, &samples, self.form.extraction);
        score.keep(self.folder, name, self.heldout)?;
        ui.line(&format!("  {}", score.line(name)));
        Ok(score)
    }

    /// The steps, or the model that they led to.
    fn learn(&self, opened: &Opened, name: &Path, weights: Weights, ui: &mut Ui) -> Outcome<Weights> {
        let mut made_from = self.made_from.clone();
        made_from["seed"] = self.seed.into();
        let stage = self.folder.stage(STEPS)?;
        if let Some(trained) = finished(self.out, &made_from)? {
            stage.state()?.clear()?;
            ui.line(&format!("{STEPS:<16} up to date"));
            return Ok(trained.weights()?.computing_in(compute(self.recipe.compute)));
        }
        stage.begin(made_from.clone())?;
        let context = weights.spec.max_position_embeddings;
        let asker = Asker { problems: &self.given.problems, form: self.form, stage: STEPS, seed: self.seed, context };
        let recipe = &self.recipe.rl;
        let mut steps = Logged::new(RlStage::new(asker, recipe, None, self.recipe.lanes), stage.path());
        let mut learner = Learner::with_moments(weights, moments(self.recipe.moments));
        let usage = run(&stage, &mut learner, &mut steps, Length::Steps(recipe.steps as u64), ui).map_err(ended)?;
        let weights = learner.weights;
        // Without a step there are no groups.
        let outputs = ["metrics.jsonl", GROUPS].into_iter().filter(|name| stage.path().join(name).exists());
        finish(&stage, made_from.clone(), &outputs.collect::<Vec<_>>(), usage)?;
        publish(self.out, opened, name, &weights, &made_from)?;
        stage.state()?.clear()?;
        ui.line(&crate::chain::done_line(STEPS, usage));
        Ok(weights)
    }

    fn show(&self, before: &Score, after: &Score, json: bool) -> Outcome<()> {
        let model = self.out.join(MODEL);
        let gain = paired_difference(after.passes(), before.passes());
        if json {
            crate::say!("{}", json!({"model": model, "before": before, "after": after, "gain": gain}));
            return Ok(());
        }
        let Interval { mean, low, high } = gain;
        crate::say!("{}", before.line("before"));
        crate::say!("{}", after.line("after"));
        crate::say!("{:<24} {mean:+.3} ({low:+.3} to {high:+.3}) on the same problems", "gain");
        crate::say!("\nmodel: {}", model.display());
        Ok(())
    }
}
