//! What the steps of a tokenizer from elsewhere may cost: how often they repeat and lengthen a text.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::utils::SysRegex;

/// Longest normalizer, pre-tokenizer, post-processor or decoder in bytes. A SentencePiece model's table of characters
/// takes about 400,000.
const PART_BYTES_MAX: usize = 4 << 20;
/// Most steps of such a part.
const STEPS_MAX: usize = 64;
/// Most bytes that normalizers may make of one.
const GROWTH_MAX: u64 = 1024;
/// Longest regular expression in bytes; GPT-4o's has 400.
const REGEX_BYTES_MAX: usize = 8192;
/// Most tokens around a text.
const FRAME_MAX: usize = 64;

/// A part of tokenizer.json: as a value, and as what the tokenizers crate reads from it.
pub(crate) struct Part<T> {
    pub value: Value,
    pub step: T,
}

/// Reads a part after a look at its sizes. `null` is none.
pub(crate) fn part<T: DeserializeOwned>(name: &str, raw: Option<&RawValue>) -> Result<Option<Part<T>>, String> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.get().len() > PART_BYTES_MAX {
        return Err(format!("the {name} has {} bytes, at most {PART_BYTES_MAX} are read", raw.get().len()));
    }
    let value: Value = serde_json::from_str(raw.get()).map_err(|error| format!("{name}: {error}"))?;
    if value.is_null() {
        return Ok(None);
    }
    check(name, &value)?;
    let step = serde_json::from_value(value.clone()).map_err(|error| format!("{name}: {error}"))?;
    Ok(Some(Part { value, step }))
}

/// The steps of a part in order, sequences opened. What a step is follows from its keys: the tokenizers crate reads some
/// parts without a look at their type.
pub(crate) fn steps(value: &Value) -> Vec<&Value> {
    let inner = ["normalizers", "pretokenizers", "processors", "decoders"].iter().find_map(|key| value[key].as_array());
    match inner {
        Some(inner) => inner.iter().flat_map(steps).collect(),
        None => vec![value],
    }
}

/// The tokenizers crate goes astray where what is replaced is nothing.
fn check_replaced(name: &str, step: &Value) -> Result<(), String> {
    if step["type"] != "Replace" {
        return Ok(());
    }
    let pattern = &step["pattern"];
    let matches_nothing = match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(text), _) => text.is_empty(),
        (_, Some(regex)) => {
            let regex = SysRegex::new(regex).map_err(|error| format!("{name}: {error}"))?;
            let found = (&regex).find_matches("a b").map_err(|error| format!("{name}: {error}"))?;
            found.iter().any(|((from, to), is_match)| *is_match && from == to)
        }
        _ => false,
    };
    if matches_nothing { Err(format!("the {name} replaces nothing by something: {pattern:.80}")) } else { Ok(()) }
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    let steps = steps(value);
    if steps.len() > STEPS_MAX {
        return Err(format!("the {name} has {} steps, at most {STEPS_MAX} are read", steps.len()));
    }
    let mut growth = 1_u64;
    // Tokens in a template, and one for the template.
    let mut frame = 0;
    for step in steps {
        check_replaced(name, step)?;
        growth = growth.saturating_mul(step_growth(step));
        if growth > GROWTH_MAX {
            return Err(format!("the {name} may make a text more than {GROWTH_MAX} times as long"));
        }
        let regex = step["pattern"]["Regex"].as_str().map_or(0, str::len);
        if regex > REGEX_BYTES_MAX {
            return Err(format!(
                "a regular expression of the {name} has {regex} bytes, at most {REGEX_BYTES_MAX} are read"
            ));
        }
        if step["length"] == 0 {
            return Err(format!("the {name} cuts a text into pieces of no length"));
        }
        if step["type"] == "Precompiled" || !step["precompiled_charsmap"].is_null() {
            let table = step["precompiled_charsmap"].as_str();
            crate::charsmap::check(table.ok_or("a Precompiled normalizer has no precompiled_charsmap")?)?;
        }
        if !step["single"].is_null() {
            if frame > 0 {
                return Err(format!("the {name} has two templates"));
            }
            frame = 1 + template_tokens(step)?;
        }
    }
    if frame > FRAME_MAX {
        return Err(format!("the {name} puts {} tokens around a text, at most {FRAME_MAX} are read", frame - 1));
    }
    Ok(())
}

/// How many bytes a replacement may make of one.
fn step_growth(step: &Value) -> u64 {
    if let Some(prefix) = step["prepend"].as_str() {
        return if prefix.len() as u64 > GROWTH_MAX { u64::MAX } else { 1 };
    }
    let Some(content) = step["content"].as_str().filter(|_| !step["pattern"].is_null()) else { return 1 };
    let content = content.len() as u64;
    match step["pattern"]["String"].as_str() {
        Some(pattern) if !pattern.is_empty() => content.div_ceil(pattern.len() as u64).max(1),
        // An expression may match between all characters.
        _ => 1 + content,
    }
}

/// How many tokens a template puts around the one text that it must hold.
fn template_tokens(step: &Value) -> Result<usize, String> {
    let parts = |name: &str| step[name].as_array().map_or(&[][..], Vec::as_slice);
    let entry = |name: &str| match &step["special_tokens"] {
        Value::Array(list) => list.iter().find(|entry| entry["id"] == name),
        map => map.get(name),
    };
    let ids = |part: &Value| {
        let name = part["SpecialToken"]["id"].as_str()?;
        Some((name.to_owned(), entry(name).and_then(|entry| entry["ids"].as_array()).map(Vec::len)))
    };
    let special: Vec<(String, Option<usize>)> = parts("single").iter().chain(parts("pair")).filter_map(ids).collect();
    if let Some((name, _)) = special.iter().find(|(_, n)| n.is_none()) {
        return Err(format!("the post_processor's template holds {name:?}, of which it gives no ids"));
    }
    let texts = parts("single").iter().filter(|part| part.get("Sequence").is_some()).count();
    if texts != 1 {
        return Err(format!("the post_processor puts the text {texts} times into its template for one text"));
    }
    Ok(special.into_iter().filter_map(|(_, n)| n).fold(0, usize::saturating_add))
}
