//! llama.cpp's names of pre-tokenizers, and the splits that they stand for.

use serde_json::{Value, json};

use crate::layout;

/// GPT-2's words: contractions, letters, digits, the rest, each with a blank before it.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's: words with the mark before them, three digits, marks with the line breaks behind them.
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Qwen 2's: as Llama 3's, each digit alone.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Qwen 3.5's: as Qwen 2's, marks of letters with them.
const QWEN35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Mistral's Tekken: words end where a capital begins.
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// GPT-4o's: as Tekken's, with contractions and three digits.
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// DeepSeek-LLM's letters: those of scripts with capitals. (Escaped are those that NFC would replace.)
const DEEPSEEK_LETTERS: &str = concat!(
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ",
    "Ὗ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ",
    "-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
);
const DEEPSEEK_MARKS: &str = r"\s?[!-/:-~！-／：-～‘-‟　-。]+";
const DEEPSEEK_CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";

/// What a name stands for besides its splits.
pub(crate) struct Pre {
    /// Regular expressions, each splitting what the one before it left.
    pub splits: Vec<String>,
    /// Whether a word that is a token is that token, whatever its merges say.
    pub ignore_merges: bool,
    /// Whether a text is brought into the form NFC before it is split. Qwen 2's and 3's tokenizers do that, and llama.cpp doesn't.
    pub is_nfc: bool,
    /// Whether a begin token stands before a text where the file doesn't say.
    pub add_bos: bool,
}

/// One name of each set of splits, the one that a file gets first.
pub(crate) const NAMES: [&str; 15] = [
    "gpt-2",
    "smollm",
    "llama-bpe",
    "qwen2",
    "stablelm2",
    "deepseek-v3",
    "deepseek-llm",
    "deepseek-coder",
    "tekken",
    "gpt-4o",
    "qwen35",
    "glm4",
    "chatglm-bpe",
    "falcon",
    "default",
];

/// The pre-tokenizer that llama.cpp calls `name`.
pub(crate) fn pre(name: &str) -> Option<Pre> {
    let digit = r"\p{N}";
    let splits: Vec<&str> = match name {
        "gpt-2" | "phi-2" | "gigachat" | "mellum" | "modern-bert" | "a.x-4.0" | "mpt" | "olmo" | "jais"
        | "trillion" | "exaone4" | "granite-docling" => vec![GPT2],
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b" | "mellum2" => {
            vec![digit, GPT2]
        }
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "dbrx"
        | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => vec![LLAMA3],
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" | "kormo" | "grok-2" | "solar-open" => {
            vec![QWEN2]
        }
        "qwen35" => vec![QWEN35],
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => return Some(plain(deepseek_v3(3))),
        "deepseek-llm" => vec!["[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, r"\s+$", DEEPSEEK_CJK, r"\p{N}+"],
        "deepseek-coder" => vec!["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, digit],
        "tekken" => vec![TEKKEN],
        "gpt-4o" | "llama4" | "kanana2" | "minimax-m2" => vec![GPT4O],
        "falcon" => vec![r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        "default" => vec![r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        _ => return None,
    };
    let add_bos = matches!(
        name,
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2" | "tekken"
    );
    let ignore_merges = add_bos || matches!(name, "glm4" | "glm5");
    let splits = splits.into_iter().map(str::to_owned).collect();
    let is_nfc = matches!(name, "qwen2" | "deepseek-r1-qwen");
    Some(Pre { splits, ignore_merges, is_nfc, add_bos })
}

fn plain(splits: Vec<String>) -> Pre {
    Pre { splits, ignore_merges: false, is_nfc: false, add_bos: false }
}

/// DeepSeek-V3's splits with this many digits in a group.
fn deepseek_v3(digit_group: usize) -> Vec<String> {
    let regex = |split: &Value| split["pattern"]["Regex"].as_str().unwrap_or_default().to_owned();
    layout::splits(digit_group).iter().map(regex).collect()
}

/// The pre-tokenizer of tokenizer.json for these splits.
pub(crate) fn pre_tokenizer(splits: &[String]) -> Value {
    let split =
        |regex: &String| json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let steps: Vec<Value> = splits.iter().map(split).chain([bytes]).collect();
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// The splits of the steps of a pre-tokenizer of a byte-level tokenizer, or the step that is none.
pub(crate) fn splits_of(steps: &[&Value]) -> Result<Vec<String>, String> {
    let mut splits = Vec::new();
    for step in steps {
        match step["type"].as_str() {
            Some("Split") if step["behavior"] == "Isolated" && step["invert"] != true => {
                let regex =
                    step["pattern"]["Regex"].as_str().ok_or_else(|| format!("the split {}", step["pattern"]))?;
                splits.push(regex.to_owned());
            }
            // The other way to write it: what is between the words is what the regular expression of the words finds.
            Some("Split") if step["behavior"] == "Removed" && step["invert"] == true => {
                let regex =
                    step["pattern"]["Regex"].as_str().ok_or_else(|| format!("the split {}", step["pattern"]))?;
                splits.push(regex.to_owned());
            }
            Some("Digits") if step["individual_digits"] == true => splits.push(r"\p{N}".into()),
            Some("ByteLevel") if step["add_prefix_space"] != true => {
                if step["use_regex"] != false {
                    splits.push(GPT2.into());
                }
            }
            other => return Err(format!("the step {} {step:.60}", other.unwrap_or("without a type"))),
        }
    }
    Ok(splits)
}

/// The name under which llama.cpp splits as these splits do, one with this normalizer where there is a choice.
/// DeepSeek-V3's with single digits has none of its own: where no merge joins digits, that of groups of three does the
/// same, which is the caller's to know if the second value is true.
pub(crate) fn name_of(splits: &[String], ignore_merges: bool, is_nfc: bool) -> Option<(&'static str, bool)> {
    let find = |is_fit: &dyn Fn(&Pre) -> bool| NAMES.into_iter().find(|name| pre(name).is_some_and(|pre| is_fit(&pre)));
    let splits_so = |pre: &Pre| pre.splits == splits && pre.ignore_merges == ignore_merges;
    if let Some(name) = find(&|pre| splits_so(pre) && pre.is_nfc == is_nfc).or_else(|| find(&splits_so)) {
        return Some((name, false));
    }
    (splits == deepseek_v3(1) && !ignore_merges).then_some(("deepseek-v3", true))
}
