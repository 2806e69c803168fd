//! Tokenizers with byte fallback to the parts of a GGUF file and back: what their merges come to, by scores.

use std::collections::BTreeMap;
use std::path::Path;

use reseek_text::{TokenKind, Tokenizer, TokenizerParts};
use serde_json::{Value, json};

use crate::parts::{check_same, join_best, texts};

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers").join(name)
}

/// A tokenizer.json without the begin token, which only the configuration names.
fn fixture(name: &str) -> Value {
    let mut json: Value = serde_json::from_slice(&std::fs::read(folder(name).join("tokenizer.json")).unwrap()).unwrap();
    json["post_processor"] = Value::Null;
    json
}

fn read(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes(), "changed").unwrap()
}

/// Numbers below `n`, the same each time.
struct Dice(u32);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) as usize % n
    }

    fn text(&mut self, letters: &[char], length_max: usize) -> String {
        let length = self.below(length_max) + 1;
        (0..length).map(|_| letters[self.below(letters.len())]).collect()
    }
}

#[test]
fn llama_2_mistral_and_gemma_go_there_and_back() {
    let mut dice = Dice(1);
    let letters: Vec<char> = "  \nthecasTFr.ä".chars().collect();
    for (name, has_prefix) in [("llama-2", true), ("mistral", true), ("gemma", false)] {
        let tokenizer = Tokenizer::from_folder(&folder(name)).unwrap();
        let parts = tokenizer.to_parts().unwrap();
        assert_eq!((parts.bos, parts.eos, parts.add_bos, parts.add_eos), (Some(1), Some(2), Some(true), Some(false)));
        assert_eq!((parts.add_space_prefix, parts.pre.as_str(), parts.merges.len()), (Some(has_prefix), "", 0));
        let kind = |token: &str| parts.kinds[tokenizer.token_id(token).unwrap() as usize];
        assert_eq!((kind("<unk>"), kind("</s>")), (TokenKind::Unknown, TokenKind::Control));
        assert_eq!((kind("<0x0A>"), kind("▁cat"), kind("▁▁")), (TokenKind::Byte, TokenKind::Normal, TokenKind::Normal));
        assert_eq!(
            tokenizer.token_id("<b>").map(|_| kind("<b>")),
            (name != "llama-2").then_some(TokenKind::UserDefined)
        );
        let score = |token: &str| parts.scores[tokenizer.token_id(token).unwrap() as usize];
        assert_eq!([score("th"), score("▁the"), score("▁▁"), score("▁"), score("a")], [0.0, -2.0, -8.0, -9.0, -10.0]);
        assert_eq!([score("<s>"), score("<0xFF>")], [0.0, 0.0]);

        let back = Tokenizer::from_parts(&parts, name).unwrap();
        assert_eq!(back.to_parts().unwrap(), parts);
        let random: Vec<String> = (0..500).map(|_| dice.text(&letters, 30)).collect();
        for text in texts().iter().chain(&random) {
            // Metaspace puts no blank before one.
            if name != "mistral" || !text.starts_with(' ') {
                check_same(&tokenizer, &back, text, name);
            }
        }
    }
}

/// A tokenizer of these tokens, in this order, and merges.
fn tokenizer_of(tokens: &[String], merges: &[[String; 2]]) -> Tokenizer {
    let mut json = fixture("gemma");
    json["added_tokens"].as_array_mut().unwrap().truncate(3);
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    vocab.retain(|_, id| id.as_u64().unwrap() < 259);
    for (at, token) in tokens.iter().enumerate() {
        vocab.insert(token.clone(), json!(259 + at));
    }
    json["model"]["merges"] = json!(merges);
    read(&json)
}

/// What llama.cpp makes of a text by scores.
fn ids_by_score(parts: &TokenizerParts, text: &str) -> Vec<u32> {
    let tokens = || parts.tokens.iter().zip(&parts.scores).zip(0_u32..).filter(|(_, id)| *id >= 259);
    let known: BTreeMap<String, f32> = tokens().map(|((token, score), _)| (token.clone(), *score)).collect();
    let ids: BTreeMap<&str, u32> = tokens().map(|((token, _), id)| (token.as_str(), id)).collect();
    let symbols = join_best(&known, &text.replace(' ', "▁"));
    let of = |symbol: &String| match ids.get(symbol.as_str()) {
        Some(id) => vec![*id],
        None => symbol.bytes().map(|byte| 3 + u32::from(byte)).collect(),
    };
    symbols.iter().flat_map(of).collect()
}

