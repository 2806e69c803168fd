//! What a run is given, read and looked at before anything is made: what a later stage would refuse is refused here, as far as it can be
//! known without the tokenizer (the rest is in `context_fit`, before the first model is trained).

use std::path::Path;
use std::sync::Arc;

use reseek_data::{Corpus, FileReading, Holds, Problems, Reading, Side};
use reseek_spec::RecipeSpec;

use super::eval::{no_problems, split};
use super::r1::cold_start_lessons;
use super::task_mix;
use crate::error::{Outcome, fail};

/// Text and problems of a run.
pub struct Data {
    pub corpus: Arc<Corpus>,
    pub problems: Arc<Problems>,
}

impl Data {
    /// Reads the user's folder, or takes what is compiled in.
    pub fn read(folder: Option<&Path>, recipe: &RecipeSpec) -> Outcome<Self> {
        let corpus = Arc::new(match folder {
            Some(folder) => Corpus::from_folder(folder)?,
            None => Corpus::embedded(),
        });
        let problems = Arc::new(Problems::of(&corpus, task_mix(&recipe.tasks)?)?);
        Ok(Self { corpus, problems })
    }

    /// What was read and for what it is used, line by line; nothing of what is compiled in.
    pub fn told(&self) -> Vec<String> {
        let Corpus { documents, heldout, reading, .. } = &*self.corpus;
        if reading.files.is_empty() {
            return Vec::new();
        }
        let texts = match reading.files.iter().any(|file| matches!(file.holds, Holds::Texts(_))) {
            true => "a hash of the text decides",
            false => "the text that is compiled in, as the folder has none",
        };
        let mut lines = vec![format!(
            "text             {} documents to train on, {} held out ({texts})",
            documents.len(),
            heldout.len()
        )];
        if let Problems::Listed { train, development, test } = &*self.problems {
            lines.push(format!(
                "problems         {} to train on, {} to choose settings by, {} to test by",
                train.len(),
                development.len(),
                test.len()
            ));
        }
        lines.extend(files(&reading.files));
        lines.extend(left_out(reading));
        lines
    }

    /// Refuses what `stages`, those that are still to be made, could not use.
    ///
    /// # Errors
    /// The first stage that would fail, why, and the mend.
    pub fn check(&self, recipe: &RecipeSpec, seed: u64, stages: &[&str]) -> Outcome<()> {
        let r1 = &recipe.r1;
        if stages.contains(&"r1_cold_start")
            && cold_start_lessons(&self.problems, seed, r1.cold_start_samples).is_empty()
        {
            return fail(format!(
                "None of the {} problems that r1_cold_start draws has a worked solution, and R1 begins with learning from them. Add a \
                 \"solution\" to some lines, or end answers like GSM8K's: the working, then a line \"#### 18\".",
                r1.cold_start_samples
            ));
        }
        if stages.contains(&"r1_rejection") && r1.rejection_questions == 0 && r1.general_samples == 0 {
            return fail(
                "r1.rejection_questions and r1.general_samples are both 0, which leaves r1_sft and the student nothing to learn from. Set one \
                 of them above 0.",
            );
        }
        let (eval, split) = (&recipe.eval, split(&recipe.eval));
        if stages.contains(&"eval") && self.problems.heldout(eval.problems_seed, split, 1).is_empty() {
            return fail(no_problems(split));
        }
        Ok(())
    }
}

/// A line for each file of problems, and one for all files of text.
fn files(files: &[FileReading]) -> Vec<String> {
    let problems = files.iter().filter_map(|FileReading { name, holds }| {
        let &Holds::Problems(n, side) = holds else { return None };
        let what = match side {
            Side::ByHash => "divided by a hash of the question",
            Side::Train => "to train on, as its name says",
            Side::Test => "to test by, as its name says",
            Side::Development => "to choose settings by, as its name says",
        };
        Some(format!("  {name:<14} {n} problems, {what}"))
    });
    let texts: Vec<usize> =
        files.iter().filter_map(|f| if let Holds::Texts(n) = f.holds { Some(n) } else { None }).collect();
    let all = (!texts.is_empty())
        .then(|| format!("  {} files of text with {} texts", texts.len(), texts.iter().sum::<usize>()));
    problems.chain(all).collect()
}

/// What of a folder is not used, and why.
fn left_out(reading: &Reading) -> Vec<String> {
    /// Names of passed-over files that are shown.
    const NAMED: usize = 3;
    let Reading { passed_over, copies, too_short, asked_in_test, .. } = reading;
    let mut lines = Vec::new();
    let mut say = |n: usize, what: &str| lines.extend((n > 0).then(|| format!("  left out: {n} {what}")));
    say(*asked_in_test, "problems to train on whose question is one to test by");
    say(*copies, "pieces of text that are copies of others");
    say(*too_short, "texts too short for a document");
    if !passed_over.is_empty() {
        let more = if passed_over.len() > NAMED { ", …" } else { "" };
        let names: Vec<&str> = passed_over.iter().take(NAMED).map(String::as_str).collect();
        say(passed_over.len(), &format!("files that are no .txt, .md or .jsonl: {}{more}", names.join(", ")));
    }
    lines
}
