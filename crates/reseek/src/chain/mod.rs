//! The whole chain: each stage reads the folders of those before it and writes its own, and is skipped when its inputs have not
//! changed.

mod base;
mod distil;
mod eval;
mod r1;
mod rl;
mod summary;

pub use summary::table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reseek_data::{Corpus, Problems};
use reseek_model::Weights;
use reseek_spec::{ComputeDtype, ModelSpec, RecipeSpec, Resolved, Scale, TasksRecipe};
use reseek_store::{RunDir, StageDir, chain_hash};
use reseek_tasks::{Family, TaskMix};
use reseek_tensor::compute::Compute;
use reseek_text::Tokenizer;
use reseek_train::{SessionError, Usage};
use serde_json::json;

use crate::error::{Failure, Outcome, fail};
use crate::folder;
use crate::ui::{Ui, duration};

/// The stages of a run, in order; each is a command.
pub const STAGES: [&str; 8] = ["tokenizer", "pretrain", "extend", "zero", "r1", "distil", "eval", "report"];

/// A run that is being worked on.
pub struct Chain {
    pub recipe: RecipeSpec,
    pub config_hash: String,
    pub seed: u64,
    pub run: RunDir,
    pub corpus: Arc<Corpus>,
    pub problems: Arc<Problems>,
    pub ui: Ui,
    data_hash: String,
}

/// A stage that has work to do.
pub struct Work {
    pub dir: StageDir,
    inputs: String,
}

impl Chain {
    /// Opens or creates the run at `out`.
    pub fn open(resolved: Resolved, seed: u64, out: &Path, data: Option<&Path>, ui: Ui) -> Outcome<Self> {
        let corpus = Arc::new(match data {
            Some(folder) => Corpus::from_folder(folder)?,
            None => Corpus::embedded(),
        });
        let problems = Arc::new(Problems::of(&corpus, task_mix(&resolved.recipe.tasks)?)?);
        let data_hash = corpus.sha256();
        let identity = chain_hash(&[resolved.recipe.scale.name(), &data_hash]);
        let run = RunDir::create_or_open(out, &identity, seed)?;
        run.write("config.toml", resolved.toml.as_bytes())?;
        let Resolved { recipe, config_hash, .. } = resolved;
        Ok(Self { recipe, config_hash, seed, run, corpus, problems, ui, data_hash })
    }

    /// Runs one stage, or finds it done.
    pub fn stage(&mut self, name: &str) -> Outcome<()> {
        match name {
            "tokenizer" => base::tokenizer(self),
            "pretrain" => base::pretrain(self),
            "extend" => base::extend(self),
            "zero" => rl::zero(self),
            "r1" => r1::r1(self),
            "distil" => distil::distil(self),
            "eval" => eval::eval(self),
            "report" => summary::report(self),
            other => fail(format!("no stage is called {other}; hint: there are {}", STAGES.join(", "))),
        }
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

    /// What a stage's model folder holds, to go on with.
    pub fn load_weights(&self, stage: &str) -> Outcome<Weights> {
        Ok(folder::load_weights(&self.path(stage))?.computing_in(self.compute()))
    }

    /// Fresh weights of the run's seed.
    pub fn init_weights(&self, spec: ModelSpec) -> Outcome<Weights> {
        Ok(Weights::init(spec, self.seed)?.computing_in(self.compute()))
    }

    pub fn scale(&self) -> Scale {
        self.recipe.scale
    }

    /// A stage made from its section of the recipe and the outputs of `after`; nothing if it is already done.
    fn begin(&mut self, name: &str, section: &impl serde::Serialize, after: &[&str]) -> Outcome<Option<Work>> {
        let tasks = serde_json::to_string(&self.recipe.tasks)?;
        let compute = self.compute().to_string();
        let mut parts = vec![name.to_string(), serde_json::to_string(section)?, self.data_hash.clone(), tasks, compute];
        for stage in after {
            let dir = self.run.stage(stage)?;
            let hash = dir.outputs_hash().map_err(|error| {
                Failure::Error(format!("{name} needs {stage}: {error}; hint: run `reseek {}` first", command_of(stage)))
            })?;
            parts.push(hash);
        }
        let inputs = chain_hash(&parts);
        let dir = self.run.stage(name)?;
        if dir.is_done(&inputs)? {
            self.ui.line(&format!("{name:<16} up to date"));
            return Ok(None);
        }
        if self.ui.stopped() {
            return Err(Failure::Interrupted(format!("before {name}")));
        }
        dir.begin(&inputs)?;
        Ok(Some(Work { dir, inputs }))
    }

    /// Records what came out of a stage and what it used.
    fn finish(&mut self, work: Work, outputs: &[&str], usage: Usage) -> Outcome<()> {
        let name = work.dir.name().to_string();
        let used = json!({
            "seconds": usage.seconds, "tokens": usage.tokens, "flops": usage.flops,
            "peak_memory_bytes": reseek_store::peak_memory_bytes(),
        });
        self.run.write(&format!("{name}/usage.json"), used.to_string().as_bytes())?;
        work.dir.mark_done(&work.inputs, outputs)?;
        work.dir.state()?.clear()?;
        let rate = usage.tokens as f64 / usage.seconds.max(1e-9);
        self.ui.line(&format!(
            "{name:<16} {:>10}  {:>9} tokens  {rate:>7.0} tokens/s  {:>6.1} GFLOP/s",
            duration(usage.seconds),
            usage.tokens,
            usage.flops / usage.seconds.max(1e-9) / 1e9,
        ));
        Ok(())
    }

    /// Writes a model as the output of a stage.
    fn finish_model(&mut self, work: Work, weights: &Weights, style: folder::Style, usage: Usage) -> Outcome<()> {
        let tokenizer = self.tokenizer()?;
        let meta = json!({"stage": work.dir.name(), "seed": self.seed});
        folder::save(work.dir.path(), weights, &tokenizer, style, meta)?;
        self.finish(work, &["."], usage)
    }
}

/// The format in which a recipe multiplies.
pub fn compute(recipe: &RecipeSpec) -> Compute {
    match recipe.compute {
        ComputeDtype::F32 => Compute::F32,
        ComputeDtype::Bf16 => Compute::Bf16,
        ComputeDtype::Fp8 => Compute::Fp8,
    }
}

/// The generated problems that the recipe asks for.
fn task_mix(recipe: &TasksRecipe) -> Outcome<TaskMix> {
    let families = match recipe.families.as_slice() {
        [] => Family::ALL.to_vec(),
        names => names.iter().map(|name| name.parse::<Family>()).collect::<Result<_, _>>()?,
    };
    let levels = [recipe.levels[0], recipe.levels[1], recipe.levels[2]];
    Ok(TaskMix { families, levels, chinese_share: recipe.chinese_share })
}

/// The command that makes a stage, sub-stages included.
fn command_of(stage: &str) -> &str {
    match stage {
        "student_base" | "student" | "student_rl" => "distil",
        other if other.starts_with("r1") => "r1",
        other => other,
    }
}

/// A stage that ended early, as the failure of its command.
fn ended<E: std::error::Error + 'static>(error: SessionError<E>) -> Failure {
    match error {
        SessionError::Interrupted { .. } => Failure::Interrupted(error.to_string()),
        other => Failure::Error(other.to_string()),
    }
}
