//! The chain on a CPU: held against a run that was recorded, and the ladder's promises.

use reseek_sim::laptop::{CpuRates, Point, PredictedStage, predict};
use reseek_spec::stages::TABLE;
use reseek_spec::{Layer, ModelSpec, RecipeSpec, Scale, resolve};
use serde::Deserialize;

/// What `cargo xtask recorded runs/nano` writes of a finished run; its output goes over this file.
const RECORDED: &str = include_str!("../fixtures/nano_run.json");

/// Bytes of the text that is compiled in.
const TEXT_BYTES: usize = 9_374_592;

#[derive(Deserialize)]
struct Recorded {
    /// How far off the prediction of all seconds may be.
    within: f64,
    /// Stages whose tokens the program has changed since.
    changed: Vec<String>,
    /// The run's recipe.
    config: String,
    rates: CpuRates,
    memory_bytes: f64,
    disk_bytes: f64,
    stages: Vec<RecordedStage>,
}

#[derive(Deserialize)]
struct RecordedStage {
    name: String,
    seconds: f64,
    tokens: f64,
}

fn recorded() -> Recorded {
    serde_json::from_str(RECORDED).unwrap()
}

fn of(recipe: &RecipeSpec, rates: &CpuRates) -> Vec<PredictedStage> {
    let vocab = recipe.tokenizer.vocab_size;
    let (model, student) = (ModelSpec::ladder(recipe.scale, vocab), ModelSpec::student(recipe.scale, vocab));
    predict(&model, &student, recipe, rates, TEXT_BYTES)
}

fn seconds(stages: &[PredictedStage]) -> f64 {
    stages.iter().map(|stage| stage.seconds).sum()
}

fn preset(scale: Scale) -> RecipeSpec {
    resolve(scale, &[], &[]).unwrap().recipe
}

/// A stage that nobody predicts would begin unasked however long it takes.
#[test]
fn what_is_predicted_is_every_stage_but_the_tokenizer() {
    let predicted: Vec<String> =
        of(&preset(Scale::Nano), &recorded().rates).into_iter().map(|stage| stage.name).collect();
    let all: Vec<&str> = TABLE.iter().map(|stage| stage.name).filter(|name| *name != "tokenizer").collect();
    assert_eq!(predicted, all);
}

#[test]
fn a_recorded_run_is_predicted_from_the_rates_before_it() {
    let run = recorded();
    let layer = Layer { name: "the recorded run".to_string(), text: run.config.clone() };
    let stages = of(&resolve(Scale::Nano, &[layer], &[]).unwrap().recipe, &run.rates);
    let took = |name: &str| run.stages.iter().find(|stage| stage.name == name).unwrap_or_else(|| panic!("no {name}"));
    let all: f64 = stages.iter().map(|stage| took(&stage.name).seconds).sum();
    let off = seconds(&stages) / all - 1.0;
    assert!(off.abs() <= run.within, "{:.0} s predicted, {all:.0} s taken: {:+.0} %", seconds(&stages), 100.0 * off);
    // Tokens do not depend on the machine; only how long answers get is not known before.
    let mut tokens = (0.0, 0.0);
    for stage in stages.iter().filter(|stage| !run.changed.contains(&stage.name)) {
        let counted = took(&stage.name).tokens;
        let off = stage.tokens / counted - 1.0;
        assert!(off.abs() < 0.25, "{}: {:.0} tokens predicted, {counted:.0} counted", stage.name, stage.tokens);
        tokens = (tokens.0 + stage.tokens, tokens.1 + counted);
    }
    assert!((tokens.0 / tokens.1 - 1.0).abs() < 0.05, "{tokens:?}");
}

#[test]
fn memory_and_disk_are_those_of_the_recorded_run() {
    let run = recorded();
    let layer = Layer { name: "the recorded run".to_string(), text: run.config.clone() };
    let stages = of(&resolve(Scale::Nano, &[layer], &[]).unwrap().recipe, &run.rates);
    let memory = stages.iter().map(|stage| stage.memory_bytes).fold(0.0, f64::max);
    let disk: f64 = stages.iter().map(|stage| stage.disk_bytes).sum();
    assert!((0.75..1.35).contains(&(memory / run.memory_bytes)), "{memory:.0} for {:.0}", run.memory_bytes);
    assert!((0.8..1.25).contains(&(disk / run.disk_bytes)), "{disk:.0} for {:.0}", run.disk_bytes);
}

