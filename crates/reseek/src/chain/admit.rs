//! Whether a command may begin on a run. Everything that can be refused is refused here, before a file is made.

use std::path::Path;

use reseek_spec::RecipeSpec;
use reseek_spec::stages::{Keys, Stage, TABLE, find};
use reseek_store::{RunDir, StoreError, chain_hash};

use super::stages::{GENERATED, keys_of};
use super::survey::{Difference, Found, State, Survey};
use super::{Data, REPORT};
use crate::error::{Outcome, fail};

/// What a command is asked to do with a run.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The stages to make, as commands name them.
    pub names: &'a [&'a str],
    /// Finished stages may be made anew with other settings.
    pub redo: bool,
    /// The recipe that the run has; nothing of a new one.
    pub recorded: Option<Keys>,
}

impl Request<'_> {
    fn makes(&self, stage: &Stage) -> bool {
        self.names.contains(&stage.command)
    }

    fn is_report_alone(&self) -> bool {
        self.names == [REPORT]
    }
}

/// A command that may begin.
pub struct Admitted {
    /// What a run is for ever: its scale and its text.
    pub(super) identity: String,
    pub(super) keys: Keys,
    pub(super) data_hash: String,
    /// The stages that it will make, in order.
    pub to_do: Vec<&'static str>,
}

/// Refuses what cannot or must not be done on the run at `out` with `recipe`.
///
/// # Errors
/// Another seed, scale or text than the run's; other settings than those of a stage that is there, unless asked for; an input of a stage
/// that is absent or out of date.
pub fn admit(out: &Path, recipe: &RecipeSpec, seed: u64, data: &Data, request: &Request) -> Outcome<Admitted> {
    let data_hash = data.corpus.sha256();
    let identity = chain_hash(&[recipe.scale.name(), &data_hash]);
    let keys = keys_of(recipe)?;
    match RunDir::inspect(out) {
        Err(StoreError::NoManifest { .. }) => {}
        info => same_run(out, &info?, &identity, seed)?,
    }
    let survey = Survey::of(out, &keys, &data_hash)?;
    same_recipe(out, &survey, &keys, request)?;
    for stage in TABLE.iter().filter(|stage| request.makes(stage)) {
        inputs_stand(out, &survey, stage, request)?;
    }
    if request.is_report_alone() && survey.get("eval").is_absent() {
        let out = out.display();
        return fail(format!(
            "{out} has no evaluation, from which a report is made. Run `reseek eval --out {out}` first."
        ));
    }
    let mut to_do: Vec<&str> = Vec::new();
    for stage in TABLE.iter().filter(|stage| request.makes(stage)) {
        let reads_new = stage.inputs().any(|input| to_do.contains(&input));
        if reads_new || survey.get(stage.name).state != State::Current {
            to_do.push(stage.name);
        }
    }
    Ok(Admitted { identity, keys, data_hash, to_do })
}

/// A run has one seed and one text for ever: with others nothing of it would stay.
fn same_run(out: &Path, info: &reseek_store::RunInfo, identity: &str, seed: u64) -> Outcome<()> {
    let out = out.display();
    if info.seed != seed {
        return fail(format!(
            "{out} was made with seed {}, and this command has --seed {seed}. Leave --seed out, or choose another folder with --out.",
            info.seed
        ));
    }
    // The scale was looked at before.
    if info.config_hash != identity {
        return fail(format!(
            "{out} was made with other text and problems than this command has, so nothing of it could stay. Name the run's own --data \
             folder with the same files in it, or choose another folder with --out."
        ));
    }
    Ok(())
}

