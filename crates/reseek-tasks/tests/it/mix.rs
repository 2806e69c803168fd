//! Mixtures of families, and the held-out set.

use std::collections::BTreeSet;

use reseek_tasks::{Family, FormMix, Language, MixError, Problem, Split, TaskMix, document, heldout_set, sample};

#[test]
fn a_mix_keeps_its_shares() {
    let mix = TaskMix { families: vec![Family::Addition, Family::Clock], levels: [1.0, 0.0, 1.0], chinese_share: 0.25 };
    let drawn: Vec<Problem> = (0..2000).map(|i| sample(1, i, Split::Train, &mix)).collect();
    let share = |f: &dyn Fn(&Problem) -> bool| drawn.iter().filter(|p| f(p)).count() as f64 / 2000.0;
    assert!((share(&|p| p.language == Language::Chinese) - 0.25).abs() < 0.05);
    assert!((share(&|p| p.level == 1) - 0.5).abs() < 0.05);
    assert_eq!(share(&|p| p.level == 2), 0.0);
    assert!((share(&|p| p.family == "clock") - 0.5).abs() < 0.05);
}

#[test]
fn impossible_mixes_are_refused() {
    let mix = TaskMix::default();
    assert_eq!(mix.validate(), Ok(()));
    assert_eq!(TaskMix { families: vec![], ..mix.clone() }.validate(), Err(MixError::NoFamily));
    for levels in [[0.0; 3], [f64::NAN, 1.0, 1.0], [-1.0, 1.0, 1.0], [f64::INFINITY, 0.0, 0.0]] {
        assert!(matches!(TaskMix { levels, ..mix.clone() }.validate(), Err(MixError::Levels { .. })));
    }
    for chinese_share in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(TaskMix { chinese_share, ..mix.clone() }.validate(), Err(MixError::ChineseShare { .. })));
    }
}

#[test]
fn the_held_out_set_is_balanced_and_without_repeats() {
    let mix = TaskMix::default();
    let set = heldout_set(1, 380, &mix);
    assert_eq!(set.len(), 380);
    let questions: BTreeSet<&str> = set.iter().map(|p| p.question.as_str()).collect();
    let ids: BTreeSet<&str> = set.iter().map(|p| p.id.as_str()).collect();
    assert_eq!((questions.len(), ids.len()), (380, 380));
    for family in Family::ALL {
        for language in Language::ALL {
            let count = set.iter().filter(|p| p.family == family.name() && p.language == language).count();
            assert_eq!(count, 10, "{family} in {language:?}");
        }
    }
    assert_eq!(heldout_set(1, 40, &mix)[..], set[..40]);
    let chinese = heldout_set(1, 19, &mix).iter().filter(|p| p.language == Language::Chinese).count();
    assert_eq!(chinese, 9);
    let english = TaskMix { chinese_share: 0.0, ..mix };
    assert!(heldout_set(1, 38, &english).iter().all(|p| p.language == Language::English));
}

#[test]
fn a_small_world_gives_what_it_has() {
    let mix = TaskMix { families: vec![Family::ChainSum], levels: [1.0, 0.0, 0.0], chinese_share: 0.0 };
    let set = heldout_set(1, 100_000, &mix);
    assert!((50..2000).contains(&set.len()), "{} problems", set.len());
}

#[test]
fn documents_have_the_forms_of_the_mixture() {
    let forms = FormMix { conversation_share: 0.5, mixed_language_share: 0.3, ..FormMix::default() };
    let (mut conversations, mut mixed) = (0, 0);
    for i in 0..600 {
        let problem = sample(1, i, Split::Train, &TaskMix::default());
        let text = document(&problem, 1, i, &forms);
        assert_eq!(text, document(&problem, 1, i, &forms));
        assert!(text.contains(&problem.question));
        conversations += usize::from(text.contains("<think>") && text.contains("User:"));
        mixed += usize::from(text.contains(problem.mixed_language_solution().expect("both chains")));
    }
    assert!((240..360).contains(&conversations) && (120..240).contains(&mixed), "{conversations} {mixed}");
}
