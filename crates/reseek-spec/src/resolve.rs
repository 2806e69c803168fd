//! Layers of configuration: the scale's preset, then files from left to right, then `key=value` settings. An unknown key is an error
//! that names its layer and the nearest known key.

use sha2::{Digest, Sha256};
use toml::{Table, Value};

use crate::explain::{mend, no_key};
use crate::recipe_check::{check_ranges, check_together, is_reward};
use crate::{RecipeSpec, Scale, SpecError, parse_count};

/// One source of configuration.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Where it comes from: a file's path, or `--set`.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// A recipe with everything decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Every value.
    pub recipe: RecipeSpec,
    /// The recipe as TOML, every key written out.
    pub toml: String,
    /// SHA-256 of that text.
    pub config_hash: String,
}

/// The recipe of `scale` with `layers` and then `settings` (`a.b=value`) on top.
///
/// # Errors
/// Text that is not TOML, an unknown key, a value of the wrong type or outside of its range.
pub fn resolve(scale: Scale, layers: &[Layer], settings: &[String]) -> Result<Resolved, SpecError> {
    let preset = match scale {
        Scale::Smoke => include_str!("../recipes/smoke.toml"),
        Scale::Nano => include_str!("../recipes/nano.toml"),
        Scale::Micro => include_str!("../recipes/micro.toml"),
        Scale::Mini => include_str!("../recipes/mini.toml"),
    };
    let base: Table = include_str!("../recipes/base.toml").parse().expect("the base recipe is TOML");
    let mut table = base;
    merge(&mut table, preset.parse().expect("a preset is TOML"), None, "", scale.name())?;
    table.insert("scale".to_string(), Value::String(scale.name().to_string()));
    let table = laid(table, layers, settings)?;
    check_ranges(&table)?;
    let text = toml::to_string(&table).expect("a table is TOML");
    let recipe: RecipeSpec = toml::from_str(&text).map_err(|error| SpecError::Recipe {
        layer: "the recipe".to_string(),
        message: error.message().to_string(),
        mend: "Compare with what `reseek config` prints.".to_string(),
    })?;
    check_together(&recipe)?;
    let toml = toml::to_string(&recipe).expect("a recipe is TOML");
    let config_hash = Sha256::digest(toml.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Resolved { recipe, toml, config_hash })
}

/// `table` with `layers` and then `settings` on top, which may have its keys alone.
pub(crate) fn laid(mut table: Table, layers: &[Layer], settings: &[String]) -> Result<Table, SpecError> {
    let known = table.clone();
    for layer in layers {
        let parsed: Table = layer.text.parse().map_err(|error: toml::de::Error| SpecError::Recipe {
            layer: layer.name.clone(),
            message: error.to_string().trim_end().to_string(),
            mend: "Mend the TOML.".to_string(),
        })?;
        merge(&mut table, renamed(parsed), Some(&known), "", &layer.name)?;
    }
    for setting in settings {
        merge(&mut table, renamed(parse_setting(setting)?), Some(&known), "", &format!("--set {setting}"))?;
    }
    Ok(table)
}

/// Keys of weights as recipes once had them, and the rewards that they weigh: runs of then keep theirs in a file.
const WEIGHTS: [(&str, &str); 4] = [
    ("accuracy_weight", "accuracy"),
    ("format_weight", "format"),
    ("language_weight", "language"),
    ("preference_weight", "preference"),
];

/// The table with former names of keys replaced by those of today.
fn renamed(mut table: Table) -> Table {
    for (former, reward) in WEIGHTS {
        if let Some(weight) = table.remove(former) {
            let rewards = table.entry("rewards").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(rewards) = rewards {
                rewards.entry(reward).or_insert(weight);
            }
        }
    }
    let inside = |value| match value {
        Value::Table(table) => Value::Table(renamed(table)),
        value => value,
    };
    table.into_iter().map(|(key, value)| (key, inside(value))).collect()
}

/// `a.b=value` as the table that it stands for.
fn parse_setting(setting: &str) -> Result<Table, SpecError> {
    let wrong = |message: String| SpecError::Recipe {
        layer: format!("--set {setting}"),
        message,
        mend: "Write it as --set zero.steps=40.".to_string(),
    };
    let (key, value) = setting.split_once('=').ok_or_else(|| wrong("no = between key and value".to_string()))?;
    let parse = |value: &str| format!("x = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("x"));
    let mut value = parse(value)
        .or_else(|| parse(&format!("{value:?}")))
        .ok_or_else(|| wrong("the value cannot be read".to_string()))?;
    for part in key.trim().rsplit('.') {
        if part.is_empty() {
            return Err(wrong("an empty part in the key".to_string()));
        }
        value = Value::Table(Table::from_iter([(part.to_string(), value)]));
    }
    match value {
        Value::Table(table) => Ok(table),
        _ => Err(wrong("no key".to_string())),
    }
}

/// Lays `over` onto `table`. With `known`, a key that it lacks is an error, as is a value of another type.
pub(crate) fn merge(
    table: &mut Table,
    over: Table,
    known: Option<&Table>,
    prefix: &str,
    layer: &str,
) -> Result<(), SpecError> {
    for (key, mut value) in over {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        if let Some(known) = known {
            check(&path, &key, &mut value, known, layer)?;
        }
        match (table.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => {
                let known = known.and_then(|known| known.get(&key)).and_then(Value::as_table);
                merge(inner, value, known, &path, layer)?;
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
    Ok(())
}

fn check(path: &str, key: &str, value: &mut Value, known: &Table, layer: &str) -> Result<(), SpecError> {
    let wrong = |message: String, mend: String| Err(SpecError::Recipe { layer: layer.to_string(), message, mend });
    // Which rewards there are is not this room's to know: their table is reseek-rl's.
    let reward = Value::Float(0.0);
    let of_any_name = is_reward(path).then_some(&reward);
    let Some(expected) = known.get(key).or(of_any_name) else {
        let path = path.to_string() + &inside(value);
        return wrong(no_key(&path), mend(&path));
    };
    // What a model is follows from the dial alone: a recipe of one scale for the model of another is neither.
    if path == "scale" && expected != value {
        let message = format!("scale is {value}, and this command's is {expected}");
        return wrong(message, "Set it with --scale.".to_string());
    }
    if let (Value::Float(_), Value::Integer(n)) = (expected, &*value) {
        *value = Value::Float(*n as f64);
    }
    // Counts are written as in every option: 1e6, 1M.
    if let (Value::Integer(_), Value::Float(_) | Value::String(_)) = (expected, &*value) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        if let Ok(count) = parse_count(&text) {
            *value = Value::Integer(count as i64);
        }
    }
    if expected.type_str() != value.type_str() {
        let message =
            format!("{path} = {value} is of type {}, but it must be of type {}", value.type_str(), expected.type_str());
        return wrong(message, format!("The scale's own recipe has {path} = {expected}."));
    }
    Ok(())
}

/// The way on to the first value in a table, which is what someone meant who wrote `[zreo] steps = 3`.
fn inside(value: &Value) -> String {
    match value {
        Value::Table(table) => {
            table.iter().next().map_or(String::new(), |(key, value)| format!(".{key}{}", inside(value)))
        }
        _ => String::new(),
    }
}

/// The known name with the fewest letters to change (Levenshtein's distance), the first of equals. Only the beginning of a name that came
/// from outside is compared.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name: String = name.chars().take(80).collect();
    known.min_by_key(|other| strsim::levenshtein(&name, other))
}
