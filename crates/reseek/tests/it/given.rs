//! What a model is given: the prompt that it was trained with, and what its tokenizer puts around a text.

use std::fs;
use std::path::Path;

use reseek_text::{ChatTemplate, GenerationPrompt, Message, Special, Tokenizer};
use serde_json::{Value, json};

use crate::common::{Scratch, copy, finished, refuse, reseek, succeed};

const QUESTION: &str = "What is 3 + 4?";

#[test]
fn every_folder_carries_the_prompt_that_its_model_learnt() {
    let run = finished();
    let tokenizer = Tokenizer::from_folder(&run.out.join("tokenizer")).unwrap();
    let [bos, user, assistant] =
        [Special::Bos, Special::User, Special::Assistant].map(|special| tokenizer.special(special).unwrap());
    let zero_prompt = tokenizer.encode_with_special(&reseek_tasks::zero_prompt(QUESTION)).unwrap();
    let zero = [&[bos][..], &zero_prompt].concat();
    let r1 = [&[bos, user][..], &tokenizer.encode(QUESTION).unwrap(), &[assistant]].concat();
    let expected = [
        ("tokenizer", None),
        ("pretrain", None),
        ("extend", None),
        ("student_base", None),
        ("zero", Some(&zero)),
        ("student_rl", Some(&zero)),
        ("r1_cold_start", Some(&r1)),
        ("r1_rl", Some(&r1)),
        ("r1_sft", Some(&r1)),
        ("r1", Some(&r1)),
        ("student", Some(&r1)),
    ];
    for (name, expected) in expected {
        let folder = run.out.join(name);
        let template = ChatTemplate::from_folder(&folder).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(folder.join("tokenizer_config.json")).unwrap()).unwrap();
        // Both places say the same: transformers reads either.
        assert_eq!(config["chat_template"].as_str(), template.as_ref().map(ChatTemplate::source), "{name}");
        let ids = template.map(|template| {
            template.encode(&tokenizer, &[Message::user(QUESTION)], GenerationPrompt::Assistant).unwrap()
        });
        assert_eq!(ids.as_ref(), expected, "{name}");
    }
}

#[test]
fn a_base_model_says_that_it_completes_text() {
    let run = finished();
    for name in ["pretrain", "extend", "student_base"] {
        let folder = run.out.join(name);
        refuse(reseek().arg("chat").arg(&folder), &["completes text", "reseek generate", name]);
    }
}

/// A folder as Qwen's are: no begin token in the configuration, and a post-processor that adds nothing.
fn without_begin_token(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.join("model");
    copy(&finished().out.join("extend"), &folder);
    fs::remove_file(folder.join("manifest.json")).unwrap();
    let change = |name: &str, key: &str| {
        let path = folder.join(name);
        let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json[key] = Value::Null;
        fs::write(&path, json.to_string()).unwrap();
    };
    change("tokenizer.json", "post_processor");
    change("tokenizer_config.json", "bos_token");
    folder
}

fn tokens(folder: &Path, text: &str) -> Value {
    let answer = succeed(reseek().arg("score").arg(folder).args(["--text", text, "--json"]));
    serde_json::from_str::<Value>(&answer).unwrap()["tokens"].clone()
}

#[test]
fn a_tokenizer_without_a_begin_token_puts_none_before_a_text() {
    let scratch = Scratch::new();
    let folder = without_begin_token(&scratch);
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    assert_eq!(tokens(&folder, "The miller"), json!(tokenizer.encode("The miller").unwrap()));
    succeed(reseek().arg("generate").arg(&folder).args(["--prompt", "The miller", "--max-new-tokens", "4"]));
    for arguments in [["score", "--text"], ["generate", "--prompt"]] {
        refuse(
            reseek().arg(arguments[0]).arg(&folder).args([arguments[1], ""]),
            &["no begin token", "at least one character"],
        );
    }
    // With one, an empty text is the begin token alone.
    assert_eq!(tokens(&finished().out.join("extend"), ""), json!([0]));
}
