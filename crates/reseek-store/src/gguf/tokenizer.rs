//! The tokenizer inside of a GGUF file.

use std::collections::HashSet;

use super::metadata::Metadata;
use crate::StoreError;

/// How a vocabulary makes tokens of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenizerModel {
    /// Byte-level pairs with merges in order: `gpt2`.
    BytePairs,
    /// SentencePiece's pairs, joined by the highest score: `llama`.
    SentencePiece,
}

impl TokenizerModel {
    /// The file's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BytePairs => "gpt2",
            Self::SentencePiece => "llama",
        }
    }
}

/// What an entry of the vocabulary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// What stands for text that has no tokens.
    Unknown,
    /// Of the model, not of texts: found in a text as a whole and not shown.
    Control,
    /// Found in a text as a whole, and shown.
    UserDefined,
    /// Of nothing.
    Unused,
    /// A single byte of text that has no other tokens, spelled `<0x0A>`.
    Byte,
}

impl TokenKind {
    fn of_number(number: i64) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// The file's number of it.
    pub fn number(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }
}

/// The parts of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// How texts become tokens.
    pub model: TokenizerModel,
    /// Spellings by id: in byte-level characters, or with ▁ for a blank.
    pub tokens: Vec<String>,
    /// What each id is.
    pub kinds: Vec<TokenKind>,
    /// Whether an id is a control token.
    pub control: Vec<bool>,
    /// Scores by id, of SentencePiece.
    pub scores: Vec<f32>,
    /// Pairs in order, with a space between their halves, of byte-level pairs.
    pub merges: Vec<String>,
    /// The name of the pre-tokenizer, for example `smollm`.
    pub pre: String,
    /// Id of the begin token, where there is one.
    pub bos: Option<usize>,
    /// Id of the end token.
    pub eos: Option<usize>,
    /// Id of the token that ends a turn, where the file names it.
    pub eot: Option<usize>,
    /// All tokens that end a text: those that the file names, and those whose spelling says so. In ascending order.
    pub eog: Vec<usize>,
    /// Id of the padding token.
    pub pad: Option<usize>,
    /// Id of the unknown token.
    pub unk: Option<usize>,
    /// Whether a text begins with the begin token.
    pub add_bos: bool,
    /// Whether the end token stands behind a text.
    pub add_eos: bool,
    /// Whether a blank is put before a text (SentencePiece).
    pub add_space_prefix: bool,
}

/// Spellings that end a text whatever the file says (llama-vocab.cpp).
const ENDS: [&str; 21] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
];

/// Whether a spelling alone makes a token one that ends a text.
pub(super) fn is_end(token: &str) -> bool {
    ENDS.contains(&token)
}

/// Pre-tokenizers whose models begin texts with the begin token unless the file says otherwise (llama-vocab.cpp).
const BEGIN: [&str; 11] = [
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "jina-v5-nano",
    "tekken",
    "chameleon",
];

