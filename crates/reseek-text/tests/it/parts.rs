//! Tokenizers from the parts of GGUF files and back: llama.cpp's own vectors where `RESEEK_LLAMA_CPP_VOCABS` names its folder of
//! vocabularies (`models` of its repository, also in the source package of llama-cpp-python), SentencePiece's merges by a slow plain way,
//! and ours through llama.cpp's splits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_text::{PartsModel, Special, TokenKind, Tokenizer, TokenizerParts};

use crate::{DOCUMENTS, TOKENIZER};

/// Texts on which splits and merges may disagree.
pub fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "  a",
        "a  b\n\n c\t\t",
        "I'll you'RE don'T 's",
        "1 12 123 1234 12345678 3.14 1,000,000",
        "x1y22z333",
        "٣٤٥٦ ४५६७ ①②③④ ½⅓ ⅧⅨ 〇〇",
        "世界12你好345。，！",
        "ひらがなカタカナ漢字",
        "äöüÄÖÜß ÀÉ",
        "e\u{301}e\u{301}",
        "fn main() { println!(\"{}\", 1_000); }",
        "…—–‘’“”",
        "😀👩‍👩‍👧 🏳️‍🌈",
        "\r\n\r\n\n",
        "a\u{a0}b\u{3000}c",
        "CamelCaseWords HTTPServer",
        "<think>no</think>",
        "\u{0}\u{1f}\u{7f}",
        "한국어 العربية עברית",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(DOCUMENTS.iter().map(|document| document.chars().take(2000).collect()));
    texts
}

pub fn check_same(left: &Tokenizer, right: &Tokenizer, text: &str, name: &str) {
    assert_eq!(left.encode_framed(text).unwrap(), right.encode_framed(text).unwrap(), "{name}: {text:?}");
    assert_eq!(left.encode(text).unwrap(), right.encode(text).unwrap(), "{name}: {text:?}");
}

#[test]
fn ours_goes_there_and_back() {
    let numbers: Vec<String> = (0..2000).map(|n| format!("{n} + {} ٣{n} ①② ٤٥٦", n * 7)).collect();
    let mut documents: Vec<&str> = DOCUMENTS.to_vec();
    documents.extend(numbers.iter().map(String::as_str));
    for digit_group in [1, 3] {
        let ours = Tokenizer::train(&documents, 1500, digit_group).unwrap();
        let parts = ours.to_parts().unwrap();
        assert_eq!(parts.pre, "deepseek-v3");
        assert_eq!((parts.bos, parts.eos, parts.pad), (Some(0), Some(1), Some(2)));
        assert_eq!((parts.add_bos, parts.add_eos), (Some(true), Some(false)));
        let kind = |special| parts.kinds[ours.special(special).unwrap() as usize];
        assert_eq!((kind(Special::User), kind(Special::ThinkOpen)), (TokenKind::Control, TokenKind::UserDefined));
        let back = Tokenizer::from_parts(&parts, "back").unwrap();
        for text in texts() {
            assert_eq!(ours.encode(&text).unwrap(), back.encode(&text).unwrap(), "{digit_group}: {text:?}");
            // `<｜User｜>` in a text to be scored is a token of ours, and a control token there.
            if text.contains('｜') {
                continue;
            }
            let framed = back.encode_framed(&text).unwrap();
            assert_eq!(ours.encode_framed(&text).unwrap(), framed, "{digit_group}: {text:?}");
            assert_eq!(ours.decode(&framed), back.decode(&framed));
        }
        assert_eq!(back.to_parts().unwrap(), parts);
    }
}

