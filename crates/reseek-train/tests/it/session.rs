//! The loop of a stage: stopped after any step, cut down in any step, it ends in the bytes of an undisturbed run.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use reseek_model::Weights;
use reseek_store::{PROFILE, RunDir, StageDir};
use reseek_tensor::dtype::Dtype;
use reseek_tensor::random::Stream;
use reseek_train::{
    Control, Learner, Length, Observer, Progress, Saved, SessionError, StepRow, Steps, TrainError, Usage, run,
};
use serde_json::{Value, json};

use crate::common::{SETTINGS, bits, learner, moment_bits, sequences, v3};

const STEPS: u64 = 6;

/// A run folder of one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("session-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn stage(&self) -> StageDir {
        let stage = RunDir::create_or_open(&self.0, "configuration", 1).unwrap().stage("stage").unwrap();
        stage.begin("inputs").unwrap();
        stage
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Stops after a given number of steps and remembers warnings.
#[derive(Default)]
struct StopAfter {
    step: Option<u64>,
    /// The format in which its learner keeps moments.
    moments: Dtype,
    /// Operations that end the stage, instead of its steps.
    budget: Option<f64>,
    seen: Vec<u64>,
    warnings: Vec<String>,
}

impl StopAfter {
    fn length(&self) -> Length {
        self.budget.map_or(Length::Steps(STEPS), |budget| Length::Operations { budget, most: 100 })
    }
}

impl Observer for StopAfter {
    fn step(&mut self, progress: &Progress) -> Control {
        assert_eq!(progress.stage, "stage");
        // A budget of operations knows its steps in the end, and before that an estimate of them.
        assert!(progress.steps == STEPS || self.budget.is_some() && progress.step < progress.steps);
        assert!(progress.tokens_here <= progress.tokens && progress.metrics.contains_key("loss"));
        self.seen.push(progress.step);
        if self.step == Some(progress.step) { Control::Stop } else { Control::Continue }
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(message.to_string());
    }
}

/// What a stage leaves: weights, biases, moments, data cursor, other buffers, rows of metrics.
type Left = (Vec<u32>, Vec<u32>, Vec<u32>, Vec<u32>, u64, Vec<u32>, String);

/// Steps that read on in their data and keep a reference; in step `fails`, the process "dies".
struct Cut {
    fails: Option<u64>,
    item: u64,
    reference: Vec<f32>,
}

impl Steps for Cut {
    type Error = TrainError;

    fn step(&mut self, learner: &mut Learner, i: u64) -> Result<StepRow, TrainError> {
        if self.fails == Some(i) {
            return Err(TrainError::Diverged { what: "loss", value: f64::NAN, step: i });
        }
        if i.is_multiple_of(4) {
            self.reference = learner.weights.data.clone();
        }
        // Other seeds for other steps, and the cursor as part of the data: a step done twice or left out shows.
        let jitter = Stream::new(1, "length", i, 0).below(9);
        let report = learner.step(&sequences(&[20 + jitter, 30], self.item), &SETTINGS)?;
        self.item += 3;
        let metrics = json!({"loss": report.loss, "grad_norm": report.grad_norm}).as_object().unwrap().clone();
        Ok(StepRow { metrics, tokens: report.rows as u64, flops: 10.5 })
    }

    fn save(&self) -> Saved<'_> {
        let buffers = [("reference".to_string(), self.reference.as_slice().into())].into();
        Saved { cursor: json!({"item": self.item}), buffers }
    }

    fn restore(&mut self, _: &Learner, mut saved: Saved<'static>) -> Result<(), TrainError> {
        self.item = saved.cursor["item"].as_u64().unwrap();
        self.reference = saved.buffers.remove("reference").unwrap().into_owned();
        Ok(())
    }
}

