//! Needle documents have their length, their depth and their answer.

use std::sync::LazyLock;

use reseek_data::{Corpus, Haystack};
use reseek_text::Special;

use crate::{SMALL, TOKENIZER};

static HAYSTACK: LazyLock<Haystack> = LazyLock::new(|| Haystack::new(&SMALL, &TOKENIZER).unwrap());

#[test]
fn needles_fit_length_and_depth() {
    for length in [80, 256, 1024] {
        for (index, depth) in [0.0, 0.25, 0.5, 0.75, 1.0].into_iter().enumerate() {
            let needle = HAYSTACK.needle(&TOKENIZER, 1, index as u64, length, depth).unwrap();
            assert_eq!(needle.prompt.len() + needle.answer.len(), length);
            assert_eq!(needle.answer.len(), 1);
            let text = TOKENIZER.decode_visible(&needle.prompt);
            let answer = TOKENIZER.decode(&needle.answer);
            let name = text.rsplit_once("The code of ").unwrap().1.strip_suffix(" is ").unwrap();
            let fact = format!("The code of {name} is {answer}.");
            assert_eq!(text.matches(&fact).count(), 1, "{text}");
            let rest = TOKENIZER.decode(&needle.prompt[needle.position..]);
            assert!(rest.trim_start().starts_with(&fact), "{rest}");
            let found = needle.position as f64 / length as f64;
            assert!((found - depth).abs() < 0.1 + 40.0 / length as f64, "depth {found} instead of {depth}");
        }
    }
}

#[test]
fn documents_ask_for_every_fact() {
    for n_facts in [1, 4, Haystack::FACTS_MAX] {
        let ids = HAYSTACK.document(&TOKENIZER, 1, 7, 1024, n_facts).unwrap();
        assert_eq!(ids.len(), 1024);
        assert_eq!(ids[1023], TOKENIZER.special(Special::Eos).unwrap());
        let text = TOKENIZER.decode(&ids);
        let codes: Vec<&str> = text.split("The code of ").skip(1).map(|code| code.split_once('.').unwrap().0).collect();
        assert_eq!(codes.len(), 2 * n_facts);
        let (stated, answered) = codes.split_at(n_facts);
        for code in answered {
            assert_eq!(stated.iter().filter(|other| *other == code).count(), 1, "{code} in {text}");
        }
    }
}

#[test]
fn short_documents_have_fewer_facts() {
    let facts = |length| {
        let ids = HAYSTACK.document(&TOKENIZER, 1, 3, length, Haystack::FACTS_MAX).unwrap();
        assert_eq!(ids.len(), length);
        TOKENIZER.decode(&ids).matches("The code of ").count() / 2
    };
    assert_eq!(facts(1024), Haystack::FACTS_MAX);
    assert!((1..Haystack::FACTS_MAX).contains(&facts(192)), "{}", facts(192));
    assert_eq!(facts(64), 1);
    assert!(HAYSTACK.document(&TOKENIZER, 1, 3, 10, 1).is_err());
}

#[test]
fn an_index_is_enough() {
    let needle = |seed, index| HAYSTACK.needle(&TOKENIZER, seed, index, 200, 0.5).unwrap();
    assert_eq!(needle(1, 5), needle(1, 5));
    assert_ne!(needle(1, 5), needle(1, 6));
    assert_ne!(needle(1, 5), needle(2, 5));
}

#[test]
fn other_corpora_and_short_lengths() {
    let error = HAYSTACK.needle(&TOKENIZER, 1, 0, 10, 0.5).unwrap_err().to_string();
    assert!(error.contains("10 were asked for"), "{error}");
    let texts =
        [("床前明月光，疑是地上霜。举头望明月，低头思故乡。", "a"), ("白日依山尽，黄河入海流。欲穷千里目。", "b")];
    let chinese = Haystack::new(&Corpus::from_texts(texts).unwrap(), &TOKENIZER).unwrap();
    // Longer than the corpus: the text comes round again.
    let needle = chinese.needle(&TOKENIZER, 1, 0, 2000, 2.0).unwrap();
    assert_eq!(needle.prompt.len() + needle.answer.len(), 2000);
    assert!(Haystack::new(&Corpus::default(), &TOKENIZER).is_err());
}
