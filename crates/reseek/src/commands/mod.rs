//! One file a command, or a group of small ones.

mod ask;
mod bench;
pub mod calibrate;
mod claims;
mod cost;
mod dials;
mod params;
mod plan;
mod schedule;
mod sim;
mod sim_page;
mod sweep;

use std::path::PathBuf;

use reseek_spec::{Layer, Resolved, resolve};
use reseek_store::Summary;
use reseek_store::summary::PREDICTION;

use crate::chain::{Chain, STAGES, table};
use crate::cli::{Cli, Command, ConfigArgs, ReportAbout, RunArgs};
use crate::error::{Outcome, fail};
use crate::ui::{Ui, duration};

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
            None => stages(&args.run, &["report"]),
            Some(ReportAbout::Sim { out, json, quiet }) => sim_page::sim_page(out, *json, *quiet),
        },
        Command::Sim(command) => sim::sim(&command),
        Command::Cost(args) => cost::cost(&args),
        Command::Claims(command) => claims::claims(&command),
        Command::Config(args) => config(&args),
        Command::Params(args) => params::params(&args),
        Command::Score(args) => ask::score(&args),
        Command::Generate(args) => ask::generate_text(&args),
        Command::Chat(args) => ask::chat(&args),
        Command::Bench(args) => bench::bench(&args),
    }
}

fn stages(args: &RunArgs, names: &[&str]) -> Outcome<()> {
    let resolved = resolved(&args.config)?;
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(args.config.scale.name()));
    let mut chain = Chain::open(resolved, args.seed, &out, args.data.as_deref(), Ui::new(args.quiet))?;
    if names.first() == Some(&"tokenizer") && names.len() > 1 {
        foretell(&mut chain)?;
    }
    for name in names {
        chain.stage(name)?;
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

fn config(args: &ConfigArgs) -> Outcome<()> {
    let resolved = resolved(args)?;
    if args.json {
        crate::say!("{}", serde_json::to_string_pretty(&resolved.recipe)?);
    } else {
        crate::out::write(format_args!("{}", resolved.toml));
    }
    Ok(())
}

fn resolved(args: &ConfigArgs) -> Outcome<Resolved> {
    let mut layers = Vec::new();
    for path in &args.recipe {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => layers.push(Layer { name, text }),
            Err(error) => return fail(format!("cannot read {name}: {error}; hint: name a TOML file")),
        }
    }
    Ok(resolve(args.scale, &layers, &args.set)?)
}
