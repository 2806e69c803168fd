//! `reseek eval MODEL --task NAME`: any model on any task, with intervals.

use std::path::{Path, PathBuf};

use reseek_engine::Sampling;
use reseek_eval::{EvalSettings, Sampled, sample};
use reseek_spec::{AskRecipe, TaskSpec, thousands};
use reseek_store::{RunDir, chain_hash, sha256_file, sha256_hex};
use reseek_tasks::{EXTRACTIONS, Extraction, Problem, Split, extraction, parse_problems_in};
use serde_json::json;

use super::Asking;
use super::samples::{Drawing, draw};
use super::score::Score;
use crate::cli_eval::EvalArgs;
use crate::error::{Outcome, fail};
use crate::opened::{Loaded, Opened};
use crate::ui::Ui;

/// Measures every model on every task.
pub fn measure(args: &EvalArgs) -> Outcome<()> {
    let names = args.task.iter().map(|name| task(name, args)).collect::<Outcome<Vec<_>>>()?;
    let mut tasks = Vec::new();
    for task in names {
        let problems = problems(&task, args)?;
        tasks.push((task, problems));
    }
    let models = args.models.iter().map(|name| Subject::open(name)).collect::<Outcome<Vec<_>>>()?;
    for (task, _) in &tasks {
        for subject in &models {
            let tokenizer = subject.opened.needed_tokenizer()?;
            Asking::new(&task.ask, &subject.opened, tokenizer.into())?;
        }
    }
    let out = args.run.out.clone().unwrap_or_else(|| PathBuf::from("runs/eval"));
    let folder = RunDir::create_or_open(&out, &chain_hash(&["measurements"]), 0)?;
    let mut ui = Ui::new(args.run.quiet);
    for (task, problems) in &tasks {
        ui.line(&about(task, problems));
        let mut first: Vec<Score> = Vec::new();
        for subject in &models {
            let (samples, place) = subject.on(task, problems, args, &folder, &mut ui)?;
            let scores = look_for(task, args)?
                .into_iter()
                .map(|extraction| Score::of(&task.name, &prompt_hash(task), problems, &samples, extraction));
            let scores: Vec<Score> = scores.collect();
            for (i, score) in scores.iter().enumerate() {
                score.keep(&folder, &place, problems)?;
                score.show(&subject.name, first.get(i), args.run.config.json)?;
            }
            ui.line(&format!("{:<24} {}", "", folder.path().join(&place).display()));
            if first.is_empty() {
                first = scores;
            }
        }
        if !args.run.config.json {
            for other in &task.published {
                crate::say!(
                    "{:<24} pass@1 {:.3} published: {} ({})",
                    other.model,
                    other.score,
                    other.how,
                    other.source
                );
            }
        }
    }
    Ok(())
}

/// The task that `--task` names, with the command's settings.
pub fn task(name: &str, args: &EvalArgs) -> Outcome<TaskSpec> {
    let mut task = match name.ends_with(".toml") {
        false => TaskSpec::named(name)?,
        true => match std::fs::read_to_string(name) {
            Ok(text) => TaskSpec::parse(&text, name)?,
            Err(error) => return fail(format!("cannot read the task {name}: {error}. Name a TOML file.")),
        },
    };
    task.k = args.k.unwrap_or(task.k);
    task.temperature = args.temperature.map_or(task.temperature, f64::from);
    task.top_p = args.top_p.map_or(task.top_p, f64::from);
    task.max_new_tokens = args.max_new_tokens.unwrap_or(task.max_new_tokens);
    look_for(&task, args)?;
    if task.temperature == 0.0 && task.k > 1 {
        return fail(format!(
            "{name}: {} samples of a problem at temperature 0 are all alike. Set --k 1, or a temperature such as --temperature 0.6.",
            task.k
        ));
    }
    Ok(task)
}

/// Where the answers of a task are looked for: as the command says, else as the task does.
fn look_for(task: &TaskSpec, args: &EvalArgs) -> Outcome<Vec<&'static Extraction>> {
    let names = if args.extract.is_empty() { std::slice::from_ref(&task.ask.extract) } else { &args.extract };
    names.iter().map(|name| extraction_of(&task.name, name)).collect()
}

/// The extraction called `name`, which `place` asks for.
pub fn extraction_of(place: &str, name: &str) -> Outcome<&'static Extraction> {
    match extraction(name) {
        Some(extraction) => Ok(extraction),
        None => {
            let known: Vec<&str> = EXTRACTIONS.iter().map(|known| known.name).collect();
            fail(format!(
                "{place}: there is no extraction called {name:?}; known are {}. Name one of these.",
                known.join(", ")
            ))
        }
    }
}

