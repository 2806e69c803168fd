//! A tokenizer from its parts, as a GGUF file has them: spellings, merges, and the name of a pre-tokenizer.

use serde_json::{Value, json};

use crate::config::Config;
use crate::error::TextError;
use crate::tokenizer::Tokenizer;

/// The parts of a byte-level BPE tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct BytePairs<'a> {
    /// Spellings by id, in byte-level characters; control tokens as they are.
    pub tokens: &'a [String],
    /// Whether an id is a control token.
    pub control: &'a [bool],
    /// Pairs in order, with a space between their halves.
    pub merges: &'a [String],
    /// llama.cpp's name of the pre-tokenizer.
    pub pre: &'a str,
    /// Ids of the begin, end and padding tokens.
    pub bos: Option<usize>,
    /// Id of the end token.
    pub eos: Option<usize>,
    /// Id of the padding token.
    pub pad: Option<usize>,
    /// Whether a text begins with the begin token and ends with the end token, where there are such.
    pub add_bos: bool,
    /// Whether the end token stands behind a text.
    pub add_eos: bool,
}

impl Tokenizer {
    /// Puts a tokenizer together. `place` names it in errors.
    ///
    /// # Errors
    /// A pre-tokenizer that is not known here, or parts that do not fit each other.
    ///
    /// # Panics
    /// If there is not one `control` for each token, or a control id is none of a token.
    pub fn from_byte_pairs(parts: &BytePairs, place: &str) -> Result<Self, TextError> {
        assert_eq!(parts.tokens.len(), parts.control.len(), "one kind for each token");
        let pre = pre_tokenizer(parts.pre).ok_or_else(|| TextError::Malformed {
            place: place.to_owned(),
            reason: format!("the pre-tokenizer is {:?}, known are smollm, gpt-2 and default", parts.pre),
        })?;
        let vocab: serde_json::Map<String, Value> =
            parts.tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let added: Vec<Value> = parts
            .tokens
            .iter()
            .zip(parts.control)
            .enumerate()
            .filter(|(_, (_, control))| **control)
            .map(|(id, (token, _))| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true,
                })
            })
            .collect();
        let json = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
            "pre_tokenizer": pre, "post_processor": frame(parts),
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
                "merges": parts.merges,
            },
        });
        let control = [parts.bos, parts.eos, parts.pad].map(|id| id.map(|id| parts.tokens[id].clone()));
        Self::with_config(json.to_string().as_bytes(), Config::named(control), place)
    }
}

/// The post-processor that puts the begin and end token around a text, as transformers makes it of the file's flags.
fn frame(parts: &BytePairs) -> Value {
    let [before, after] =
        [(parts.add_bos, parts.bos), (parts.add_eos, parts.eos)].map(|(is_added, id)| id.filter(|_| is_added));
    if before.is_none() && after.is_none() {
        return Value::Null;
    }
    let part = |id: Option<usize>| id.map(|id| json!({"SpecialToken": {"id": parts.tokens[id], "type_id": 0}}));
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> = [part(before), Some(text), part(after)].into_iter().flatten().collect();
    let special: serde_json::Map<String, Value> = [before, after]
        .into_iter()
        .flatten()
        .map(|id| {
            let token = &parts.tokens[id];
            (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]}))
        })
        .collect();
    // Texts come one at a time here, so pairs get no more than the form asks for.
    let pair = [&single[..], &[json!({"Sequence": {"id": "B", "type_id": 1}})]].concat();
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special})
}

/// The pre-tokenizer that llama.cpp calls `name`.
fn pre_tokenizer(name: &str) -> Option<Value> {
    let words = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    match name {
        "gpt-2" | "default" => Some(words),
        // SmolLM: each digit alone, then GPT-2's words.
        "smollm" => Some(json!({
            "type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, words],
        })),
        _ => None,
    }
}
