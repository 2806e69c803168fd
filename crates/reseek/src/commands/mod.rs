//! One file a command, or a group of small ones.

mod ahead;
mod ask;
mod bench;
pub mod calibrate;
mod chat;
mod chat_lines;
mod claims;
mod claims_run;
mod convert;
mod cost;
mod dials;
mod families;
mod inspect;
mod params;
mod plan;
mod run_settings;
mod runs;
mod schedule;
mod sim;
mod sim_laptop;
mod sim_page;
mod sim_page_rows;
mod sim_print;
mod sweep;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reseek_spec::stages::commands;
use reseek_spec::{Layer, RecipeSpec, Resolved, Scale, TaskSpec, explain, resolve};
use reseek_store::{REDO, RunDir, Summary};

use crate::chain::{CONFIG, Chain, Data, REPORT, Request, admit, table, task_mix};
use crate::cli::{Cli, Command, ConfigArgs, ReportAbout, ReportArgs, RunArgs, ShowArgs};
use crate::cli_eval::EvalArgs;
use crate::error::{Failure, Outcome, fail};
use crate::post::harvest::harvest;
use crate::post::measure::measure;
use crate::post::train::rl;
use crate::post::tune::sft;
use crate::post::why::why;
use crate::ui::Ui;

pub use convert::{beside, refuse_inside};
use run_settings::RunSettings;