impl GgufTokenizer {
    pub(super) fn of(meta: &Metadata) -> Result<Self, StoreError> {
        let key = "tokenizer.ggml.model";
        let name = meta.text(key)?;
        let Some(model) =
            [TokenizerModel::BytePairs, TokenizerModel::SentencePiece].into_iter().find(|model| model.name() == name)
        else {
            let known = "\"gpt2\" for byte-level pairs and \"llama\" for SentencePiece";
            return Err(meta.refused(key, format!("{:?}", name.chars().take(60).collect::<String>()), known));
        };
        let tokens = meta.texts("tokenizer.ggml.tokens")?;
        check_spellings(meta, &tokens)?;
        let n = tokens.len();
        let kinds: Vec<TokenKind> = match meta.get("tokenizer.ggml.token_type") {
            Some(_) => meta.integers("tokenizer.ggml.token_type")?.into_iter().map(TokenKind::of_number).collect(),
            None => vec![TokenKind::Normal; n],
        };
        let is_pieces = model == TokenizerModel::SentencePiece;
        let mut scores: Vec<f32> = match meta.get("tokenizer.ggml.scores") {
            Some(_) => meta.numbers("tokenizer.ggml.scores")?.into_iter().map(|score| score as f32).collect(),
            None => vec![0.0; n],
        };
        for (key, len) in [("tokenizer.ggml.token_type", kinds.len()), ("tokenizer.ggml.scores", scores.len())] {
            if len != n {
                return Err(meta.wrong(key, len, &format!("a list of {n}, one for each token")));
            }
        }
        let mut merges = match meta.get("tokenizer.ggml.merges") {
            None if is_pieces => Vec::new(),
            _ => meta.texts("tokenizer.ggml.merges")?,
        };
        // Each kind of model has one of the two, and files may hold the other's beside it.
        if is_pieces {
            merges.clear()
        } else {
            scores.clear()
        }
        let id = |name: &str| optional_id(meta, name, n);
        // What SentencePiece's first three tokens are is its own convention.
        let or = |found: Option<usize>, id: usize| found.or(Some(id).filter(|&id| is_pieces && id < n));
        let (bos, eos, unk) = (or(id("bos")?, 1), or(id("eos")?, 2), or(id("unknown")?, 0));
        let (eot, eom, pad) = (id("eot")?, id("eom")?, id("padding")?);
        let pre = meta.optional_text("tokenizer.ggml.pre")?.unwrap_or("default").to_owned();
        // Where llama.cpp has that one too, a text about HTML would end: in Qwen's vocabulary it is a piece of text.
        let is_text = |id: usize| tokens[id] == "</s>" && kinds[id] == TokenKind::Normal;
        let spelled = (0..n).filter(|&id| is_end(&tokens[id]) && !is_text(id));
        let mut eog: Vec<usize> = spelled.chain([eos, eot, eom].into_iter().flatten()).collect();
        eog.sort_unstable();
        eog.dedup();
        let begins = is_pieces || BEGIN.contains(&pre.as_str());
        Ok(Self {
            model,
            control: kinds.iter().map(|&kind| kind == TokenKind::Control).collect(),
            add_bos: meta.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(begins) && bos.is_some(),
            add_eos: meta.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false) && eos.is_some(),
            add_space_prefix: meta.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(is_pieces),
            tokens,
            kinds,
            scores,
            merges,
            pre,
            bos,
            eos,
            eot,
            eog,
            pad,
            unk,
        })
    }
}

/// llama.cpp gives an empty token a name of its own, and refuses two of one spelling.
fn check_spellings(meta: &Metadata, tokens: &[String]) -> Result<(), StoreError> {
    let mut seen = HashSet::with_capacity(tokens.len());
    match tokens.iter().find(|token| !token.is_empty() && !seen.insert(token.as_str())) {
        None => Ok(()),
        Some(token) => {
            let token: String = token.chars().take(40).collect();
            Err(meta.wrong(
                "tokenizer.ggml.tokens",
                format!("a list that has {token:?} twice"),
                "one of different tokens",
            ))
        }
    }
}

fn optional_id(meta: &Metadata, name: &str, n: usize) -> Result<Option<usize>, StoreError> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    match meta.optional_count(&key)? {
        Some(id) if id >= n => Err(meta.wrong(&key, id, &format!("below {n}, the number of tokens"))),
        id => Ok(id),
    }
}

/// Chat templates (Jinja).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GgufTemplates {
    /// The one without a name.
    pub plain: Option<String>,
    /// Others for special uses, by name.
    pub named: Vec<(String, String)>,
}

impl GgufTemplates {
    pub(super) fn of(meta: &Metadata) -> Result<Self, StoreError> {
        const PREFIX: &str = "tokenizer.chat_template.";
        let named = meta
            .keys()
            .filter_map(|key| key.strip_prefix(PREFIX).map(|name| (key, name)))
            .map(|(key, name)| Ok((name.to_owned(), meta.text(key)?.to_owned())))
            .collect::<Result<Vec<_>, StoreError>>()?;
        // A list of the names that the keys have anyway.
        meta.get("tokenizer.chat_templates");
        Ok(Self { plain: meta.optional_text("tokenizer.chat_template")?.map(str::to_owned), named })
    }
}
