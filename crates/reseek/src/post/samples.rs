//! Samples of problems, drawn in pieces of which each is kept when it is done: a measurement that was stopped goes on and ends in the same
//! bytes. Where answers are looked for is decided afterwards, so another look costs no sample.

use std::path::Path;

use reseek_eval::{EvalSettings, Sampled};
use reseek_store::{DirWriter, RunDir};
use reseek_tasks::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Failure, Outcome};
use crate::ui::Ui;

/// Samples that are drawn before they are kept: a minute's work of a small model, and enough to fill the processor.
const PIECE_SAMPLES: usize = 256;

/// What is drawn.
pub struct Drawing<'a> {
    /// What it is called while it goes on.
    pub name: &'a str,
    pub problems: &'a [Problem],
    /// Of the whole; each piece is a part of its own.
    pub settings: EvalSettings,
    /// All that the samples follow from.
    pub inputs: Value,
}

/// The samples of each problem, from where an earlier call stopped, in the folder `place` of `run`. `sample` draws those of some prompts,
/// and is not called where all are there.
pub fn draw(
    run: &RunDir,
    place: &str,
    drawing: &Drawing,
    ui: &mut Ui,
    mut sample: impl FnMut(Vec<Vec<u32>>, &EvalSettings, &(dyn Fn(usize, usize, u32) + Sync)) -> Outcome<Vec<Vec<Sampled>>>,
    prompt: &dyn Fn(&str) -> Outcome<Vec<u32>>,
) -> Outcome<Vec<Vec<Sampled>>> {
    let Drawing { name, problems, settings, inputs } = drawing;
    let stage = run.stage(place)?;
    if stage.is_done(inputs.clone())? {
        return read(stage.path());
    }
    stage.begin(inputs.clone())?;
    let pieces = stage.pieces()?;
    let mut samples: Vec<Vec<Sampled>> = Vec::new();
    let size = (PIECE_SAMPLES / settings.k).max(1);
    let parts = problems.len().div_ceil(size);
    for (i, part) in problems.chunks(size).enumerate() {
        if ui.stopped() {
            return Err(Failure::Interrupted(format!("stopped in {name}; {} problems are kept", i * size)));
        }
        let done: Vec<Vec<Sampled>> = match pieces.get(i)? {
            Some(kept) => serde_json::from_value(kept)?,
            None => {
                let prompts = part.iter().map(|p| prompt(&p.question)).collect::<Outcome<Vec<_>>>()?;
                let said = format!("{name} {}/{parts}", i + 1);
                let seen = ui.sampling(&said, part.len());
                let made = sample(prompts, &EvalSettings { part: i as u64, ..settings.clone() }, &seen)?;
                pieces.keep(i, serde_json::to_value(&made)?)?;
                made
            }
        };
        samples.extend(done);
    }
    write(stage.path(), problems, &samples, inputs)?;
    stage.mark_done(inputs.clone(), &["."])?;
    pieces.clear()?;
    Ok(samples)
}

const SAMPLES: &str = "samples.jsonl";

/// A problem's row in the file of samples.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    question: String,
    gold: String,
    samples: Vec<Sampled>,
}

fn write(folder: &Path, problems: &[Problem], samples: &[Vec<Sampled>], about: &Value) -> Outcome<()> {
    let mut rows = String::new();
    for (problem, samples) in problems.iter().zip(samples) {
        let Problem { id, question, answer, .. } = problem.clone();
        rows += &serde_json::to_string(&Row { id, question, gold: answer, samples: samples.clone() })?;
        rows.push('\n');
    }
    let mut folder = DirWriter::create(folder)?;
    folder.write(SAMPLES, rows.as_bytes())?;
    folder.finish(about.clone())?;
    Ok(())
}

fn read(folder: &Path) -> Outcome<Vec<Vec<Sampled>>> {
    let text = std::fs::read_to_string(folder.join(SAMPLES))?;
    text.lines().map(|line| Ok(serde_json::from_str::<Row>(line)?.samples)).collect()
}
