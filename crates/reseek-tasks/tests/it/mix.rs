//! Mixtures of families, and the held-out set.

use std::collections::BTreeSet;

use reseek_tasks::{Family, FormMix, Language, MixError, Problem, Split, TaskMix, document, heldout_set, sample};

#[test]
fn a_mix_keeps_its_shares() {
    let mix = TaskMix { families: vec![Family::Addition, Family::Clock], levels: [1.0, 0.0, 1.0], chinese_share: 0.25 };
    let drawn: Vec<Problem> = (0..2000).map(|i| sample(1, "pretrain", i, Split::Train, &mix)).collect();
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
fn the_test_set_is_balanced_and_without_repeats() {
    let mix = TaskMix::default();
    for split in [Split::Test, Split::Development] {
        let set = heldout_set(1, 380, split, &mix);
        assert_eq!(set.len(), 380);
        assert!(set.iter().all(|p| p.split == split));
        let questions: BTreeSet<&str> = set.iter().map(|p| p.question.as_str()).collect();
        let ids: BTreeSet<&str> = set.iter().map(|p| p.id.as_str()).collect();
        assert_eq!((questions.len(), ids.len()), (380, 380));
        for family in Family::ALL {
            for language in Language::ALL {
                let count = set.iter().filter(|p| p.family == family.name() && p.language == language).count();
                assert_eq!(count, 10, "{family} in {language:?}");
            }
        }
        assert_eq!(heldout_set(1, 40, split, &mix)[..], set[..40]);
        let chinese = set[..19].iter().filter(|p| p.language == Language::Chinese).count();
        assert_eq!(chinese, 9);
        let english = TaskMix { chinese_share: 0.0, ..mix.clone() };
        assert!(heldout_set(1, 38, split, &english).iter().all(|p| p.language == Language::English));
    }
}

/// Sums of three digits have one answer whatever their order: each is asked once, in one wording and one language.
#[test]
fn a_small_world_gives_what_it_has_and_asks_nothing_twice() {
    let mix = TaskMix { families: vec![Family::ChainSum], levels: [1.0, 0.0, 0.0], chinese_share: 0.5 };
    let set = heldout_set(1, 100_000, Split::Test, &mix);
    assert!((10..40).contains(&set.len()), "{} of 165 sums", set.len());
    let asked: BTreeSet<Vec<char>> = set
        .iter()
        .map(|p| {
            let mut digits: Vec<char> = p.question.chars().filter(char::is_ascii_digit).collect();
            digits.sort_unstable();
            digits
        })
        .collect();
    assert_eq!(asked.len(), set.len());
}

/// Stages name their draws: two of them share a problem by chance at most.
#[test]
fn no_purpose_is_given_the_problems_of_another() {
    let mix = TaskMix { families: vec![Family::Subtraction], levels: [0.0, 0.0, 1.0], chinese_share: 0.3 };
    let drawn = |purpose| (0..300).map(|i| sample(1, purpose, i, Split::Train, &mix)).collect::<Vec<_>>();
    let purposes = ["pretrain", "extend/512", "zero/0", "zero/1", "r1_cold_start", "r1_rl/0", "r1_rejection", "r1/0"];
    let sets: Vec<Vec<Problem>> = purposes.into_iter().map(drawn).collect();
    for (i, a) in sets.iter().enumerate() {
        assert!(a[0].id.contains(purposes[i]), "{}", a[0].id);
        for b in &sets[..i] {
            // Of 300,000 differences to train on, two sets of 300 share 0.3.
            let shared = a.iter().filter(|p| b.iter().any(|q| q.answer == p.answer && q.question == p.question));
            assert!(shared.count() <= 4);
        }
    }
}

#[test]
fn documents_have_the_forms_of_the_mixture() {
    let forms = FormMix { conversation_share: 0.5, mixed_language_share: 0.3, ..FormMix::default() };
    let (mut conversations, mut mixed) = (0, 0);
    for i in 0..600 {
        let problem = sample(1, "pretrain", i, Split::Train, &TaskMix::default());
        let text = document(&problem, 1, i, &forms);
        assert_eq!(text, document(&problem, 1, i, &forms));
        assert!(text.contains(&problem.question));
        conversations += usize::from(text.contains("<think>") && text.contains("User:"));
        mixed += usize::from(text.contains(problem.mixed_language_solution().expect("both chains")));
    }
    assert!((240..360).contains(&conversations) && (120..240).contains(&mixed), "{conversations} {mixed}");
}
