//! The whole chain: each stage reads the folders of those before it and writes its own, and is skipped when its inputs have not
//! changed.

mod admit;
pub mod asker;
mod base;
mod context_fit;
mod distil;
mod eval;
mod extension;
mod kept;
mod preflight;
mod r1;
mod reads;
pub mod rl;
pub mod stages;
pub mod step;
mod summary;
pub mod survey;
pub mod text;

pub use admit::{Admitted, Request, admit};
pub use eval::{Card, no_problems};
pub use kept::data_of;
pub use preflight::Data;
pub use summary::table;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reseek_data::{Corpus, Problems, TokenizedCorpus};
use reseek_model::Weights;
use reseek_spec::stages::{Keys, Stage, TABLE, find};
use reseek_spec::{ModelSpec, RecipeSpec, Resolved, Scale, TasksRecipe};
use reseek_store::{Manifest, REDO, RunDir, StageDir, StageFacts};
use reseek_tasks::{Family, TaskMix};
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_text::Tokenizer;
use reseek_train::{Learner, SessionError, Usage};
use serde_json::{Value, json};

use crate::error::{Failure, Outcome, fail};
use crate::folder;
use crate::opened::Opened;
use crate::style::style_of;
use crate::ui::{Ui, duration};

use survey::Survey;

/// The command that draws the page of a run. It makes no stage: nothing is made from it.
pub const REPORT: &str = "report";

/// The recipe of a run with every key decided, in its folder.
pub const CONFIG: &str = "config.toml";

/// What the extension came to, in that stage's folder.
const EXTENSION: &str = "extension.json";

/// The folder that the run's text comes from, in its folder.
pub const DATA: &str = "data.json";

/// What a stage used: seconds, tokens, operations, memory.
pub const USAGE: &str = "usage.json";

/// A run that is being worked on.
pub struct Chain {
    /// The whole recipe between stages; within one, what that reads.
    pub recipe: RecipeSpec,
    whole: RecipeSpec,
    pub config_hash: String,
    pub seed: u64,
    pub run: RunDir,
    pub corpus: Arc<Corpus>,
    /// The corpus with its tokens, once a stage has needed them.
    passages: OnceCell<Arc<TokenizedCorpus>>,
    pub problems: Arc<Problems>,
    pub ui: Ui,
    /// Another run whose curves the report shows too.
    pub beside: Option<PathBuf>,
    data_hash: String,
    toml: String,
    keys: Keys,
    /// Whether a stage was finished by this process.
    pub has_finished: bool,
}

/// A stage that has work to do.
pub struct Work {
    pub dir: StageDir,
    inputs: Value,
    /// It is made anew beside a finished one, whose place it takes in the end.
    replaces: bool,
}

impl Chain {
    /// Opens or creates the run at `out` on text from `folder`, after everything that could be refused has been looked at.
    pub fn open(
        resolved: Resolved,
        seed: u64,
        out: &Path,
        data: Data,
        folder: Option<&Path>,
        admitted: Admitted,
        ui: Ui,
    ) -> Outcome<Self> {
        let Data { corpus, problems } = data;
        let Admitted { identity, keys, data_hash, .. } = admitted;
        let run = RunDir::create_or_open(out, &identity, seed)?;
        let Resolved { recipe, config_hash, toml } = resolved;
        let chain = Self {
            whole: recipe.clone(),
            recipe,
            config_hash,
            seed,
            run,
            corpus,
            passages: OnceCell::new(),
            problems,
            ui,
            beside: None,
            data_hash,
            toml,
            keys,
            has_finished: false,
        };
        kept::record_data(&chain, folder)?;
        kept::machine(&chain)?;
        Ok(chain)
    }

    /// Writes the recipe down as the run's, from which its stages go on.
    pub fn record_config(&self) -> Outcome<()> {
        // A file that says the same already keeps its time.
        let is_there = std::fs::read(self.path(CONFIG)).is_ok_and(|bytes| bytes == self.toml.as_bytes());
        if is_there { Ok(()) } else { Ok(self.run.write(CONFIG, self.toml.as_bytes())?) }
    }