/// Works on the stage; in step `fails`, the process "dies".
fn work(scratch: &Scratch, observer: &mut StopAfter, fails: Option<u64>) -> Result<(Left, Usage), String> {
    let stage = scratch.stage();
    let mut learner = Learner::with_moments(Weights::init(v3(), 1).unwrap(), observer.moments);
    let mut steps = Cut { fails, item: 0, reference: Vec::new() };
    let usage = run(&stage, &mut learner, &mut steps, observer.length(), observer).map_err(|error| match error {
        SessionError::Interrupted { .. } => "interrupted".to_string(),
        other => other.to_string(),
    })?;
    let metrics = fs::read_to_string(stage.path().join("metrics.jsonl")).unwrap();
    // Wherever it was cut, the middle step was recorded.
    let profile: Value = serde_json::from_slice(&fs::read(stage.path().join(PROFILE)).unwrap()).unwrap();
    let late = u64::from(observer.budget.is_some());
    assert!((STEPS / 2..=STEPS / 2 + late).contains(&profile["step"].as_u64().unwrap()));
    assert!(profile["ops"].as_array().unwrap().iter().any(|op| op["op"] == "adamw" && op["calls"] != 0));
    let (w, o) = (&learner.weights, &learner.optimizer);
    assert_eq!(o.step, STEPS);
    let [m, v] = moment_bits(&o.moments);
    Ok(((bits(&w.data), bits(&w.buffers), m, v, steps.item, bits(&steps.reference), metrics), usage))
}

fn undisturbed(name: &str) -> (Left, Usage) {
    let scratch = Scratch::new(&format!("{name}-undisturbed"));
    work(&scratch, &mut StopAfter::default(), None).unwrap()
}

#[test]
fn stopped_after_any_step_it_ends_in_the_same_bytes() {
    let (expect, usage) = undisturbed("stopped");
    assert_eq!(expect.6.lines().count() as u64, STEPS);
    for stop in 1..STEPS {
        let scratch = Scratch::new("stopped");
        let mut observer = StopAfter { step: Some(stop), ..StopAfter::default() };
        assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
        assert_eq!(observer.seen, (1..=stop).collect::<Vec<_>>());
        let mut observer = StopAfter::default();
        let (left, used) = work(&scratch, &mut observer, None).unwrap();
        assert_eq!(observer.seen, (stop + 1..=STEPS).collect::<Vec<_>>(), "a step was done twice or left out");
        assert!(left == expect, "stopped after step {stop}");
        assert_eq!((used.tokens, used.flops), (usage.tokens, usage.flops));
        assert!(used.seconds > 0.0);
    }
}

#[test]
fn stopped_after_every_step_it_ends_in_the_same_bytes() {
    let ends = [Dtype::F32, Dtype::Bf16].map(|moments| {
        let undisturbed = Scratch::new(&format!("steps-undisturbed-{moments}"));
        let to_the_end = || StopAfter { moments, ..StopAfter::default() };
        let (expect, _) = work(&undisturbed, &mut to_the_end(), None).unwrap();
        let scratch = Scratch::new(&format!("steps-{moments}"));
        for stop in 1..STEPS {
            let mut observer = StopAfter { step: Some(stop), ..to_the_end() };
            assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
            assert_eq!(observer.seen, [stop]);
        }
        assert!(work(&scratch, &mut to_the_end(), None).unwrap().0 == expect, "moments in {moments}");
        expect
    });
    assert!(ends[0] != ends[1]);
}

#[test]
fn a_state_with_moments_in_the_other_format_is_taken() {
    for (before, after) in [(Dtype::F32, Dtype::Bf16), (Dtype::Bf16, Dtype::F32)] {
        let scratch = Scratch::new(&format!("format-{before}"));
        let mut observer = StopAfter { step: Some(3), moments: before, ..StopAfter::default() };
        assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
        let mut observer = StopAfter { moments: after, ..StopAfter::default() };
        work(&scratch, &mut observer, None).unwrap();
        assert_eq!(observer.seen, [4, 5, 6]);
    }
}