fn same_recipe(out: &Path, survey: &Survey, keys: &Keys, request: &Request) -> Outcome<()> {
    // What the run's own recipe has was agreed to when it came there.
    let is_asked = |d: &Difference| request.recorded.as_ref().is_none_or(|run| run.get(&d.key) != keys.get(&d.key));
    let needs_leave = |found: &&Found| match &found.state {
        // A page can be drawn of any run: it says itself what is out of date.
        _ if found.is_of_other_version() => !request.is_report_alone(),
        State::Begun(_) => request.makes(found.stage) || found.differences().iter().any(is_asked),
        _ => found.differences().iter().any(is_asked),
    };
    let changed: Vec<&Found> = survey.changed().into_iter().filter(needs_leave).collect();
    let makes_some = changed.iter().any(|found| request.makes(found.stage));
    if changed.is_empty() || (request.redo && makes_some) {
        return Ok(());
    }
    let mut differences: Vec<Difference> = changed.iter().flat_map(|found| found.differences()).collect();
    differences.sort();
    differences.dedup();
    let place = out.display();
    let mut text = match differences.is_empty() {
        true => {
            format!("Stages of {place} were made by another version of reseek, which did not write down from what.")
        }
        false => format!("{place} goes on with its own recipe, and this command asks for another one:"),
    };
    for Difference { key, run, wanted } in &differences {
        text += &format!("\n  {key:<28} {run} in the run, {wanted} in this command");
    }
    let (anew, staying) = survey.anew_and_staying();
    text += &format!("\nMade anew would be {}. ", listed(&anew));
    if !staying.is_empty() {
        text += &format!("As they are would stay {}. ", listed(&staying));
    }
    if request.redo {
        let others: Vec<&str> = changed.iter().map(|found| found.stage.name).collect();
        text += &format!(
            "\n`{}` makes none of these that differ: {}. Set what it makes, or run `reseek replicate --redo --out {place}` with the same \
             settings.",
            command(request),
            listed(&others)
        );
        return fail(text);
    }
    if differences.iter().all(|d| d.key == GENERATED) && !differences.is_empty() {
        text.push_str(
            "\nIts problems were made by another version of reseek. Go on with that version, or add --redo, which keeps each old stage until \
             its new one is complete."
        );
        return fail(text);
    }
    text += &format!(
        "\nLeave the settings out to go on with the run; or try them on a copy (`reseek runs copy {place} {place}-2`); or add --redo, which \
         keeps each old stage until its new one is complete."
    );
    fail(text)
}

fn command(request: &Request) -> String {
    format!("reseek {}", request.names.first().copied().unwrap_or("replicate"))
}

fn inputs_stand(out: &Path, survey: &Survey, stage: &Stage, request: &Request) -> Outcome<()> {
    let name = stage.name;
    for input in stage.inputs().filter(|input| !request.makes(survey.get(input).stage)) {
        let found = survey.get(input);
        if found.is_absent() {
            let command = found.stage.command;
            return fail(format!(
                "{name} needs {input}, and {} was never finished. Run `reseek {command} --out {}` first.",
                out.join(input).display(),
                out.display()
            ));
        }
        if found.state != State::Current {
            return fail(stale_inputs(out, survey, stage, request));
        }
    }
    Ok(())
}

/// What to do when something that `stage` reads, at whatever distance, is out of date.
fn stale_inputs(out: &Path, survey: &Survey, stage: &Stage, request: &Request) -> String {
    let mut needed = vec![stage.name];
    for earlier in TABLE.iter().rev().filter(|earlier| earlier.name != stage.name) {
        if needed.iter().any(|by| find(by).inputs().any(|input| input == earlier.name)) {
            needed.push(earlier.name);
        }
    }
    let found = survey.found.iter().filter(|found| needed[1..].contains(&found.stage.name));
    let mut commands: Vec<String> = Vec::new();
    let mut complaints = Vec::new();
    for found in found {
        let Some(complaint) = found.complaint() else { continue };
        complaints.push(complaint);
        let command = format!("`reseek {} --out {}`", found.stage.command, out.display());
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    format!(
        "What {} reads is out of date in {}: {}. Run {} first{}, or `reseek replicate --out {}` for all that follows.",
        stage.name,
        out.display(),
        complaints.join("; "),
        commands.join(", then "),
        if request.redo { " with the same settings and --redo" } else { "" },
        out.display()
    )
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_string(),
        [one] => one.to_string(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