/// The recorded rates, as they would be where the default recipe takes six minutes: the other rungs' promises are about such cores.
fn six_minute_rates() -> CpuRates {
    let rates = recorded().rates;
    let speed = seconds(&of(&preset(Scale::Nano), &rates)) / 360.0;
    let faster = |points: &[Point]| points.iter().map(|p| Point { k: p.k, gflops: p.gflops * speed }).collect();
    CpuRates {
        products: faster(&rates.products),
        few_rows: faster(&rates.few_rows),
        weight_gradients: faster(&rates.weight_gradients),
        attention: rates.attention * speed,
        elementwise: rates.elementwise * speed,
        memory: rates.memory * speed,
        ..rates
    }
}

#[test]
fn every_rung_takes_what_its_recipe_promises() {
    let rates = six_minute_rates();
    for (scale, hours, promise) in [
        (Scale::Smoke, 0.0..0.01, None),
        (Scale::Micro, 2.0..4.0, Some("2 to 4 hours")),
        (Scale::Mini, 7.0..12.0, Some("7 to 12 hours")),
    ] {
        let takes = seconds(&of(&preset(scale), &rates)) / 3600.0;
        assert!(hours.contains(&takes), "{}: {takes:.2} h, {hours:?} promised", scale.name());
        let path = format!("{}/../reseek-spec/recipes/{}.toml", env!("CARGO_MANIFEST_DIR"), scale.name());
        let recipe = std::fs::read_to_string(path).unwrap();
        let first = recipe.lines().next().unwrap();
        assert!(promise.is_none_or(|promise| first.contains(promise)), "{}: {first}", scale.name());
    }
}

#[test]
fn a_machine_twice_as_fast_takes_half_the_time() {
    let point = |k, gflops| Point { k, gflops };
    let rates = |speed: f64| CpuRates {
        threads: 2,
        compute: "f32".to_string(),
        products: vec![point(64, 50.0 * speed), point(256, 90.0 * speed)],
        few_rows: vec![point(128, 60.0 * speed)],
        weight_gradients: vec![point(1024, 70.0 * speed)],
        attention: 30.0 * speed,
        elementwise: 40.0 * speed,
        memory: 20.0 * speed,
    };
    let recipe = preset(Scale::Nano);
    let (slow, fast) = (of(&recipe, &rates(1.0)), of(&recipe, &rates(2.0)));
    assert_eq!(slow.len(), 12);
    for (slow, fast) in slow.iter().zip(&fast) {
        assert!(slow.seconds > 0.0 && (slow.seconds / fast.seconds - 2.0).abs() < 1e-9, "{slow:?} {fast:?}");
    }
    let twice = format!("pretrain.tokens={}", 2 * recipe.pretrain.tokens);
    let longer = resolve(Scale::Nano, &[], &[twice]).unwrap().recipe;
    assert!((of(&longer, &rates(1.0))[0].seconds / slow[0].seconds - 2.0).abs() < 1e-3);
}

#[test]
fn samples_and_budgets_come_from_the_recipe() {
    let rates = recorded().rates;
    let stage = |settings: &[&str], name: &str| {
        let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
        let stages = of(&resolve(Scale::Nano, &[], &settings).unwrap().recipe, &rates);
        stages.into_iter().find(|stage| stage.name == name).unwrap()
    };
    let ratio = |a: PredictedStage, b: PredictedStage| a.tokens / b.tokens;
    assert!((ratio(stage(&["eval.k=16"], "eval"), stage(&["eval.k=4"], "eval")) - 4.0).abs() < 1e-9);
    // RL alone has the operations of the distillation: more samples buy it more steps, until its recipe ends it.
    let asked = |questions: &str| stage(&[&format!("r1.rejection_questions={questions}")], "student_rl");
    let more = ratio(asked("10000"), asked("5000"));
    assert!((1.5..2.1).contains(&more), "{more}");
    let one = stage(&["distil.rl.steps=1"], "student_rl").tokens;
    assert_eq!(stage(&["distil.rl.steps=2"], "student_rl").tokens, 2.0 * one);
    assert_eq!(stage(&["distil.rl.steps=0"], "student_rl").tokens, 0.0);
    // Moments in half the bytes take less memory and smaller states.
    let (f32s, bf16s) = (stage(&[], "zero"), stage(&["moments=\"bf16\""], "zero"));
    assert!(bf16s.memory_bytes < f32s.memory_bytes && bf16s.state_bytes < f32s.state_bytes);
}
