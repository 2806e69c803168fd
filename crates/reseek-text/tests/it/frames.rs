//! Every kind of tokenizer puts around a text what transformers puts there: the post-processor decides, whatever the configuration says
//! of begin tokens. Fixtures and what is expected are made by fixtures/make_tokenizers.py.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reseek_text::{BytePairs, ChatTemplate, GenerationPrompt, Message, Special, Tokenizer};
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
    assert_eq!(expected.len(), 9, "a kind of tokenizer is missing");
    for (name, expected) in expected {
        let folder = fixtures().join(&name);
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        assert_eq!(tokenizer.special(Special::Bos).ok(), expected.bos, "{name}");
        assert_eq!(tokenizer.special(Special::Eos).ok(), expected.eos, "{name}");
        for Text { text, ids } in expected.texts {
            assert_eq!(tokenizer.encode_framed(&text).unwrap(), ids, "{name}: {text:?}");
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

#[test]
fn parts_of_a_gguf_file_are_framed_as_its_flags_say() {
    let mut tokens: Vec<String> = "abc".chars().map(String::from).collect();
    tokens.extend(["<s>".to_string(), "</s>".to_string()]);
    let control = [false, false, false, true, true];
    let framed = |bos, add_bos, add_eos| {
        let parts = BytePairs {
            tokens: &tokens,
            control: &control,
            merges: &[],
            pre: "gpt-2",
            bos,
            eos: Some(4),
            pad: None,
            add_bos,
            add_eos,
        };
        let tokenizer = Tokenizer::from_byte_pairs(&parts, "parts").unwrap();
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
