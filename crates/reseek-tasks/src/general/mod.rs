//! Non-reasoning data for supervised fine-tuning, and pairs for the small learned reward model: who the model is,
//! greetings, plain facts, one-sentence writing. Templates over small embedded lists, in both languages.
//!
//! What this does not give: knowledge. It only shows a nano model how a short, polite answer in the question's language
//! looks; R1's own 200K non-reasoning samples came from V3's pipeline.

mod entries;

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use self::entries::{ENTRIES, Entry};
use crate::families::Both;
use crate::generate::CHINESE_SHARE;
use crate::language::Language;
use crate::stream::Stream;

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What the user says.
    pub prompt: String,
    /// A good answer.
    pub response: String,
    /// The language of both.
    pub language: Language,
}

/// What is wrong with the rejected response of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// It insults, alone or before a good answer.
    Rude,
    /// Sentences that say nothing stand before it.
    Rambling,
    /// It is in the other language.
    WrongLanguage,
    /// It says the same three or four times.
    Repetitive,
}

impl Flaw {
    /// Every flaw, each as likely as the others.
    pub const ALL: [Flaw; 4] = [Flaw::Rude, Flaw::Rambling, Flaw::WrongLanguage, Flaw::Repetitive];
}

/// A prompt with a better and a worse response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreferencePair {
    /// What the user says.
    pub prompt: String,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// The language of both.
    pub language: Language,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// Exchange `index` for `purpose`, a stage's name, under `seed`.
pub fn general(seed: u64, purpose: &str, index: u64) -> Exchange {
    let mut stream = Stream::new(seed, &format!("general/{purpose}"), index);
    let (entry, language) = draw(&mut stream);
    let prompt = stream.pick(entry.prompts.wordings(language)).clone();
    Exchange { prompt, response: entry.response.get(language).to_string(), language }
}

/// Pair `index` under `seed`. Both responses have the same content as far as the flaw allows, so that a reward model can
/// learn from nothing else.
pub fn preference_pair(seed: u64, index: u64) -> PreferencePair {
    let mut stream = Stream::new(seed, "preference", index);
    let (entry, language) = draw(&mut stream);
    let prompt = stream.pick(entry.prompts.wordings(language)).clone();
    let chosen = entry.response.get(language).to_string();
    let flaw = *stream.pick(&Flaw::ALL);
    let space = if language == Language::English { " " } else { "" };
    let rejected = match flaw {
        Flaw::Rude => {
            let insult = stream.pick(RUDE.as_slice()).get(language);
            if stream.chance(0.5) { format!("{insult}{space}{chosen}") } else { insult.to_string() }
        }
        Flaw::Rambling => {
            let mut filler: Vec<&Both> = RAMBLING.iter().collect();
            stream.shuffle(&mut filler);
            let filler: Vec<&str> = filler[..3].iter().map(|text| text.get(language)).collect();
            format!("{}{space}{chosen}", filler.join(space))
        }
        Flaw::WrongLanguage => entry.response.get(language.other()).to_string(),
        Flaw::Repetitive => vec![chosen.as_str(); stream.range(3, 4) as usize].join(space),
    };
    PreferencePair { prompt, chosen, rejected, language, flaw }
}

/// A kind of exchange first, so that a long list does not drown the short ones, then one of it.
fn draw(stream: &mut Stream) -> (&'static Entry, Language) {
    let kind = stream.pick(&ENTRIES);
    let entry = stream.pick(kind);
    let language = if stream.chance(CHINESE_SHARE) { Language::Chinese } else { Language::English };
    (entry, language)
}

static RUDE: LazyLock<[Both; 4]> = LazyLock::new(|| {
    [
        Both::new("What a stupid question.", "真是个蠢问题。"),
        Both::new("Stop wasting my time.", "别浪费我的时间。"),
        Both::new("Go away and look it up yourself.", "走开，自己去查。"),
        Both::new("You should really know that.", "连这个都不知道，真丢人。"),
    ]
});

static RAMBLING: LazyLock<[Both; 5]> = LazyLock::new(|| {
    [
        Both::new("Well, there is so much that one could say about this.", "嗯，关于这个可以说的实在太多了。"),
        Both::new("Before I come to it, let me think about it for a while.", "在说之前，先让我想一想。"),
        Both::new("Many people have asked many questions of many kinds.", "许多人问过许多各种各样的问题。"),
        Both::new("It depends, and then again it does not depend.", "要看情况，不过也不一定要看情况。"),
        Both::new("As I was about to say, or perhaps not to say.", "正如我要说的，也许又不说的。"),
    ]
});