#[test]
fn any_merges_have_the_same_ids_by_scores_or_are_refused() {
    let (mut n_good, mut reasons) = (0, BTreeMap::<String, usize>::new());
    for seed in 0..600 {
        let mut dice = Dice(seed);
        let mut tokens: Vec<String> = ["▁", "a", "b", "c"].map(str::to_owned).to_vec();
        for _ in 0..dice.below(12) + 1 {
            let token = tokens[dice.below(tokens.len())].clone() + &tokens[dice.below(tokens.len())];
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        if seed % 10 == 0 {
            tokens.push("aä".into());
        }
        // Every split, some left out, in any order or roughly that of the tokens.
        let mut merges: Vec<(usize, [String; 2])> = Vec::new();
        let is_loose = dice.below(2) == 0;
        let loss = [40, 6][dice.below(2)];
        for (place, token) in tokens.iter().enumerate() {
            for (at, _) in token.char_indices().skip(1) {
                let halves = [&token[..at], &token[at..]].map(str::to_owned);
                if halves.iter().all(|half| tokens.contains(half)) && dice.below(loss) > 0 {
                    let place = if is_loose { dice.below(100) } else { 10 * place + dice.below(25) };
                    merges.push((place, halves));
                }
            }
        }
        merges.sort();
        let merges: Vec<[String; 2]> = merges.into_iter().map(|(_, halves)| halves).collect();
        let tokenizer = tokenizer_of(&tokens, &merges);
        match tokenizer.to_parts() {
            Ok(parts) => {
                n_good += 1;
                let back = Tokenizer::from_parts(&parts, "back").unwrap();
                for _ in 0..60 {
                    let text = dice.text(&[' ', 'a', 'b', 'c', 'ä'], 24);
                    let ids = tokenizer.encode(&text).unwrap();
                    assert_eq!(back.encode(&text).unwrap(), ids, "{seed}: {text:?} {merges:?}");
                    assert_eq!(ids_by_score(&parts, &text), ids, "{seed}: {text:?} {merges:?} {:?}", parts.scores);
                }
            }
            Err(error) => {
                let error = error.to_string();
                let reason = ["no merge of", "in bytes"].into_iter().find(|reason| error.contains(reason));
                *reasons.entry(reason.unwrap_or(&error).to_owned()).or_default() += 1;
            }
        }
    }
    assert!(n_good > 100, "{n_good} of 600 have parts");
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["in bytes", "no merge of"]);
}

#[test]
fn runs_of_blanks_grow_as_gemmas() {
    // One score for all runs, and transformers' order of merges: by the length of their halves.
    let runs: Vec<String> = (1..=7).map(|n| "▁".repeat(n)).collect();
    let mut merges: Vec<[String; 2]> = Vec::new();
    for left in runs.iter().rev() {
        merges.extend(runs.iter().rev().map(|right| [left.clone(), right.clone()]));
    }
    merges.retain(|halves| runs.contains(&halves.concat()));
    merges.extend([["▁", "a"], ["▁▁", "a"], ["▁", "▁a"]].map(|halves| halves.map(str::to_owned)));
    let tokens = [runs, ["a", "▁a", "▁▁a"].map(str::to_owned).to_vec()].concat();
    let tokenizer = tokenizer_of(&tokens, &merges);
    let parts = tokenizer.to_parts().unwrap();
    let mut tied = parts.clone();
    tied.scores[260..266].fill(0.0);
    for parts in [parts, tied] {
        let back = Tokenizer::from_parts(&parts, "back").unwrap();
        for n in 0..40 {
            let text = format!("a{}a{}", " ".repeat(n), " ".repeat(40 - n));
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(back.encode(&text).unwrap(), ids, "{n} blanks");
            assert_eq!(ids_by_score(&parts, &text), ids, "{n} blanks");
        }
    }
}

#[test]
fn what_scores_cannot_say_is_refused() {
    let refuse = |name: &str, change: &dyn Fn(&mut Value), expect: &str| {
        let mut json = fixture(name);
        change(&mut json);
        let error = read(&json).to_parts().unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains(". "), "{error}");
    };
    refuse("llama-2", &|json| json["model"]["byte_fallback"] = false.into(), "it is BPE. ");
    refuse("llama-2", &|json| json["model"]["ignore_merges"] = true.into(), "without their merges");
    refuse("llama-2", &|json| json["normalizer"] = json!({"type": "NFKC"}), "the normalizer {\"type\":\"NFKC\"}");
    refuse("llama-2", &|json| json["normalizer"] = Value::Null, "leaves blanks as they are");
    refuse("gemma", &|json| json["normalizer"]["content"] = "_".into(), "the normalizer");
    refuse("mistral", &|json| json["pre_tokenizer"]["split"] = true.into(), "its pre-tokenizer has");
    refuse("gemma", &|json| json["pre_tokenizer"]["pattern"]["String"] = "a".into(), "its pre-tokenizer has");
    refuse(
        "llama-2",
        &|json| json["model"]["merges"].as_array_mut().unwrap().truncate(8),
        "no merge of \"▁\" and \"▁\", and llama.cpp joins them to its token \"▁▁\"",
    );
    refuse(
        "llama-2",
        &|json| {
            let vocab = json["model"]["vocab"].as_object_mut().unwrap();
            vocab.remove("<0x41>");
        },
        "no token <0x41>",
    );
    refuse(
        "llama-2",
        &|json| {
            json["model"]["vocab"]["<0x41>a"] = json!(400);
            json["model"]["merges"].as_array_mut().unwrap().push(json!(["<0x41>", "a"]));
        },
        "\"<0x41>\" and \"a\"",
    );
    refuse("llama-2", &|json| json["model"]["vocab"]["a世"] = json!(314), "joins \"a\" and \"世\"");
    refuse("llama-2", &|json| json["model"]["vocab"]["a".repeat(600)] = json!(314), "600 characters");
    let flag = |json: &mut Value, flag: &str| {
        let mut token = json["added_tokens"][0].clone();
        (token["id"], token["content"], token["special"]) = (314.into(), "<sep>".into(), false.into());
        token[flag] = true.into();
        json["added_tokens"].as_array_mut().unwrap().push(token);
    };
    refuse("llama-2", &|json| flag(json, "rstrip"), "\"<sep>\" is tied to what stands beside it");
    refuse("llama-2", &|json| flag(json, "normalized"), "\"<sep>\" is sought in normalized text");
    let frame = |json: &mut Value| {
        let token = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let special = json!({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}});
        json["post_processor"] = json!({
            "type": "TemplateProcessing", "single": [token, token, text], "pair": [text], "special_tokens": special,
        });
    };
    refuse("llama-2", &frame, "the tokens [1, 1] before a text");
}