/// The problems of a task, from its file.
fn problems(task: &TaskSpec, args: &EvalArgs) -> Outcome<Vec<Problem>> {
    let folder = args.run.data.clone().unwrap_or_else(|| PathBuf::from("data"));
    let path = folder.join(&task.file);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            return fail(format!(
                "{} needs {}, which cannot be read: {error}. Place there {}, or name the folder of data sets with --data.",
                task.name,
                path.display(),
                task.from
            ));
        }
    };
    let mut problems = parse_problems_in(&bytes, &path.display().to_string(), Some(Split::Test))?;
    if task.problems > 0 && problems.len() != task.problems {
        return fail(format!(
            "{} has {} problems, and {} is measured on {}. Place there {}.",
            path.display(),
            problems.len(),
            task.name,
            task.problems,
            task.from
        ));
    }
    problems.truncate(args.limit.unwrap_or(usize::MAX));
    Ok(problems)
}

fn about(task: &TaskSpec, problems: &[Problem]) -> String {
    let drawn = match task.temperature {
        0.0 => "greedily".to_string(),
        temperature => format!("{} times each at temperature {temperature}", task.k),
    };
    format!(
        "{}: {}\n  {} problems, {drawn}; prompt {}",
        task.name,
        task.about,
        thousands(problems.len() as u64),
        &prompt_hash(task)[..8]
    )
}

/// What pins the prompt: a change of a letter is another one.
pub fn prompt_hash(task: &TaskSpec) -> String {
    let AskRecipe { form, system, question, stop, extract: _, shots } = &task.ask;
    let pinned = json!({"form": form, "system": system, "question": question, "stop": stop, "shots": shots});
    sha256_hex(pinned.to_string().as_bytes())
}

/// A model that is measured.
struct Subject {
    /// As the user named it.
    name: String,
    opened: Opened,
    /// Hash of its files.
    hash: String,
}

impl Subject {
    fn open(name: &Path) -> Outcome<Self> {
        let opened = Opened::new(name)?;
        let hash = hash_of(&opened.path)?;
        Ok(Self { name: name.display().to_string(), opened, hash })
    }

    /// Its samples of a task, from where an earlier call stopped, and the name of their folder. Where answers are looked for is decided
    /// afterwards, so another look costs no sample.
    fn on(
        &self,
        task: &TaskSpec,
        problems: &[Problem],
        args: &EvalArgs,
        folder: &RunDir,
        ui: &mut Ui,
    ) -> Outcome<(Vec<Vec<Sampled>>, String)> {
        let seed = args.run.seed.unwrap_or(1);
        let questions: Vec<&str> = problems.iter().map(|p| p.question.as_str()).collect();
        let inputs = json!({
            "model": self.hash, "task": task.name, "prompt": prompt_hash(task), "questions": chain_hash(&questions), "k": task.k,
            "temperature": task.temperature, "top_p": task.top_p, "max_new_tokens": task.max_new_tokens, "seed": seed,
            "dtype": args.dtype.map(|dtype| dtype.to_string()), "version": VERSION,
        });
        let place = format!("{}-{}", task.name, &chain_hash(&[inputs.to_string()])[..12]);
        let sampling = Sampling {
            temperature: task.temperature as f32,
            top_k: 0,
            top_p: task.top_p as f32,
            stop: Vec::new(),
            max_new_tokens: task.max_new_tokens,
        };
        let settings = EvalSettings { sampling, k: task.k, seed, purpose: format!("eval/{}", task.name), part: 0 };
        let drawing = Drawing { name: &task.name, problems, settings, inputs };
        let asking = Asking::new(&task.ask, &self.opened, self.opened.needed_tokenizer()?.into())?;
        // Loaded once something is left to draw.
        let mut loaded: Option<Loaded> = None;
        let sample = |prompts, settings: &EvalSettings, seen: &(dyn Fn(usize, usize, u32) + Sync)| {
            let loaded = match &mut loaded {
                Some(loaded) => loaded,
                none => none.insert(self.opened.load(args.dtype)?),
            };
            let mut settings = settings.clone();
            settings.sampling.stop.clone_from(&loaded.stops);
            Ok(sample(&loaded.model, prompts, |ids| asking.answer(ids), &settings, Some(seen))?)
        };
        Ok((draw(folder, &place, &drawing, ui, sample, &|question| asking.prompt(question))?, place))
    }
}

/// Raised when the same inputs would give other samples than before.
const VERSION: u64 = 1;

/// The hash of a model's files: of a file, or of the weights, settings and tokenizer of a folder.
pub fn hash_of(path: &Path) -> Outcome<String> {
    if path.is_file() {
        return Ok(sha256_file(path)?.sha256);
    }
    let mut names: Vec<PathBuf> = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    names.retain(|name| {
        let ending = name.extension().and_then(|ending| ending.to_str());
        let is_ours = ["manifest.json", "begun.json", "stage.json", "usage.json", "profile.json"];
        let name_is = name.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        matches!(ending, Some("json" | "safetensors" | "jinja" | "model"))
            && name.is_file()
            && !is_ours.contains(&name_is)
    });
    names.sort();
    let parts = names.iter().map(|name| {
        let file = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(format!("{file} {}", sha256_file(name)?.sha256))
    });
    Ok(chain_hash(&parts.collect::<Outcome<Vec<String>>>()?))
}
