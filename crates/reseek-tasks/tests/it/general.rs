//! Non-reasoning exchanges and preference pairs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use reseek_tasks::{Flaw, Language, general, language_share_quoting, preference_pair};

#[test]
fn there_are_more_than_a_hundred_exchanges_in_each_language() {
    let mut prompts: BTreeMap<Language, BTreeSet<String>> = BTreeMap::new();
    for i in 0..6000 {
        let exchange = general(1, "r1", i);
        assert_eq!(exchange, general(1, "r1", i));
        let share = language_share_quoting(&exchange.response, exchange.language, &exchange.prompt);
        assert!(share >= 0.8, "{exchange:?} has share {share}");
        prompts.entry(exchange.language).or_default().insert(exchange.prompt);
    }
    for language in Language::ALL {
        assert!(prompts[&language].len() >= 100, "{} in {language:?}", prompts[&language].len());
    }
}

/// The share of pieces of ten characters that stood in `text` before.
fn repeated(text: &str) -> f64 {
    let characters: Vec<char> = text.chars().collect();
    let distinct: HashSet<&[char]> = characters.windows(10).collect();
    let all = characters.windows(10).count();
    (all - distinct.len()) as f64 / all.max(1) as f64
}

#[test]
fn a_rejected_response_has_its_flaw_and_a_chosen_one_has_none() {
    let mut seen = BTreeMap::new();
    for i in 0..1000 {
        let pair = preference_pair(1, i);
        assert_ne!(pair.chosen, pair.rejected);
        *seen.entry(format!("{:?}", pair.flaw)).or_insert(0) += 1;
        let share = |text: &str| language_share_quoting(text, pair.language, &pair.prompt);
        assert!(share(&pair.chosen) >= 0.8 && repeated(&pair.chosen) < 0.1, "{pair:?}");
        match pair.flaw {
            Flaw::WrongLanguage => assert!(share(&pair.rejected) < 0.7, "{pair:?}"),
            Flaw::Repetitive => assert!(repeated(&pair.rejected) > 0.3, "{pair:?}"),
            Flaw::Rambling => assert!(pair.rejected.len() > pair.chosen.len() + 40, "{pair:?}"),
            Flaw::Rude => assert!(!pair.rejected.starts_with(&pair.chosen), "{pair:?}"),
        }
    }
    assert_eq!(seen.len(), Flaw::ALL.len());
    assert!(seen.values().all(|&count| count > 150), "{seen:?}");
}