#[test]
fn what_has_no_name_there_is_refused() {
    let refuse = |tokenizer: &Tokenizer, expect: &str| {
        let error = tokenizer.to_parts().unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains(". "), "{error}");
    };
    refuse(&Tokenizer::train(&DOCUMENTS, 500, 2).unwrap(), "no name for its pre-tokenizer");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    for (name, expect) in [("t5", "Unigram"), ("bert", "WordPiece")] {
        refuse(&Tokenizer::from_folder(&folder.join(name)).unwrap(), expect);
    }
    for name in ["llama-3", "qwen2", "smollm2", "gpt2"] {
        let tokenizer = Tokenizer::from_folder(&folder.join(name)).unwrap();
        // The fixture of Llama 3 has Qwen's splits without Qwen's normalizer.
        let pre = match name {
            "llama-3" => "stablelm2",
            "qwen2" => "qwen2",
            "smollm2" => "smollm",
            _ => "gpt-2",
        };
        let parts = tokenizer.to_parts().unwrap();
        assert_eq!(parts.pre, pre);
        let back = Tokenizer::from_parts(&parts, "back").unwrap();
        texts().iter().for_each(|text| check_same(&tokenizer, &back, text, name));
    }
    // Digits one by one, and a merge that joins two of them.
    let mut json: serde_json::Value = serde_json::from_slice(TOKENIZER.to_json()).unwrap();
    let next = TOKENIZER.vocab_size();
    json["model"]["vocab"]["12"] = serde_json::json!(next);
    json["model"]["merges"].as_array_mut().unwrap().push(serde_json::json!("1 2"));
    refuse(&Tokenizer::from_bytes(json.to_string().as_bytes(), "joined").unwrap(), "joins the digits 1 and 2");
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let good = TOKENIZER.to_parts().unwrap();
    let refuse = |change: &dyn Fn(&mut TokenizerParts), expect: &str| {
        let mut parts = good.clone();
        change(&mut parts);
        let error = Tokenizer::from_parts(&parts, "x.gguf").unwrap_err().to_string();
        assert!(error.starts_with("x.gguf: ") && error.contains(expect) && error.contains(". "), "{error}");
    };
    refuse(&|parts| parts.pre = "nobodys".into(), "the pre-tokenizer is \"nobodys\"");
    refuse(&|parts| parts.kinds.truncate(3), "tokens have 3 kinds");
    refuse(&|parts| parts.eos = Some(1 << 40), "the end token is 1099511627776");
    refuse(&|parts| parts.merges[0] = "a".into(), "not of two tokens");
    refuse(&|parts| parts.merges[0] = "世 界".into(), "vocab");
    refuse(&|parts| parts.model = PartsModel::SentencePiece, "have 0 scores");
}

/// SentencePiece's own way (`bpe_model.cc`): join the best neighbours again and again.
pub fn join_best(pieces: &BTreeMap<String, f32>, text: &str) -> Vec<String> {
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for (at, pair) in symbols.windows(2).enumerate() {
            if let Some(&score) = pieces.get(&pair.concat())
                && best.is_none_or(|(other, _)| score > other)
            {
                best = Some((score, at));
            }
        }
        let Some((_, at)) = best else { return symbols };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
}

#[test]
fn sentence_piece_joins_by_score() {
    let pieces = ["▁", "a", "b", "c", "d", "ab", "bc", "▁a", "abc", "▁ab", "cd", "bcd", "▁▁", "dd", "▁abcd"];
    let scores = |seed: usize| (0..pieces.len()).map(|i| -(((i * 7 + seed * 5) % 31) as f32)).collect::<Vec<_>>();
    for seed in 0..40 {
        let mut parts = TokenizerParts {
            model: PartsModel::SentencePiece,
            tokens: ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec(),
            kinds: vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control],
            scores: vec![0.0; 3],
            merges: Vec::new(),
            pre: String::new(),
            bos: Some(1),
            eos: Some(2),
            pad: None,
            add_bos: None,
            add_eos: None,
            add_space_prefix: (seed % 2 == 1).then_some(false),
        };
        for byte in 0..=255 {
            parts.tokens.push(format!("<0x{byte:02X}>"));
            parts.kinds.push(TokenKind::Byte);
            parts.scores.push(0.0);
        }
        let known: BTreeMap<String, f32> = pieces.iter().map(|piece| (*piece).to_owned()).zip(scores(seed)).collect();
        for (piece, score) in &known {
            parts.tokens.push(piece.clone());
            parts.kinds.push(TokenKind::Normal);
            parts.scores.push(*score);
        }
        let tokenizer = Tokenizer::from_parts(&parts, "parts").unwrap();
        let mut state = seed as u32 + 1;
        for length in 0..60 {
            let mut text = String::new();
            for _ in 0..length {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                text.push([' ', 'a', 'b', 'c', 'd', 'ä'][(state >> 16) as usize % 6]);
            }
            let prefix = if seed % 2 == 0 && !text.is_empty() { "▁" } else { "" };
            let mut expect = vec![1];
            for symbol in join_best(&known, &(prefix.to_owned() + &text.replace(' ', "▁"))) {
                match tokenizer.token_id(&symbol) {
                    Some(id) => expect.push(id),
                    None => expect.extend(symbol.bytes().map(|byte| 3 + u32::from(byte))),
                }
            }
            let ids = tokenizer.encode_framed(&text).unwrap();
            assert_eq!(ids, expect, "{seed}: {text:?}");
            assert_eq!(tokenizer.decode_visible(&ids), text);
        }
    }
}

