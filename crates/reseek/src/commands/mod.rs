//! One file a command, or a group of small ones.

mod ask;
mod bench;
pub mod calibrate;
mod chat;
mod chat_lines;
mod claims;
mod cost;
mod dials;
mod params;
mod past;
mod plan;
mod schedule;
mod sim;
mod sim_page;
mod sweep;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reseek_spec::{Layer, RecipeSpec, Resolved, Scale, resolve};
use reseek_store::summary::PREDICTION;
use reseek_store::{RunDir, Summary};

use crate::chain::{CONFIG, Chain, STAGES, table, task_mix};
use crate::cli::{Cli, Command, ConfigArgs, ReportAbout, ReportArgs, RunArgs, ShowArgs};
use crate::error::{Outcome, fail};
use crate::ui::{Ui, duration};

use past::Past;

/// Runs a command.
pub fn dispatch(cli: Cli) -> Outcome<()> {
    match cli.command {
        Command::Replicate(args) => stages(&args, &STAGES),
        Command::Tokenizer(args) => stages(&args, &["tokenizer"]),
        Command::Pretrain(args) => stages(&args, &["pretrain"]),
        Command::Extend(args) => stages(&args, &["extend"]),
        Command::Zero(args) => stages(&args, &["zero"]),
        Command::R1(args) => stages(&args, &["r1"]),
        Command::Distil(args) => stages(&args, &["distil"]),
        Command::Eval(args) => stages(&args, &["eval"]),
        Command::Report(args) => match &args.about {
            None => report(&args),
            Some(ReportAbout::Sim { out, json, quiet }) => sim_page::sim_page(out, *json, *quiet),
        },
        Command::Sim(command) => sim::sim(&command),
        Command::Cost(args) => cost::cost(&args),
        Command::Claims(command) => claims::claims(&command),
        Command::Config(args) => config(&args),
        Command::Params(args) => params::params(&args),
        Command::Score(args) => ask::score(&args),
        Command::Generate(args) => ask::generate_text(&args),
        Command::Chat(args) => chat::chat(&args),
        Command::Bench(args) => bench::bench(&args),
    }
}

fn report(args: &ReportArgs) -> Outcome<()> {
    if let Some(other) = &args.beside {
        RunDir::inspect(other)?;
    }
    chain(&args.run, &["report"], args.beside.clone())
}

fn stages(args: &RunArgs, names: &[&str]) -> Outcome<()> {
    chain(args, names, None)
}

fn chain(args: &RunArgs, names: &[&str], beside: Option<PathBuf>) -> Outcome<()> {
    let scale_name = args.config.scale.unwrap_or(Scale::Nano).name();
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(scale_name));
    let past = Past::of(&out)?;
    let scale = past.scale(&out, args.config.scale)?;
    // `replicate` says what the whole run is; a single stage goes on with what the run was told before.
    let mut layers = Vec::new();
    if names.len() == 1 {
        layers.extend(past.layer(&out)?);
    }
    let resolved = resolved(scale, layers, &args.config)?;
    let seed = args.seed.or(past.seed).unwrap_or(1);
    let mut chain = Chain::open(resolved, seed, &out, args.data.as_deref(), Ui::new(args.quiet))?;
    chain.beside = beside;
    // A setting that made a single stage fail must not be remembered.
    let is_single = names.len() == 1 && chain.path(CONFIG).exists();
    if !is_single {
        chain.record_config()?;
    }
    if names.first() == Some(&"tokenizer") && names.len() > 1 {
        foretell(&mut chain)?;
    }
    for name in names {
        chain.stage(name)?;
    }
    if is_single {
        chain.record_config()?;
    }
    let summary = out.join("summary.json");
    if names.last() != Some(&"report") {
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

/// Before a run begins: how long its stages should take on this machine, for the report to hold against what they took.
fn foretell(chain: &mut Chain) -> Outcome<()> {
    if chain.path(PREDICTION).exists() {
        return Ok(());
    }
    let rates = calibrate::measure(chain.compute());
    let stages = calibrate::predict_chain(&chain.recipe, &rates);
    let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
    chain.ui.line(&format!("predicted        {:>10}  at the rates that this machine shows now", duration(seconds)));
    chain.run.write(PREDICTION, serde_json::json!({"stages": stages, "rates": rates}).to_string().as_bytes())?;
    Ok(())
}

fn config(args: &ShowArgs) -> Outcome<()> {
    let resolved = resolved(args.config.scale.unwrap_or(Scale::Nano), Vec::new(), &args.config)?;
    let recipe = &resolved.recipe;
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
    fn alone<T: serde::Serialize>(name: &str, part: &T) -> Outcome<String> {
        Ok(toml::to_string(&BTreeMap::from([(name, part)]))?)
    }
    match name {
        "tasks" => alone(name, &recipe.tasks),
        "tokenizer" => alone(name, &recipe.tokenizer),
        "pretrain" => alone(name, &recipe.pretrain),
        "extend" => alone(name, &recipe.extend),
        "zero" => alone(name, &recipe.zero),
        "r1" => alone(name, &recipe.r1),
        "distil" => alone(name, &recipe.distil),
        _ => alone("eval", &recipe.eval),
    }
}

fn resolved(scale: Scale, mut layers: Vec<Layer>, args: &ConfigArgs) -> Outcome<Resolved> {
    for path in &args.recipe {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => layers.push(Layer { name, text }),
            Err(error) => return fail(format!("cannot read {name}: {error}; hint: name a TOML file")),
        }
    }
    let resolved = resolve(scale, &layers, &args.set)?;
    task_mix(&resolved.recipe.tasks)?;
    Ok(resolved)
}
