//! Tokens back to text: the steps of a tokenizer's decoder, applied to every token of the vocabulary once.
//!
//! transformers runs the steps over a list of tokens each time. Nearly all of them look at one token alone, so what a
//! token stands for is known beforehand, which is what a stream needs; two look at the place as well: some make
//! another text of the first token (Metaspace drops its blank), and `Strip` behind `Fuse` takes blanks off the front.

use serde_json::Value;
use tokenizers::{Decoder, DecoderWrapper};

use crate::bounds::{Part, steps};
use crate::bytes::token_bytes;

/// What a token stands for so far.
enum Meaning {
    Text(String),
    Bytes(Vec<u8>),
}

/// A step that looks at one token alone.
#[derive(Debug)]
enum Step {
    /// Any of the crate's.
    Text(DecoderWrapper),
    /// `<0xE4>` is that byte.
    ByteFallback,
    /// GPT-2's characters are bytes.
    ByteLevel,
    /// No decoder at all: tokens with a blank between them.
    Spaced,
}

/// A decoder as steps over single tokens.
#[derive(Debug)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    /// Whether the first token of a text may mean another text than the same token behind others.
    pub first_differs: bool,
    /// How many blanks are taken off the front of a text, where it has them.
    pub blanks: usize,
}

impl Steps {
    /// Takes a decoder apart. The error says which step is not computed.
    pub(crate) fn new(decoder: Option<&Part<DecoderWrapper>>) -> Result<Self, String> {
        let mut result = Self { steps: Vec::new(), first_differs: false, blanks: 0 };
        let Some(decoder) = decoder else {
            result.steps.push(Step::Spaced);
            result.first_differs = true;
            return Ok(result);
        };
        let mut is_fused = false;
        for value in steps(&decoder.value) {
            let kind = value["type"].as_str().unwrap_or_default();
            let step = match kind {
                "ByteLevel" => Step::ByteLevel,
                "ByteFallback" => Step::ByteFallback,
                "Fuse" => {
                    is_fused = true;
                    continue;
                }
                "Strip" if is_fused && value["stop"] == 0 && value["content"] == " " => {
                    let blanks = value["start"].as_u64().unwrap_or_default();
                    result.blanks = result.blanks.saturating_add(usize::try_from(blanks).unwrap_or(usize::MAX));
                    continue;
                }
                "Strip" if !is_fused && value["stop"] == 0 => text_step(value)?,
                // Over the whole text as over each token, where what is replaced fits in one.
                "Replace" if !is_fused || is_one_character(&value["pattern"]["String"]) => text_step(value)?,
                "Metaspace" | "WordPiece" => {
                    result.first_differs = true;
                    text_step(value)?
                }
                other => return Err(format!("the decoder has a step {other} {value:.80}")),
            };
            result.steps.push(step);
        }
        Ok(result)
    }

    /// Whether the vocabulary is written in GPT-2's characters.
    pub(crate) fn is_byte_level(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::ByteLevel))
    }

    /// The bytes that tokens stand for behind others, in order. A token of a byte-level vocabulary with a character
    /// outside of its table stands for itself.
    pub(crate) fn later(&self, tokens: Vec<String>) -> Vec<Vec<u8>> {
        // With a token before them none is the first.
        let tokens = std::iter::once(String::new()).chain(tokens);
        self.apply(tokens.collect()).into_iter().skip(1).collect()
    }

    /// The bytes that a token stands for at the front of a text.
    pub(crate) fn first(&self, token: &str) -> Vec<u8> {
        self.apply(vec![token.to_owned()]).pop().unwrap_or_default()
    }

    fn apply(&self, tokens: Vec<String>) -> Vec<Vec<u8>> {
        let mut meanings: Vec<Meaning> = tokens.into_iter().map(Meaning::Text).collect();
        for step in &self.steps {
            match step {
                Step::ByteFallback => convert(&mut meanings, fallback_byte),
                Step::ByteLevel => convert(&mut meanings, token_bytes),
                Step::Spaced => {
                    for meaning in meanings.iter_mut().skip(1) {
                        if let Meaning::Text(text) = meaning {
                            text.insert(0, ' ');
                        }
                    }
                }
                Step::Text(decoder) => {
                    let texts: Vec<String> = meanings
                        .iter_mut()
                        .map(
                            |meaning| {
                                if let Meaning::Text(text) = meaning { std::mem::take(text) } else { String::new() }
                            },
                        )
                        .collect();
                    // These steps take each token for itself and cannot fail.
                    let texts = decoder.decode_chain(texts).unwrap_or_default();
                    for (meaning, new) in meanings.iter_mut().zip(texts) {
                        if let Meaning::Text(text) = meaning {
                            *text = new;
                        }
                    }
                }
            }
        }
        meanings
            .into_iter()
            .map(|meaning| match meaning {
                Meaning::Text(text) => text.into_bytes(),
                Meaning::Bytes(bytes) => bytes,
            })
            .collect()
    }
}

fn text_step(value: &Value) -> Result<Step, String> {
    serde_json::from_value(value.clone()).map(Step::Text).map_err(|error| format!("decoder: {error}"))
}

fn is_one_character(pattern: &Value) -> bool {
    pattern.as_str().is_some_and(|pattern| pattern.chars().count() == 1)
}

fn convert(meanings: &mut [Meaning], bytes: impl Fn(&str) -> Option<Vec<u8>>) {
    for meaning in meanings {
        if let Meaning::Text(text) = meaning
            && let Some(bytes) = bytes(text)
        {
            *meaning = Meaning::Bytes(bytes);
        }
    }
}

/// The byte that `<0xE4>` stands for.
pub(crate) fn fallback_byte(token: &str) -> Option<Vec<u8>> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok().map(|byte| vec![byte]))?
}
