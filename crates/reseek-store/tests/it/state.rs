use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use half::bf16;
use reseek_store::{Moment, StateDir, StoreError, TrainState};
use serde_json::{Value, json};

use crate::common::{Scratch, SplitMix, assert_names, tree, values};

fn state(step: u64) -> TrainState<'static> {
    let flat = |seed| Cow::Owned(values(700, 10 * step + seed));
    TrainState {
        step,
        weights: flat(0),
        m: Moment::F32(flat(1)),
        v: Moment::F32(flat(2)),
        buffers: BTreeMap::from([("bias".to_owned(), flat(3)), ("empty".to_owned(), Cow::Owned(Vec::new()))]),
        cursor: json!({"document": 17, "offset": [1, 2]}),
        counters: BTreeMap::from([("sampling".to_owned(), u64::MAX)]),
        extra: json!({"lr": 2.2e-4 / 3.0}),
    }
}

#[test]
fn a_state_comes_back_bit_for_bit() {
    let scratch = Scratch::new();
    let states = StateDir::open(&scratch.join("state")).unwrap();
    assert!(states.load().unwrap().is_none());
    let mut odd = state(3);
    let nasty = [f32::MIN_POSITIVE / 2.0, -0.0, f32::INFINITY, f32::MAX];
    odd.m = Moment::F32(nasty.to_vec().into());
    odd.v = Moment::Bf16(nasty.map(bf16::from_f32).to_vec().into());
    // Every one of these is read wrongly by a parser that is not exact.
    let mut random = SplitMix(9);
    let exact: Vec<f64> = (0..500).map(|_| f64::from_bits(random.next() >> 2 | 1 << 60)).collect();
    odd.extra = json!(exact);
    states.save(&odd).unwrap();
    let loaded = states.load().unwrap().unwrap();
    assert!(loaded.damaged.is_empty());
    assert_eq!(loaded.state, odd);
    let bits = |moment: &Moment| match moment {
        Moment::F32(values) => values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        Moment::Bf16(values) => values.iter().map(|v| v.to_bits().into()).collect(),
    };
    assert_eq!([&loaded.state.m, &loaded.state.v].map(bits), [&odd.m, &odd.v].map(bits));
}

#[test]
fn the_newest_two_are_kept_whatever_was_saved_between() {
    let scratch = Scratch::new();
    let (straight, disturbed) = (scratch.join("a"), scratch.join("b"));
    for (dir, steps) in [(&straight, &[2, 4, 6][..]), (&disturbed, &[2, 3, 4, 4, 6])] {
        for &step in steps {
            StateDir::open(dir).unwrap().save(&state(step)).unwrap();
        }
    }
    assert_eq!(tree(&straight), tree(&disturbed));
    let names: Vec<_> = tree(&straight).into_keys().filter(|n| n.ends_with("manifest.json")).collect();
    assert_eq!(names, ["step-00000004/manifest.json", "step-00000006/manifest.json"]);
}

#[test]
fn a_damaged_newest_state_is_reported_and_the_one_before_serves() {
    let scratch = Scratch::new();
    let dir = scratch.join("state");
    let states = StateDir::open(&dir).unwrap();
    states.save(&state(1)).unwrap();
    states.save(&state(2)).unwrap();
    let undisturbed = tree(&dir);
    let mut random = SplitMix(5);
    for (name, bytes) in undisturbed.iter().filter(|(name, _)| name.starts_with("step-00000002")) {
        for _ in 0..20 {
            let mut other = bytes.clone();
            other[random.below(bytes.len())] ^= 1 << random.below(8);
            fs::write(dir.join(name), other).unwrap();
            let loaded = states.load().unwrap().unwrap();
            assert_eq!(loaded.state, state(1));
            assert_names(&loaded.damaged[0], &[name, ". "]);
        }
        // The run goes on from step 1 and comes to step 2 again: the damaged folder gives way.
        states.save(&state(2)).unwrap();
        assert_eq!(tree(&dir), undisturbed);
    }
}

#[test]
fn a_damaged_state_of_a_later_step_does_not_outlive_the_resumed_run() {
    let scratch = Scratch::new();
    let dir = scratch.join("state");
    let states = StateDir::open(&dir).unwrap();
    states.save(&state(10)).unwrap();
    states.save(&state(20)).unwrap();
    fs::write(dir.join("step-00000020/state.json"), b"{}").unwrap();
    states.save(&state(15)).unwrap();
    let loaded = states.load().unwrap().unwrap();
    assert_eq!((loaded.state.step, loaded.damaged.len()), (15, 0));
}

#[test]
fn no_whole_state_is_an_error_that_names_each() {
    let scratch = Scratch::new();
    let dir = scratch.join("state");
    let states = StateDir::open(&dir).unwrap();
    states.save(&state(1)).unwrap();
    states.save(&state(2)).unwrap();
    fs::remove_file(dir.join("step-00000001/manifest.json")).unwrap();
    fs::remove_file(dir.join("step-00000002/state.safetensors")).unwrap();
    let error = states.load().unwrap_err();
    assert!(matches!(&error, StoreError::NoWholeState { damaged, .. } if damaged.len() == 2));
    assert_names(&error, &["step-00000001", "step-00000002/state.safetensors", "to begin this stage again"]);
}

#[test]
fn a_renamed_folder_is_not_taken_for_another_step() {
    let scratch = Scratch::new();
    let dir = scratch.join("state");
    let states = StateDir::open(&dir).unwrap();
    states.save(&state(1)).unwrap();
    fs::rename(dir.join("step-00000001"), dir.join("step-00000009")).unwrap();
    assert_names(&states.load().unwrap_err(), &["step-00000009", "of step 1, its folder of step 9"]);
    fs::rename(dir.join("step-00000009"), dir.join("step-9")).unwrap();
    assert!(states.load().unwrap().is_none());
}

#[test]
fn a_third_state_left_by_a_kill_before_the_tidying_goes() {
    let scratch = Scratch::new();
    let (dir, other) = (scratch.join("state"), scratch.join("other"));
    let states = StateDir::open(&dir).unwrap();
    states.save(&state(2)).unwrap();
    states.save(&state(3)).unwrap();
    let undisturbed = tree(&dir);
    StateDir::open(&other).unwrap().save(&state(1)).unwrap();
    fs::rename(other.join("step-00000001"), dir.join("step-00000001")).unwrap();
    assert_eq!(StateDir::open(&dir).unwrap().load().unwrap().unwrap().state, state(3));
    assert_eq!(tree(&dir), undisturbed);
}

#[test]
fn opening_sweeps_a_half_built_state_and_clearing_removes_all() {
    let scratch = Scratch::new();
    let dir = scratch.join("state");
    fs::create_dir_all(dir.join(".step-00000003.reseek-tmp")).unwrap();
    fs::write(dir.join(".step-00000003.reseek-tmp/state.json"), b"{").unwrap();
    let states = StateDir::open(&dir).unwrap();
    assert!(tree(&dir).is_empty());
    states.save(&TrainState { extra: Value::Null, ..state(1) }).unwrap();
    states.clear().unwrap();
    assert!(!dir.exists());
}
