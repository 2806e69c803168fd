//! The two languages, and the share of a text that is in one of them: R1's language-consistency reward.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// A language in which problems are asked and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Latin letters.
    English,
    /// Chinese characters.
    Chinese,
}

impl Language {
    /// Both.
    pub const ALL: [Language; 2] = [Language::English, Language::Chinese];

    /// The ISO 639-1 code: `en` or `zh`.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh",
        }
    }

    /// The other of the two.
    pub fn other(self) -> Language {
        match self {
            Language::English => Language::Chinese,
            Language::Chinese => Language::English,
        }
    }

    /// The language that has more of the counted units of `text` (see [`language_share`]); English on a tie.
    pub fn of(text: &str) -> Language {
        let chinese = units(text).filter(|u| u.script == Script::Chinese).count();
        let english = units(text).filter(|u| u.script == Script::Latin).count();
        if chinese > english { Language::Chinese } else { Language::English }
    }
}

/// Share of `text` that is in `language`, in [0, 1]: units in the language divided by all units.
///
/// A unit is a run of letters of one script, except that every Chinese character is a unit of its own. Neutral, so
/// counted nowhere: digits, operators, punctuation, words inside `<…>` (the tags) and single Latin letters (spelled
/// words and names of unknowns). Letters of any third script count against both languages.
/// A text without any unit has share 1 where it holds anything at all (a chain of bare sums breaks no language),
/// and share 0 where it is blank, so that saying nothing earns nothing.
pub fn language_share(text: &str, language: Language) -> f64 {
    language_share_quoting(text, language, "")
}

/// [`language_share`] where words and characters of the other script that occur in `quoted` (the question) are
/// neutral too: a Chinese solution may name the English word that it was asked about.
pub fn language_share_quoting(text: &str, language: Language, quoted: &str) -> f64 {
    let target = Script::of_language(language);
    let allowed: HashSet<String> = units(quoted).map(|u| u.text.to_lowercase()).collect();
    let (mut inside, mut all) = (0usize, 0usize);
    for unit in units(text) {
        let is_target = unit.script == target;
        if is_target {
            inside += 1;
        }
        if is_target || !allowed.contains(&unit.text.to_lowercase()) {
            all += 1;
        }
    }
    match all {
        0 if text.trim().is_empty() => 0.0,
        0 => 1.0,
        _ => inside as f64 / all as f64,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Chinese,
    Other,
}

impl Script {
    fn of_language(language: Language) -> Script {
        match language {
            Language::English => Script::Latin,
            Language::Chinese => Script::Chinese,
        }
    }

    /// The script of a letter; None for everything that is no letter.
    fn of(c: char) -> Option<Script> {
        match c {
            'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' if c.is_alphabetic() => Some(Script::Latin),
            '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => Some(Script::Chinese),
            '\u{20000}'..='\u{323af}' => Some(Script::Chinese),
            _ if c.is_alphabetic() => Some(Script::Other),
            _ => None,
        }
    }
}

struct Unit<'a> {
    text: &'a str,
    script: Script,
}

/// The counted units of `text`, in one pass.
fn units(text: &str) -> impl Iterator<Item = Unit<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            if first == '<' {
                rest = after_tag(rest);
                continue;
            }
            let Some(script) = Script::of(first) else {
                rest = &rest[first.len_utf8()..];
                continue;
            };
            let length = match script {
                Script::Chinese => first.len_utf8(),
                _ => rest.find(|c| Script::of(c) != Some(script)).unwrap_or(rest.len()),
            };
            let (word, tail) = rest.split_at(length);
            rest = tail;
            if script != Script::Latin || word.chars().count() > 1 {
                return Some(Unit { text: word, script });
            }
        }
    })
}

/// What follows the tag that `text` begins with. Only `<name>` and `</name>` of at most 16 letters are tags, so a
/// less-than sign hides nothing, and the look-ahead is bounded.
fn after_tag(text: &str) -> &str {
    let inside = &text[1..];
    let name = inside.strip_prefix('/').unwrap_or(inside);
    let length = name.bytes().take(17).take_while(u8::is_ascii_alphabetic).count();
    match (length, name.as_bytes().get(length)) {
        (1..=16, Some(b'>')) => &name[length + 1..],
        _ => inside,
    }
}
