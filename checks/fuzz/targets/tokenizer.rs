//! tokenizer.json with a text, and the same bytes as a chat template.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseek_text::{ChatTemplate, GenerationPrompt, Message, Tokenizer};

const TEXT: &str = "The cat's 12 mats, 你好\n\t<think>\u{0301}🙂 <|im_end|></s>";

fuzz_target!(|data: &[u8]| {
    if let Ok(tokenizer) = Tokenizer::from_bytes(data, "the input")
        && let Ok(ids) = tokenizer.encode_framed(TEXT)
    {
        let _ = tokenizer.decode(&ids);
        let _ = tokenizer.decode_visible(&ids);
        let _ = tokenizer.encode_with_special(TEXT);
    }
    let Some(template) = std::str::from_utf8(data).ok().and_then(|text| ChatTemplate::new(text).ok()) else { return };
    let tokenizer = Tokenizer::train(&[TEXT], 300, 1).expect("a tokenizer of the text");
    let _ = template.render(&tokenizer, &[Message::user(TEXT), Message::assistant("5")], GenerationPrompt::Assistant);
});