#[test]
fn a_step_that_fails_loses_nothing_that_was_saved() {
    let (expect, _) = undisturbed("fails");
    for (saved, fails) in [(None, 0), (None, 4), (Some(2), 2), (Some(2), 5), (Some(4), 5)] {
        let scratch = Scratch::new("fails");
        if let Some(stop) = saved {
            let mut observer = StopAfter { step: Some(stop), ..StopAfter::default() };
            assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
        }
        let error = work(&scratch, &mut StopAfter::default(), Some(fails)).unwrap_err();
        assert!(error.contains("stage stage: step ") && error.contains(". "), "{error}");
        let mut observer = StopAfter::default();
        assert!(work(&scratch, &mut observer, None).unwrap().0 == expect, "saved {saved:?}, failed in {fails}");
        assert_eq!(observer.seen[0], saved.unwrap_or(0) + 1);
    }
}

#[test]
fn a_damaged_state_is_passed_over_with_a_warning() {
    let (expect, _) = undisturbed("damaged");
    let scratch = Scratch::new("damaged");
    for stop in [2, 4] {
        let mut observer = StopAfter { step: Some(stop), ..StopAfter::default() };
        assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
    }
    let newest = scratch.0.join("stage/state/step-00000004");
    let file = fs::read_dir(&newest).unwrap().map(|e| e.unwrap().path()).find(|p| p.ends_with("state.safetensors"));
    let file = file.unwrap_or_else(|| panic!("no tensors in {}", newest.display()));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let mut observer = StopAfter::default();
    let (left, _) = work(&scratch, &mut observer, None).unwrap();
    assert_eq!(observer.seen, [3, 4, 5, 6]);
    assert!(observer.warnings.len() == 1 && observer.warnings[0].contains("damaged"), "{:?}", observer.warnings);
    assert!(left == expect);
}

#[test]
fn a_finished_stage_does_nothing_and_one_without_steps_is_finished() {
    let (expect, usage) = undisturbed("finished");
    let scratch = Scratch::new("finished");
    work(&scratch, &mut StopAfter { step: Some(STEPS), ..StopAfter::default() }, None).unwrap();
    let mut observer = StopAfter::default();
    let (left, used) = work(&scratch, &mut observer, None).unwrap();
    assert!(observer.seen.is_empty() && left == expect && used.tokens == usage.tokens);

    let scratch = Scratch::new("none");
    let called = Cell::new(false);
    let mut step = |_: &mut Learner, _: u64| {
        called.set(true);
        Err(TrainError::Diverged { what: "loss", value: 0.0, step: 0 })
    };
    let mut learner = learner(v3());
    let usage = run(&scratch.stage(), &mut learner, &mut step, Length::Steps(0), &mut StopAfter::default()).unwrap();
    assert!(!called.get() && usage == Usage::default());
}

/// Steps take 10.5 operations each: six of them fit into 66.5, and where the stage was stopped makes no difference.
#[test]
fn a_budget_of_operations_is_spent_and_not_exceeded() {
    let (expect, usage) = undisturbed("budget");
    for budget in [6.0 * 10.5, 66.5, 7.0 * 10.5 - 0.1] {
        for stop in [None, Some(1), Some(3), Some(5)] {
            let scratch = Scratch::new("budget");
            let mut observer = StopAfter { step: stop, budget: Some(budget), ..StopAfter::default() };
            if stop.is_some() {
                assert_eq!(work(&scratch, &mut observer, None).unwrap_err(), "interrupted");
            }
            let mut observer = StopAfter { budget: Some(budget), ..StopAfter::default() };
            let (left, used) = work(&scratch, &mut observer, None).unwrap();
            assert!(left == expect, "budget {budget}, stopped after {stop:?}");
            assert_eq!((used.flops, used.tokens), (63.0, usage.tokens));
        }
    }
}