    /// What there is of each stage, as this chain's recipe sees it.
    pub fn survey(&self) -> Outcome<Survey> {
        Survey::of(self.run.path(), &self.keys, &self.data_hash)
    }

    /// Makes what the command called `name` makes, or finds it done.
    pub fn command(&mut self, name: &str) -> Outcome<()> {
        if name == REPORT {
            return summary::report(self);
        }
        for stage in TABLE.iter().filter(|stage| stage.command == name) {
            stages::doing(stage.name)(self)?;
        }
        Ok(())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.run.path().join(name)
    }

    pub fn tokenizer(&self) -> Outcome<Arc<Tokenizer>> {
        Ok(Arc::new(Tokenizer::from_folder(&self.path("tokenizer"))?))
    }

    /// The format in which this run multiplies.
    pub fn compute(&self) -> Compute {
        compute(&self.recipe)
    }

    /// A learner that starts from `weights` and keeps its moments as the recipe says.
    pub fn learner(&self, weights: Weights) -> Learner {
        Learner::with_moments(weights, moments(&self.recipe))
    }

    /// What a stage's model folder holds, to go on with.
    pub fn load_weights(&self, stage: &str) -> Outcome<Weights> {
        Ok(Opened::new(&self.path(stage))?.weights()?.computing_in(self.compute()))
    }

    /// Fresh weights of the run's seed.
    pub fn init_weights(&self, spec: ModelSpec) -> Outcome<Weights> {
        Ok(Weights::init(spec, self.seed)?.computing_in(self.compute()))
    }

    pub fn scale(&self) -> Scale {
        self.recipe.scale
    }

    /// A stage made from its keys of the recipe and the outputs of those before it; nothing if it is already done.
    fn begin(&mut self, name: &str) -> Outcome<Option<Work>> {
        let stage = find(name);
        let (outputs, flops) = (self.outputs_of(stage)?, self.costs_of(stage)?);
        let inputs = stages::record(stage, &self.keys, &self.data_hash, &outputs, &flops);
        let home = self.run.stage(name)?;
        if home.is_done(inputs.clone())? {
            // What a kill left after the new one had taken the old one's place.
            if StageFacts::read(&self.path(REDO).join(name))?.finished.is_some() {
                self.run.drop_redo(name)?;
            }
            self.ui.line(&format!("{name:<16} up to date"));
            return Ok(None);
        }
        let replaces = StageFacts::read(home.path())?.finished.is_some();
        let dir = if replaces { self.run.redo(name)? } else { home };
        if replaces && dir.is_done(inputs.clone())? {
            self.record_config()?;
            self.run.replace(name)?;
            self.ui.line(&format!("{name:<16} up to date"));
            return Ok(None);
        }
        if self.ui.stopped() {
            return Err(Failure::Interrupted(format!("stopped before {name}")));
        }
        dir.begin(inputs.clone())?;
        self.ui.begins(name);
        self.recipe = reads::visible(&self.whole, stage)?;
        Ok(Some(Work { dir, inputs, replaces }))
    }

    /// Hashes of what `stage` reads.
    fn outputs_of(&self, stage: &Stage) -> Outcome<Keys> {
        let hash = |input: &&str| match StageFacts::read(&self.path(input)) {
            Ok(StageFacts { finished: Some((_, hash)), .. }) => Ok((input.to_string(), hash)),
            Ok(_) => fail(format!(
                "{} needs {input}, and {} was never finished. Run `reseek {} --out {}` first.",
                stage.name,
                self.path(input).display(),
                find(input).command,
                self.run.path().display()
            )),
            Err(error) => fail(format!("{} needs {input}: {error}", stage.name)),
        };
        stage.after.iter().map(hash).collect()
    }

    /// Operations of the stages that `stage` counts.
    fn costs_of(&self, stage: &Stage) -> Outcome<Keys> {
        stage.costs.iter().map(|name| Ok((name.to_string(), summary::flops_of(self, name)?.to_string()))).collect()
    }