#[test]
fn llama_cpps_vocabularies_tokenize_as_there() {
    let Some(folder) = std::env::var_os("RESEEK_LLAMA_CPP_VOCABS").map(PathBuf::from) else {
        eprintln!("SKIPPED (1 test): RESEEK_LLAMA_CPP_VOCABS does not name llama.cpp's vocabularies");
        return;
    };
    let names = [
        "command-r",
        "deepseek-coder",
        "deepseek-llm",
        "falcon",
        "gpt-2",
        "llama-bpe",
        "llama-spm",
        "mpt",
        "phi-3",
        "qwen2",
        "qwen35",
        "refact",
        "starcoder",
    ];
    let mut wrong = Vec::new();
    for name in names {
        let path = folder.join(format!("ggml-vocab-{name}.gguf"));
        let mut parts = gguf::parts(&path);
        (parts.add_bos, parts.add_eos) = (Some(false), Some(false));
        let tokenizer = Tokenizer::from_parts(&parts, name).unwrap();
        let read = |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display())).unwrap();
        let (texts, lines) = (read("inp"), read("out"));
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let lines: Vec<&str> = lines.lines().collect();
        assert!(texts.len() >= lines.len() && lines.len() > 40, "{name}: {} texts, {} lines", texts.len(), lines.len());
        for (text, line) in texts.iter().zip(lines) {
            let expect: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let ids = tokenizer.encode_framed(text).unwrap();
            if ids != expect {
                wrong.push(format!("{name}: {text:?}\n {ids:?}\n {expect:?}"));
            }
        }
        match tokenizer.to_parts() {
            Ok(back) => {
                let again = Tokenizer::from_parts(&back, name).unwrap();
                self::texts().iter().for_each(|text| check_same(&tokenizer, &again, text, name));
                check_scores(&parts, &back, name);
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether joined pieces come in the order of their scores again. (Those of single characters say nothing.)
fn check_scores(parts: &TokenizerParts, back: &TokenizerParts, name: &str) {
    let is_joined = |id: &usize| back.kinds[*id] == TokenKind::Normal && back.tokens[*id].chars().nth(1).is_some();
    let mut ids: Vec<usize> = (0..back.scores.len()).filter(is_joined).collect();
    ids.sort_by(|&a, &b| back.scores[b].total_cmp(&back.scores[a]));
    for pair in ids.windows(2) {
        let [better, worse] = [pair[0], pair[1]].map(|id| (&parts.tokens[id], parts.scores[id]));
        assert!(better.1 >= worse.1, "{name}: {better:?} comes before {worse:?}");
    }
}

/// As much of a GGUF header as holds a tokenizer.
mod gguf {
    use std::collections::HashMap;
    use std::path::Path;

    use reseek_text::{PartsModel, TokenKind, TokenizerParts};
    use serde_json::{Value, json};

    struct Reader<'a>(&'a [u8]);

    impl Reader<'_> {
        fn take<const N: usize>(&mut self) -> [u8; N] {
            let (head, rest) = self.0.split_first_chunk().unwrap();
            self.0 = rest;
            *head
        }

        fn string(&mut self) -> String {
            let n = u64::from_le_bytes(self.take()) as usize;
            let (head, rest) = self.0.split_at(n);
            self.0 = rest;
            String::from_utf8_lossy(head).into_owned()
        }

        fn value(&mut self, kind: u32) -> Value {
            match kind {
                0 => json!(self.take::<1>()[0]),
                1 => json!(self.take::<1>()[0] as i8),
                2 => json!(u16::from_le_bytes(self.take())),
                3 => json!(i16::from_le_bytes(self.take())),
                4 => json!(u32::from_le_bytes(self.take())),
                5 => json!(i32::from_le_bytes(self.take())),
                6 => json!(f32::from_le_bytes(self.take())),
                7 => json!(self.take::<1>()[0] != 0),
                8 => json!(self.string()),
                9 => {
                    let kind = u32::from_le_bytes(self.take());
                    let n = u64::from_le_bytes(self.take());
                    (0..n).map(|_| self.value(kind)).collect()
                }
                10 => json!(u64::from_le_bytes(self.take())),
                11 => json!(i64::from_le_bytes(self.take())),
                _ => json!(f64::from_le_bytes(self.take())),
            }
        }
    }

    pub fn parts(path: &Path) -> TokenizerParts {
        let bytes = std::fs::read(path).unwrap();
        let mut reader = Reader(&bytes[16..]);
        let n = u64::from_le_bytes(reader.take());
        let mut keys = HashMap::new();
        for _ in 0..n {
            let key = reader.string();
            let kind = u32::from_le_bytes(reader.take());
            keys.insert(key, reader.value(kind));
        }
        let key = |name: &str| keys.get(&format!("tokenizer.ggml.{name}")).cloned().unwrap_or_default();
        let list = |name: &str| key(name).as_array().cloned().unwrap_or_default();
        let strings = |name: &str| list(name).iter().map(|text| text.as_str().unwrap().to_owned()).collect();
        let id = |name: &str| key(name).as_u64().map(|id| id as usize);
        let kind = |kind: &Value| match kind.as_i64().unwrap() {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            _ => TokenKind::Byte,
        };
        let model = if key("model") == "llama" { PartsModel::SentencePiece } else { PartsModel::BytePairs };
        TokenizerParts {
            model,
            tokens: strings("tokens"),
            kinds: list("token_type").iter().map(kind).collect(),
            scores: list("scores").iter().map(|score| score.as_f64().unwrap() as f32).collect(),
            merges: strings("merges"),
            pre: key("pre").as_str().unwrap_or("default").to_owned(),
            bos: id("bos_token_id"),
            eos: id("eos_token_id"),
            pad: id("padding_token_id"),
            add_bos: key("add_bos_token").as_bool(),
            add_eos: key("add_eos_token").as_bool(),
            add_space_prefix: key("add_space_prefix").as_bool(),
        }
    }
}

#[test]
fn affixes_that_are_empty_are_none() {
    let tokenizer = Tokenizer::train(&["the cat sat on the mat; the cat sat; the mat"], 280, 1).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(tokenizer.to_json()).unwrap();
    json["model"]["continuing_subword_prefix"] = "".into();
    json["model"]["end_of_word_suffix"] = "".into();
    let empty = Tokenizer::from_bytes(json.to_string().as_bytes(), "empty").unwrap();
    assert_eq!(empty.to_parts().unwrap(), tokenizer.to_parts().unwrap());
    json["model"]["end_of_word_suffix"] = "</w>".into();
    let error = Tokenizer::from_bytes(json.to_string().as_bytes(), "</w>").and_then(|t| t.to_parts()).unwrap_err();
    assert!(error.to_string().contains("end_of_word_suffix") || error.to_string().contains("</w>"), "{error}");
}
