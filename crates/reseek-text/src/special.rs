//! DeepSeek-V3's special tokens, by their names.

/// A control token. The names are those of DeepSeek-V3's tokenizer.json: the bars are U+FF5C and the low lines
/// U+2581, so that ordinary text never contains them by accident.
///
/// The order here is the order of the ids of a tokenizer that [`crate::Tokenizer::train`] makes: the first three are
/// 0, 1 and 2 as in DeepSeek-V3; the others, which there stand behind the merges, follow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// Begins every document and every conversation.
    Bos,
    /// Ends every document and every answer of the assistant.
    Eos,
    /// Fills up.
    Pad,
    /// Fill in the middle: stands where the middle was.
    FimHole,
    /// Fill in the middle: before the prefix.
    FimBegin,
    /// Fill in the middle: before the middle.
    FimEnd,
    /// Begins a turn of the user.
    User,
    /// Begins a turn of the assistant.
    Assistant,
    /// End of turn of DeepSeek-Coder, kept by V3.
    EndOfTurn,
    /// Begins the reasoning. (`<answer>` and `</answer>` are no tokens in DeepSeek: they are plain text.)
    ThinkOpen,
    /// Ends the reasoning.
    ThinkClose,
}

impl Special {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 11] = [
        Self::Bos,
        Self::Eos,
        Self::Pad,
        Self::FimHole,
        Self::FimBegin,
        Self::FimEnd,
        Self::User,
        Self::Assistant,
        Self::EndOfTurn,
        Self::ThinkOpen,
        Self::ThinkClose,
    ];

    /// The token as text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bos => "<｜begin▁of▁sentence｜>",
            Self::Eos => "<｜end▁of▁sentence｜>",
            Self::Pad => "<｜▁pad▁｜>",
            Self::FimHole => "<｜fim▁hole｜>",
            Self::FimBegin => "<｜fim▁begin｜>",
            Self::FimEnd => "<｜fim▁end｜>",
            Self::User => "<｜User｜>",
            Self::Assistant => "<｜Assistant｜>",
            Self::EndOfTurn => "<|EOT|>",
            Self::ThinkOpen => "<think>",
            Self::ThinkClose => "</think>",
        }
    }

    /// What a token is for, in a word.
    pub(crate) const fn role(self) -> &'static str {
        match self {
            Self::Bos => "begin",
            Self::Eos => "end",
            Self::Pad => "padding",
            other => other.text(),
        }
    }

    /// Hugging Face's `special` flag as DeepSeek sets it: decoding with `skip_special_tokens` hides these and shows
    /// the others.
    pub const fn hidden(self) -> bool {
        matches!(self, Self::Bos | Self::Eos | Self::Pad | Self::EndOfTurn)
    }

    /// Hugging Face's `normalized` flag as DeepSeek sets it. It has no effect without a normalizer.
    pub const fn normalized(self) -> bool {
        !matches!(self, Self::Bos | Self::Eos | Self::Pad)
    }
}

/// The parts of `text` between spellings of control tokens: what the merges are trained on, because a spelling that
/// becomes a token is never spelt.
pub(crate) fn between_specials(text: &str) -> Vec<&str> {
    Special::ALL
        .into_iter()
        .fold(vec![text], |parts, special| parts.into_iter().flat_map(|part| part.split(special.text())).collect())
}
