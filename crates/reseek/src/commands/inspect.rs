//! `reseek inspect`: what a model is, and what is odd about it, before anything is computed with it.

use std::collections::BTreeMap;

use reseek_spec::{ModelSpec, RopeScaling, thousands};
use reseek_store::TensorEntry;
use reseek_text::{Special, TemplateCheck, Tokenizer};
use serde_json::{Value, json};

use crate::cli::InspectArgs;
use crate::error::Outcome;
use crate::opened::{Opened, render};

/// Says all that the files say.
pub fn inspect(args: &InspectArgs) -> Outcome<()> {
    let opened = Opened::glance(&args.model)?;
    let tokenizer = opened.tokenizer()?;
    let seen = Seen::new(&opened, tokenizer.as_ref())?;
    if args.json {
        crate::say!("{}", serde_json::to_string_pretty(&seen.json(args.tensors))?);
    } else {
        seen.print(args.tensors);
    }
    Ok(())
}

/// What was found.
struct Seen<'a> {
    opened: &'a Opened,
    entries: Vec<TensorEntry>,
    tokenizer: Option<&'a Tokenizer>,
    /// Tokens at which an answer ends, with their spellings.
    stops: Vec<(u32, String)>,
    template: Option<TemplateCheck>,
    odd: Vec<String>,
}

impl<'a> Seen<'a> {
    fn new(opened: &'a Opened, tokenizer: Option<&'a Tokenizer>) -> Outcome<Self> {
        let spelt = |id: u32| tokenizer.map_or_else(String::new, |tokenizer| tokenizer.decode(&[id]));
        let stops = opened.stops(tokenizer)?.into_iter().map(|id| (id, spelt(id))).collect();
        let mut seen =
            Self { opened, entries: opened.source.entries(), tokenizer, stops, template: None, odd: Vec::new() };
        seen.odd.extend(opened.source.remarks().iter().cloned());
        seen.look_at_template()?;
        seen.look_at_vocabulary();
        let penalty =
            opened.generation_config()?.and_then(|config| config.repetition_penalty).filter(|&penalty| penalty != 1.0);
        if let Some(penalty) = penalty {
            seen.odd.push(format!(
                "generation_config.json asks for a repetition_penalty of {penalty}, which is not applied here."
            ));
        }
        let doubled = seen.entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.left_out?)));
        let doubled: Vec<String> = doubled.map(|(name, why)| format!("{name} is not read: {why}.")).collect();
        seen.odd.extend(few(doubled));
        Ok(seen)
    }

    fn look_at_template(&mut self) -> Outcome<()> {
        let Some(tokenizer) = self.tokenizer else {
            self.odd.push("There is no tokenizer, so it takes token ids and no text.".to_string());
            return Ok(());
        };
        // One that cannot be read or rendered is odd, and the rest can still be said.
        let template = match self.opened.template() {
            Ok(Some(template)) => template,
            Ok(None) => return Ok(()),
            Err(failure) => {
                self.odd.push(format!("The template cannot be read: {failure}"));
                return Ok(());
            }
        };
        let ends: Vec<u32> = self.stops.iter().map(|(id, _)| *id).collect();
        let check = match render(|| template.check(tokenizer, &ends)) {
            Ok(check) => check,
            Err(error) => {
                self.odd.push(format!("The template fails on an example: {error}"));
                return Ok(());
            }
        };
        // Of several end tokens one is enough.
        if !ends.is_empty() && check.unwritten.len() == ends.len() {
            let ends = check.unwritten.join(" or ");
            self.odd.push(format!("The template ends no answer with {ends}: an answer may go on to its length limit."));
        }
        if check.opens_think {
            self.odd.push("The template opens <think> before the answer, which begins inside of it.".to_string());
        }
        self.template = Some(check);
        Ok(())
    }

    fn look_at_vocabulary(&mut self) {
        let Some(tokenizer) = self.tokenizer else { return };
        let (rows, tokens) = (self.opened.source.spec().vocab_size, tokenizer.vocab_size());
        if tokens > rows {
            self.odd.push(format!(
                "The tokenizer has {} tokens, the embedding {} rows: texts with the last ones cannot be computed.",
                thousands(tokens as u64),
                thousands(rows as u64)
            ));
        }
        let beyond: Vec<String> =
            self.stops.iter().filter(|(id, _)| *id as usize >= rows).map(|(id, _)| id.to_string()).collect();
        if !beyond.is_empty() {
            self.odd.push(format!("No row of the embedding is for the end token {}.", beyond.join(" and ")));
        }
        if self.stops.is_empty() {
            self.odd.push("No end token is named: answers end at their length limit.".to_string());
        }
    }

    /// Tensors and bytes by format.
    fn formats(&self) -> BTreeMap<&str, (usize, u64)> {
        let mut formats = BTreeMap::new();
        for entry in &self.entries {
            let (tensors, bytes) = formats.entry(entry.format.as_str()).or_insert((0, 0));
            *tensors += 1;
            *bytes += entry.bytes;
        }
        formats
    }

    fn roles(&self) -> Vec<(&'static str, Option<(u32, String)>)> {
        let Some(tokenizer) = self.tokenizer else { return Vec::new() };
        let of = |special| Some((tokenizer.special(special).ok()?, tokenizer.special_text(special)?.to_string()));
        [("begin", Special::Bos), ("end", Special::Eos), ("padding", Special::Pad)]
            .map(|(role, s)| (role, of(s)))
            .into()
    }

    fn json(&self, with_tensors: bool) -> Value {
        let spec = self.opened.source.spec();
        let files: Vec<Value> =
            self.opened.source.files().iter().map(|(path, bytes)| json!({"path": path, "bytes": bytes})).collect();
        let formats: Vec<Value> = self
            .formats()
            .into_iter()
            .map(|(format, (tensors, bytes))| json!({"format": format, "tensors": tensors, "bytes": bytes}))
            .collect();
        let token = |token: Option<(u32, String)>| token.map(|(id, text)| json!({"id": id, "text": text}));
        let roles: BTreeMap<&str, Option<Value>> =
            self.roles().into_iter().map(|(role, found)| (role, token(found))).collect();
        let stops: Vec<Option<Value>> = self.stops.iter().map(|stop| token(Some(stop.clone()))).collect();
        let mut out = json!({
            "path": self.opened.path, "files": files, "config": spec.to_hf_json(), "parameters": spec.params(),
            "kv_bytes_per_token_bf16": spec.kv_bytes_per_token(2), "formats": formats,
            "tokenizer": self.tokenizer.map(|tokenizer| json!({
                "kind": tokenizer.kind(), "tokens": tokenizer.vocab_size(), "special": roles,
            })),
            "stops": stops,
            "template": self.template.as_ref().map(|t| json!({"example": t.example, "opens_think": t.opens_think})),
            "odd": self.odd,
        });
        if with_tensors {
            let entry = |e: &TensorEntry| json!({"name": e.name, "shape": e.shape, "format": e.format, "bytes": e.bytes, "left_out": e.left_out});
            out["tensors"] = self.entries.iter().map(entry).collect();
        }
        out
    }

    fn print(&self, with_tensors: bool) {
        let row = |name: &str, value: String| crate::say!("{name:<12}{value}");
        let spec = self.opened.source.spec();
        let files = self.opened.source.files();
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        let count = if files.len() == 1 { "one file".to_string() } else { format!("{} files", files.len()) };
        row("model", format!("{}: {count} of weights, {}", self.opened.path.display(), megabytes(bytes)));
        row("family", family(spec));
        let counts = spec.params();
        let active = match counts.active < counts.total {
            true => format!(", {} of them active a token", thousands(counts.active)),
            false => String::new(),
        };
        row("parameters", format!("{}{active}", thousands(counts.total)));
        row("context", context(spec));
        let formats = self.formats().into_iter();
        let formats: Vec<String> =
            formats.map(|(format, (n, bytes))| format!("{n} in {format} ({})", megabytes(bytes))).collect();
        row("tensors", formats.join(", "));
        self.print_text();
        for (i, odd) in self.odd.iter().enumerate() {
            row(if i == 0 { "odd" } else { "" }, odd.clone());
        }
        if with_tensors {
            crate::say!();
            for TensorEntry { name, shape, format, left_out, .. } in &self.entries {
                let left_out = left_out.map_or(String::new(), |why| format!("  not read: {why}"));
                crate::say!("{name:<60} {:<20} {format}{left_out}", format!("{shape:?}"));
            }
        }
    }

    fn print_text(&self) {
        let row = |name: &str, value: String| crate::say!("{name:<12}{value}");
        if let Some(tokenizer) = self.tokenizer {
            let roles: Vec<String> = self
                .roles()
                .into_iter()
                .map(|(role, found)| match found {
                    Some((id, text)) => format!("{role} {text} ({id})"),
                    None => format!("no {role} token"),
                })
                .collect();
            let tokens = thousands(tokenizer.vocab_size() as u64);
            row("tokenizer", format!("{}, {tokens} tokens; {}", tokenizer.kind(), roles.join(", ")));
        }
        let stops: Vec<String> = self.stops.iter().map(|(id, text)| format!("{text} ({id})")).collect();
        row("ends at", if stops.is_empty() { "nothing".to_string() } else { stops.join(", ") });
        match &self.template {
            None => row("template", "none: it completes text".to_string()),
            Some(check) => {
                for (i, line) in check.example.lines().enumerate() {
                    row(if i == 0 { "template" } else { "" }, format!("│ {line}"));
                }
            }
        }
    }
}

