//! The bytes of tokenizer.json and tokenizer_config.json, in the form of DeepSeek-V3's own files.

use serde_json::{Value, json};

use crate::bpe::Merges;
use crate::bytes::byte_to_char;
use crate::special::Special;

/// V3's second split: runs of Chinese ideographs and of Japanese kana stay together.
const CJK_RUN: &str = "[一-龥\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";

/// V3's third split: a punctuation mark with the Latin word behind it; a word with the character before it; a run of
/// punctuation with the line breaks behind it; line breaks; trailing blanks; blanks.
const WORDS: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
    "|[^\r\n",
    r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r"| ?[\p{P}\p{S}]+[",
    "\r\n]*|",
    r"\s*[",
    "\r\n]+|",
    r"\s+(?!\S)|\s+"
);

/// V3's pre-tokenizer without its last part (bytes to printable characters). Digits come first: no piece holds more
/// than `digit_group` of them, so no merge can either.
pub(crate) fn splits(digit_group: usize) -> Vec<Value> {
    // V3 writes {1,3}; the same form for the other sizes.
    [format!("\\p{{N}}{{1,{digit_group}}}"), CJK_RUN.into(), WORDS.into()]
        .into_iter()
        .map(|regex| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}))
        .collect()
}

/// tokenizer.json of a trained tokenizer: special tokens, 256 bytes, merged tokens.
pub(crate) fn tokenizer_json(trained: &Merges, digit_group: usize) -> Value {
    let table = byte_to_char();
    let write = |bytes: &[u8]| bytes.iter().map(|&b| table[usize::from(b)]).collect::<String>();
    let texts: Vec<String> = trained.tokens.iter().map(|token| write(token)).collect();
    let names = Special::ALL.iter().map(|special| special.text().to_owned());
    let vocab: serde_json::Map<String, Value> =
        names.chain(texts.iter().cloned()).enumerate().map(|(id, text)| (text, json!(id))).collect();
    let merges: Vec<String> = trained
        .merges
        .iter()
        .map(|&(left, right)| format!("{} {}", texts[left as usize], texts[right as usize]))
        .collect();
    let added: Vec<Value> = Special::ALL
        .iter()
        .enumerate()
        .map(|(id, special)| {
            json!({
                "id": id, "content": special.text(), "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": special.normalized(), "special": special.hidden(),
            })
        })
        .collect();
    let mut pretokenizers = splits(digit_group);
    pretokenizers
        .push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}));
    let bos = Special::Bos.text();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": pretokenizers},
        // V3's own file leaves the leading bos to its Llama tokenizer class; written here, any class adds it.
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": bos, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {bos: {"id": bos, "ids": [0], "tokens": [bos]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
        },
    })
}

/// tokenizer_config.json beside it, for a tokenizer with this begin, end and padding token, of which the first two are or are not `added`
/// around a text. `model_max_length` is the context length in tokens.
pub(crate) fn tokenizer_config_json(
    [bos, eos, pad]: [Option<&str>; 3],
    [adds_bos, adds_eos]: [bool; 2],
    chat_template: Option<&str>,
    model_max_length: usize,
) -> Value {
    let mut config = json!({
        "add_bos_token": adds_bos,
        "add_eos_token": adds_eos,
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "unk_token": null,
        "clean_up_tokenization_spaces": false,
        "model_max_length": model_max_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    if let Some(template) = chat_template {
        config["chat_template"] = json!(template);
    }
    config
}