    /// Records what came out of a stage and what it used.
    fn finish(&mut self, work: Work, outputs: &[&str], usage: Usage) -> Outcome<()> {
        let name = work.dir.name().to_string();
        let used = json!({
            "seconds": usage.seconds, "tokens": usage.tokens, "flops": usage.flops,
            "peak_memory_bytes": reseek_store::peak_memory_bytes(),
        });
        // Its numbers decide how long the student trains by RL alone, so a flipped byte must show: a manifest hashes itself.
        Manifest { files: BTreeMap::new(), meta: used }.write(&work.dir.path().join(USAGE))?;
        // The recipe first: it is the run's from here on, and after a kill what is found finished beside an old stage takes its place.
        self.record_config()?;
        work.dir.mark_done(work.inputs, outputs)?;
        work.dir.state()?.clear()?;
        self.recipe = self.whole.clone();
        if work.replaces {
            self.run.replace(&name)?;
        }
        self.has_finished = true;
        self.ui.line(&done_line(&name, usage));
        Ok(())
    }

    /// Writes a model as the output of a stage.
    fn finish_model(&mut self, work: Work, weights: &Weights, usage: Usage) -> Outcome<()> {
        let tokenizer = self.tokenizer()?;
        let corpus = &self.corpus;
        // What `chat` tells of the model; the same in every run of this configuration and seed.
        let meta = json!({
            "stage": work.dir.name(), "seed": self.seed, "scale": self.scale().name(), "documents": corpus.documents.len(),
            "text_bytes": corpus.bytes(), "own_problems": corpus.problems.len(), "families": families(&self.recipe.tasks)?,
        });
        folder::save(work.dir.path(), weights, &tokenizer, style_of(work.dir.name()), meta)?;
        // The page draws from these: they follow from configuration and seed, so a flipped byte in them can be found too.
        let drawn = ["metrics.jsonl", EXTENSION].into_iter().filter(|name| work.dir.path().join(name).exists());
        let outputs: Vec<&str> = std::iter::once(".").chain(drawn).collect();
        self.finish(work, &outputs, usage)
    }
}

/// The line of a finished stage. Not every stage sees tokens, and not of all are the operations counted.
pub fn done_line(name: &str, usage: Usage) -> String {
    let mut line = format!("{name:<16} {:>10}", duration(usage.seconds));
    let a_second = |amount: f64| amount / usage.seconds.max(1e-9);
    if usage.tokens > 0 {
        line += &format!("  {:>9} tokens  {:>7.0} tokens/s", usage.tokens, a_second(usage.tokens as f64));
    }
    if usage.flops > 0.0 {
        line += &format!("  {:>6.1} GFLOP/s", a_second(usage.flops) / 1e9);
    }
    line
}

/// The format in which a recipe multiplies.
pub fn compute(recipe: &RecipeSpec) -> Compute {
    crate::post::folder::compute(recipe.compute)
}

/// The format of a recipe's moments.
fn moments(recipe: &RecipeSpec) -> Dtype {
    crate::post::folder::moments(recipe.moments)
}

/// The generated problems that the recipe asks for.
///
/// # Errors
/// A family that there is not; weights of other levels than there are.
pub fn task_mix(recipe: &TasksRecipe) -> Outcome<TaskMix> {
    let &[first, second, third] = recipe.levels.as_slice() else {
        return fail(format!("tasks.levels = {:?} are not three weights. Problems have levels 1 to 3.", recipe.levels));
    };
    let levels = [first, second, third];
    Ok(TaskMix { families: families(recipe)?, levels, chinese_share: recipe.chinese_share })
}

fn families(recipe: &TasksRecipe) -> Outcome<Vec<Family>> {
    Ok(match recipe.families.as_slice() {
        [] => Family::ALL.to_vec(),
        names => names.iter().map(|name| name.parse::<Family>()).collect::<Result<_, _>>()?,
    })
}

/// A stage that ended early, as the failure of its command.
pub fn ended<E: std::error::Error + 'static>(error: SessionError<E>) -> Failure {
    match error {
        SessionError::Interrupted { .. } => Failure::Interrupted(error.to_string()),
        other => Failure::Error(other.to_string()),
    }
}
