//! Every kind of tokenizer gives a text the ids of transformers, puts around it what transformers puts there (the post-processor decides,
//! whatever the configuration says of begin tokens), and makes the same text of the ids. Fixtures and what is expected are made by fixtures/make_tokenizers.py.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_text::{
    ChatTemplate, GenerationPrompt, Message, PartsModel, Special, StreamDecoder, TokenKind, Tokenizer, TokenizerParts,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    bos: Option<u32>,
    eos: Option<u32>,
    texts: Vec<Text>,
    question: String,
    chat: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
    /// What decoding makes of the ids: with special tokens and without.
    decoded: Option<String>,
    visible: Option<String>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_slice(&std::fs::read(fixtures().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn texts_and_conversations_have_the_ids_of_transformers() {
    let expected = expected();
    assert_eq!(expected.len(), 16, "a kind of tokenizer is missing");
    for (name, expected) in expected {
        let folder = fixtures().join(&name);
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!(tokenizer.special(Special::Bos).ok(), expected.bos, "{name}");
        assert_eq!(tokenizer.special(Special::Eos).ok(), expected.eos, "{name}");
        for Text { text, ids, decoded, visible } in expected.texts {
            assert_eq!(tokenizer.encode_framed(&text).unwrap(), ids, "{name}: {text:?}");
            if let (Some(decoded), Some(visible)) = (decoded, visible) {
                assert_eq!(tokenizer.decode(&ids), decoded, "{name}: {text:?}");
                assert_eq!(tokenizer.decode_visible(&ids), visible, "{name}: {text:?}");
                let mut stream = StreamDecoder::new(&tokenizer);
                let pieces: String = ids.iter().map(|&id| stream.push(id)).collect();
                assert_eq!(pieces + &stream.finish(), decoded, "{name}: {text:?}");
            }
        }
        // A template that writes the begin token itself gets no second one.
        let template = ChatTemplate::from_folder(&folder).unwrap();
        let messages = [Message::user(expected.question)];
        let chat =
            template.map(|template| template.encode(&tokenizer, &messages, GenerationPrompt::Assistant).unwrap());
        assert_eq!(chat, expected.chat, "{name}");
    }
}

#[test]
fn a_text_that_spells_the_begin_token_stays_text() {
    let tokenizer = Tokenizer::from_folder(&fixtures().join("llama-3")).unwrap();
    let bos = tokenizer.special(Special::Bos).unwrap();
    let ids = tokenizer.encode_framed("<|begin_of_text|>The").unwrap();
    assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1);
    assert_eq!(ids[0], bos);
}

/// Added tokens are found here by our own code: it finds what the tokenizers crate finds, and all else is the crate's.
#[test]
fn templates_text_is_encoded_as_by_the_crate() {
    let mut tokenizers: Vec<Tokenizer> =
        expected().into_keys().map(|name| Tokenizer::from_folder(&fixtures().join(name)).unwrap()).collect();
    tokenizers.push(Tokenizer::train(&crate::DOCUMENTS, 1500, 1).unwrap());
    for tokenizer in tokenizers {
        // As the file has them: the flags of a configuration are transformers' own.
        let tokenizer = Tokenizer::from_bytes(tokenizer.to_json(), "tokenizer.json").unwrap();
        let theirs = tokenizers::Tokenizer::from_bytes(tokenizer.to_json()).unwrap();
        let mut texts: Vec<String> = crate::DOCUMENTS.map(str::to_owned).to_vec();
        for added in tokenizer.added_tokens() {
            let token = added.token;
            texts.push(format!("the{token}  {token}cat {token}\n{token}{token} _{token} ä{token}世 <{token}>"));
        }
        for text in texts {
            let expect = theirs.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(tokenizer.encode_with_special(&text).unwrap(), expect.get_ids(), "{text:.200}");
        }
    }
}

/// Of every kind: what a user writes is no special token, as it is, in a template's slot, and after normalizing.
#[test]
fn users_write_no_special_token() {
    for name in expected().into_keys() {
        let folder = fixtures().join(&name);
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        let file: serde_json::Value = serde_json::from_slice(tokenizer.to_json()).unwrap();
        let added = file["added_tokens"].as_array().unwrap();
        for token in added {
            let (id, spelling) = (token["id"].as_u64().unwrap() as u32, token["content"].as_str().unwrap());
            let is_unknown = ["<unk>", "[UNK]"].contains(&spelling);
            let is_blank = spelling.chars().all(|c| c == ' ' || c == '▁');
            if is_unknown || is_blank {
                continue;
            }
            let wide: String = spelling
                .chars()
                .map(|c| {
                    if c == '<' {
                        '＜'
                    } else if c == '>' {
                        '＞'
                    } else {
                        c
                    }
                })
                .collect();
            for text in [spelling.to_owned(), format!("the {spelling}{spelling} cat"), format!("<{spelling}"), wide] {
                let plain = tokenizer.encode(&text).unwrap();
                assert!(!plain.contains(&id), "{name}: {text:?} {plain:?}");
                let slot = format!("the{spelling}{}{spelling}", tokenizer.mark_plain(&text));
                let ids = tokenizer.encode_with_special(&slot).unwrap();
                let n = ids.iter().filter(|&&other| other == id).count();
                let expect = if token["single_word"] == true { 0..=2 } else { 2..=2 };
                assert!(expect.contains(&n), "{name}: {text:?} {ids:?}");
                if token["special"] == true {
                    let framed = tokenizer.encode_framed(&text).unwrap();
                    let frame = tokenizer.encode_framed("").unwrap();
                    let count = |ids: &[u32]| ids.iter().filter(|&&other| other == id).count();
                    assert_eq!(count(&framed), count(&frame), "{name}: {text:?}");
                }
            }
        }
    }
}

#[test]
fn parts_of_a_gguf_file_are_framed_as_its_flags_say() {
    let mut tokens: Vec<String> = "abc".chars().map(String::from).collect();
    tokens.extend(["<s>".to_string(), "</s>".to_string()]);
    let (normal, control) = (TokenKind::Normal, TokenKind::Control);
    let framed = |bos, add_bos, add_eos| {
        let parts = TokenizerParts {
            model: PartsModel::BytePairs,
            tokens: tokens.clone(),
            kinds: vec![normal, normal, normal, control, control],
            scores: Vec::new(),
            merges: Vec::new(),
            pre: "gpt-2".into(),
            bos,
            eos: Some(4),
            pad: None,
            add_bos: Some(add_bos),
            add_eos: Some(add_eos),
            add_space_prefix: None,
        };
        let tokenizer = Tokenizer::from_parts(&parts, "parts").unwrap();
        assert_eq!(tokenizer.special(Special::Bos).ok(), bos.map(|id| id as u32));
        assert!(tokenizer.special(Special::Pad).is_err());
        tokenizer.encode_framed("ab").unwrap()
    };
    assert_eq!(framed(Some(3), false, false), [0, 1]);
    assert_eq!(framed(Some(3), true, false), [3, 0, 1]);
    assert_eq!(framed(Some(3), true, true), [3, 0, 1, 4]);
    assert_eq!(framed(Some(3), false, true), [0, 1, 4]);
    assert_eq!(framed(None, true, false), [0, 1], "there is nothing to add");
}