/// The first few of many, and how many more there are.
fn few(mut lines: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 4;
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("{more} more tensors are not read; --tensors lists all."));
    }
    lines
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", thousands(bytes.div_ceil(1_000_000)))
}

fn family(spec: &ModelSpec) -> String {
    let (layers, width, heads) = (spec.num_hidden_layers, spec.hidden_size, spec.num_attention_heads);
    let attention = match &spec.mla {
        Some(mla) => format!("{heads} heads on a latent of {} + {}", mla.kv_lora_rank, mla.qk_rope_head_dim),
        None => format!("{heads} heads of {} on {} of keys and values", spec.head_dim, spec.num_key_value_heads),
    };
    let mlp = match &spec.moe {
        Some(moe) => format!(
            "{} of {} experts of {}, {} more for every token",
            moe.num_experts_per_tok,
            moe.n_routed_experts,
            moe.moe_intermediate_size,
            moe.shared_expert_intermediate_size
        ),
        None => format!("MLP {}", spec.intermediate_size),
    };
    let head = if spec.tie_word_embeddings { "the head is the embedding" } else { "a head of its own" };
    let mtp = if spec.num_nextn_predict_layers > 0 { ", multi-token prediction" } else { "" };
    format!("{}: {layers} layers of width {width}, {attention}, {mlp}, {head}{mtp}", spec.family.names().1)
}

fn context(spec: &ModelSpec) -> String {
    let tokens = thousands(spec.max_position_embeddings as u64);
    let scaling = match &spec.rope_scaling {
        RopeScaling::None => String::new(),
        _ => {
            let stretched = spec.to_hf_json()["rope_scaling"].to_string();
            format!(", rotary frequencies stretched: {stretched}")
        }
    };
    let cache = thousands(spec.kv_bytes_per_token(2));
    format!("{tokens} tokens, {cache} bytes of cache a token in bf16; rope theta {}{scaling}", spec.rope_theta)
}
