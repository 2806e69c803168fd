//! Training: deterministic, equal to the reference, digits in groups.

use reseek_text::{Special, TextError, Tokenizer};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, PreTokenizerWrapper, TokenizerBuilder};

use crate::DOCUMENTS;

#[test]
fn order_and_threads_do_not_matter() {
    let mut backwards = DOCUMENTS;
    backwards.reverse();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let many = rayon::ThreadPoolBuilder::new().num_threads(5).build().unwrap();
    let first = one.install(|| Tokenizer::train(&DOCUMENTS, 700, 3).unwrap());
    let second = many.install(|| Tokenizer::train(&backwards, 700, 3).unwrap());
    assert!(first.to_json() == second.to_json());
    assert_eq!(first.vocab_size(), 700);
}

/// The trainer of the tokenizers crate, given the same pre-tokenizer, finds the same merges.
#[test]
fn merges_equal_the_reference_trainer() {
    let ours = Tokenizer::train(&DOCUMENTS, 900, 2).unwrap();
    let json: serde_json::Value = serde_json::from_slice(ours.to_json()).unwrap();
    let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(json["pre_tokenizer"].clone()).unwrap();
    let names = Special::ALL.map(|special| AddedToken::from(special.text(), true));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(900)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(names.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut theirs = TokenizerBuilder::<
        BPE,
        tokenizers::NormalizerWrapper,
        PreTokenizerWrapper,
        tokenizers::PostProcessorWrapper,
        tokenizers::DecoderWrapper,
    >::default()
    .with_model(BPE::default())
    .with_pre_tokenizer(Some(pre_tokenizer))
    .build()
    .unwrap();
    let apart = Special::ALL.into_iter().fold(DOCUMENTS.to_vec(), |parts, special| {
        parts.into_iter().flat_map(|part| part.split(special.text())).collect()
    });
    theirs.train(&mut trainer, apart.into_iter()).unwrap();
    let model = serde_json::to_value(theirs.get_model()).unwrap();
    assert_eq!(json["model"]["vocab"], model["vocab"]);
    let pairs: Vec<String> = model["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()))
        .collect();
    assert_eq!(json["model"]["merges"], serde_json::json!(pairs));
}

#[test]
fn digits_never_outgrow_their_group() {
    let numbers: Vec<String> = (0..4000).map(|n| format!("{} + {} = {}", n, n * 7, n * 8)).collect();
    for group in 1..=3 {
        let tokenizer = Tokenizer::train(&numbers, 2000, group).unwrap();
        let longest = (0..tokenizer.vocab_size() as u32)
            .map(|id| tokenizer.token_bytes(id).iter().filter(|byte| byte.is_ascii_digit()).count())
            .max();
        assert_eq!(longest, Some(group), "digit_group {group}");
        assert_eq!(tokenizer.encode("123456").unwrap().len(), 6 / group, "digit_group {group}");
    }
}

#[test]
fn special_tokens_stand_at_the_head() {
    let tokenizer = &crate::TOKENIZER;
    for (id, special) in Special::ALL.into_iter().enumerate() {
        assert_eq!(tokenizer.special(special).unwrap(), id as u32);
        assert_eq!(tokenizer.token_bytes(id as u32), special.text().as_bytes());
        assert_eq!(tokenizer.encode_with_special(special.text()).unwrap(), [id as u32]);
    }
    // As in DeepSeek's tokenizers, the answer tags are plain text.
    assert!(tokenizer.token_id("<answer>").is_none());
}

#[test]
fn impossible_requests_are_refused() {
    let check = |documents: &[&str], vocab_size, group, expect: &str| {
        let error = Tokenizer::train(documents, vocab_size, group).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}");
        assert!(error.contains(". "), "{error}");
    };
    check(&["text"], 266, 1, "vocab_size 266 is too small: 267 entries are fixed");
    check(&["text"], 500, 0, "digit_group 0");
    check(&["text"], 500, 4, "digit_group 4");
    check(&[], 500, 1, "there is no text");
    check(&[" ", "\n"], 500, 1, "there is no text");
    assert!(matches!(Tokenizer::train(&[""], 300, 1), Err(TextError::EmptyCorpus)));
}

#[test]
fn spellings_of_control_tokens_are_not_learnt() {
    let documents = ["<think> 1 </think> <answer> 2 </answer> "; 50];
    let tokenizer = Tokenizer::train(&documents, 300, 1).unwrap();
    assert!(tokenizer.token_id("answer").is_some());
    assert!(tokenizer.token_id("think").is_none());
}

#[test]
fn little_text_gives_a_small_vocabulary() {
    let tokenizer = Tokenizer::train(&["abab"], 2048, 1).unwrap();
    assert_eq!(tokenizer.vocab_size(), 267 + 1);
    assert_eq!(tokenizer.decode(&tokenizer.encode("abba 世界").unwrap()), "abba 世界");
}