/// Runs a command.
pub fn dispatch(cli: Cli) -> Outcome<()> {
    match cli.command {
        Command::Replicate(args) => chain(&args, &[commands(), vec![REPORT]].concat(), None),
        Command::Stage(command) => chain(&command.args, &[command.name], None),
        Command::Eval(args) => eval(&args),
        Command::Report(args) => match &args.about {
            None => report(&args),
            Some(ReportAbout::Sim { out, json, quiet }) => sim_page::sim_page(out, *json, *quiet),
        },
        Command::Sft(args) => sft(&args),
        Command::Rl(args) => rl(&args),
        Command::Sample(args) => harvest(&args),
        Command::Why(args) => why(&args),
        Command::Runs(command) => runs::runs(&command),
        Command::Sim(command) => sim::sim(&command),
        Command::Cost(args) => cost::cost(&args),
        Command::Claims(command) => claims::claims(&command),
        Command::Config(args) => config(&args),
        Command::Params(args) => params::params(&args),
        Command::Score(args) => ask::score(&args),
        Command::Generate(args) => ask::generate_text(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Convert(args) => convert::convert(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Bench(args) => bench::bench(&args),
    }
}

fn eval(args: &EvalArgs) -> Outcome<()> {
    match &args.show_task {
        Some(name) => {
            crate::out::write(format_args!("{}", TaskSpec::named(name)?.to_toml()));
            Ok(())
        }
        None if args.models.is_empty() => chain(&args.run, &["eval"], None),
        None => measure(args),
    }
}

fn report(args: &ReportArgs) -> Outcome<()> {
    if let Some(other) = &args.beside {
        RunDir::inspect(other)?;
    }
    chain(&args.run, &[REPORT], args.beside.clone())
}

/// Does what the commands called `names` do, one after the other on the same run.
fn chain(args: &RunArgs, names: &[&str], beside: Option<PathBuf>) -> Outcome<()> {
    let scale_name = args.config.scale.unwrap_or(Scale::Nano).name();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(scale_name));
    let recorded = RunSettings::read(&out)?;
    let scale = recorded.scale(&out, args.config.scale)?;
    // A run keeps its recipe: what a command says is laid over it.
    let resolved = resolved(scale, recorded.layer(&out)?.into_iter().collect(), &args.config)?;
    let seed = args.seed.or(recorded.seed).unwrap_or(1);
    let folder = recorded.data(&out, args.data.as_deref())?;
    let data = Data::read(folder.as_deref(), &resolved.recipe)?;
    let request = Request { names, redo: args.redo, recorded: recorded.keys() };
    let admitted = admit(&out, &resolved.recipe, seed, &data, &request)?;
    let mut ui = Ui::new(args.quiet);
    let ahead = ahead::look(&data, &resolved.recipe, seed, &out, &admitted.to_do, args.yes, &mut ui)?;
    let mut chain = Chain::open(resolved, seed, &out, data, folder.as_deref(), admitted, ui)?;
    ahead.record(&chain)?;
    chain.beside = beside;
    let before = std::fs::read(chain.path(CONFIG)).ok();
    // What replaces finished stages becomes the run's recipe with the first that is complete.
    if !args.redo || before.is_none() {
        chain.record_config()?;
    }
    pending(&mut chain)?;
    for name in names {
        let done = chain.command(name);
        if let (Err(Failure::Error(_)), Some(before), false) = (&done, &before, chain.has_finished) {
            // A setting with which nothing came to its end must not be remembered.
            chain.run.write(CONFIG, before)?;
        }
        done?;
    }
    let summary = out.join("summary.json");
    if names.last() != Some(&REPORT) {
        let strangers = chain.survey()?.strangers();
        if !strangers.is_empty() {
            let (stale, out) = (strangers.join("; "), out.display());
            chain.ui.line(&format!("out of date now: {stale}. `reseek replicate --out {out}` makes them anew."));
        }
        if args.config.json {
            crate::say!("{}", serde_json::json!({"done": names, "out": out}));
        }
        return Ok(());
    }
    let summary = Summary::read(&summary)?;
    if args.config.json {
        crate::say!("{}", serde_json::to_string(&summary)?);
    } else {
        crate::out::write(format_args!("\n{}", table(&summary)));
        crate::say!(
            "\nreport: {}\nnext:   reseek chat {}",
            out.join("report/index.html").display(),
            out.join("r1").display()
        );
    }
    Ok(())
}

/// Says which stages an earlier command began to make anew with other settings and did not finish.
fn pending(chain: &mut Chain) -> Outcome<()> {
    for found in chain.survey()?.found {
        let Some(differences) = found.redo.filter(|differences| !differences.is_empty()) else { continue };
        let settings: Vec<String> = differences.iter().map(|d| format!("{} = {}", d.key, d.run)).collect();
        let folder = chain.path(REDO).join(found.stage.name);
        chain.ui.line(&format!(
            "{:<16} {} is an unfinished redo with {}: the command that began it goes on with it, and without the folder it is given up",
            found.stage.name,
            folder.display(),
            settings.join(", ")
        ));
    }
    Ok(())
}

fn config(args: &ShowArgs) -> Outcome<()> {
    let resolved = resolved(args.config.scale.unwrap_or(Scale::Nano), Vec::new(), &args.config)?;
    let recipe = &resolved.recipe;
    if args.families {
        match args.config.json {
            true => crate::say!("{}", serde_json::to_string_pretty(&families::as_json(recipe)?)?),
            false => families::show(recipe)?,
        }
        return Ok(());
    }
    if let Some(key) = &args.explain {
        let about: Vec<&str> =
            args.section.iter().chain([key]).map(String::as_str).filter(|part| !part.is_empty()).collect();
        let about = (!about.is_empty()).then(|| about.join("."));
        crate::out::write(format_args!("{}", explain(&resolved, about.as_deref())?));
        return Ok(());
    }
    match (&args.section, args.config.json) {
        (None, false) => crate::out::write(format_args!("{}", resolved.toml)),
        (None, true) => crate::say!("{}", serde_json::to_string_pretty(recipe)?),
        (Some(name), false) => crate::out::write(format_args!("{}", section(recipe, name)?)),
        (Some(name), true) => {
            let part = &serde_json::to_value(recipe)?[name];
            crate::say!("{}", serde_json::to_string_pretty(&serde_json::json!({name: part}))?);
        }
    }
    Ok(())
}

/// One part of a recipe as a file of its own, keys in the order of the whole.
fn section(recipe: &RecipeSpec, name: &str) -> Outcome<String> {
    let part = &serde_json::to_value(recipe)?[name];
    Ok(toml::to_string(&BTreeMap::from([(name, part)]))?)
}

fn resolved(scale: Scale, mut layers: Vec<Layer>, args: &ConfigArgs) -> Outcome<Resolved> {
    for path in &args.recipe {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => layers.push(Layer { name, text }),
            Err(error) => return fail(format!("cannot read {name}: {error}. Name a TOML file.")),
        }
    }
    let resolved = resolve(scale, &layers, &args.set)?;
    task_mix(&resolved.recipe.tasks)?;
    for (section, rl) in resolved.recipe.rl_stages() {
        reseek_rl::check(rl).or_else(|error| fail(format!("{section}: {error}")))?;
    }
    Ok(resolved)
}
