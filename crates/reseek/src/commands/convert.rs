//! `reseek convert`: a model written in another form. The source is read tensor by tensor and never touched.

use std::borrow::Cow;
use std::path::Path;

use reseek_spec::thousands;
use reseek_store::regular::{SIDECAR_BYTES_MAX, read_regular};
use reseek_store::{
    BlockKind, FolderOptions, GgufContents, GgufTemplates, GgufTokenizer, WeightFormat, is_gguf_name, write_folder,
    write_gguf,
};
use reseek_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use crate::cli::{ConvertArgs, StoredAs};
use crate::error::{Outcome, fail};
use crate::gguf_text;
use crate::opened::Opened;

/// Files beside the weights that go along from folder to folder as they are.
const ALONG: [&str; 11] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "README.md",
    "LICENSE",
];

/// Writes the model.
pub fn convert(args: &ConvertArgs) -> Outcome<()> {
    if args.to.symlink_metadata().is_ok() {
        return fail(format!(
            "{} is there already. Name a new file or folder, or move that one away.",
            args.to.display()
        ));
    }
    let opened = Opened::new(&args.from)?;
    refuse_inside(&opened.path, &args.to)?;
    let notes = match is_gguf_name(&args.to) {
        true => to_gguf(&opened, args)?,
        false => to_folder(&opened, args)?,
    };
    let bytes = size_of(&args.to);
    if args.json {
        crate::say!("{}", json!({"from": opened.path, "to": args.to, "bytes": bytes, "notes": notes}));
        return Ok(());
    }
    crate::say!("{}: {} bytes", args.to.display(), thousands(bytes));
    notes.iter().for_each(|note| crate::say!("{note}"));
    Ok(())
}

/// Nothing is written into the source.
pub fn refuse_inside(source: &Path, to: &Path) -> Outcome<()> {
    // The lowest folder above it that is there already.
    let above = to.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let (Ok(source), Ok(above)) = (source.canonicalize(), above.canonicalize()) else { return Ok(()) };
    if source.is_dir() && above.starts_with(&source) {
        return fail(format!(
            "{} would lie inside of the model that it is made from. Name another place.",
            to.display()
        ));
    }
    Ok(())
}

fn size_of(path: &Path) -> u64 {
    let len = |path: &Path| path.metadata().map_or(0, |file| file.len());
    match path.read_dir() {
        Ok(files) => files.flatten().map(|file| len(&file.path())).sum(),
        Err(_) => len(path),
    }
}

fn to_folder(opened: &Opened, args: &ConvertArgs) -> Outcome<Vec<String>> {
    let format = match args.dtype {
        Some(StoredAs::F32) => WeightFormat::F32,
        Some(StoredAs::Bf16) => WeightFormat::Bf16,
        Some(StoredAs::Fp8) => WeightFormat::Fp8,
        Some(other) => {
            return fail(format!(
                "A folder has no {other}. Choose f32, bf16 or fp8, or name a file that ends in .gguf."
            ));
        }
        None => without_loss(opened),
    };
    let source = &opened.source;
    let options = FolderOptions {
        format,
        shard_bytes_max: args.shard_size as u64,
        config: source.config(),
        files: &beside(opened, &args.from)?,
        source: Some(&opened.path),
        meta: json!({"converted_from": args.from}),
    };
    write_folder(&args.to, source.spec(), |tensor| source.values(&tensor.name).map(Cow::Owned), &options)?;
    Ok(Vec::new())
}

/// The smaller of f32 and bf16 in which every value stays what it is.
fn without_loss(opened: &Opened) -> WeightFormat {
    let mut entries = opened.source.entries().into_iter().filter(|entry| entry.left_out.is_none());
    // The biases of gates are f32 in either.
    let is_bf16 = entries.all(|entry| entry.format == "BF16" || entry.name.ends_with("e_score_correction_bias"));
    if is_bf16 { WeightFormat::Bf16 } else { WeightFormat::F32 }
}

/// What stands beside the weights: of a folder its own files, of a GGUF file what follows from its header.
pub fn beside(opened: &Opened, name: &Path) -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    match opened.source.gguf() {
        None => {
            for file in ALONG {
                let path = opened.path.join(file);
                // A link that leads nowhere is an error, not a file that there is not.
                if path.symlink_metadata().is_ok() {
                    files.push((file.to_string(), read_regular(&path, SIDECAR_BYTES_MAX)?));
                }
            }
        }
        Some(_) => {
            let spec = opened.source.spec();
            let Some(tokenizer) = opened.tokenizer()? else { return Ok(files) };
            let template = opened.template()?;
            let template = template.as_ref().map(|template| template.source());
            files.push(("tokenizer.json".to_string(), tokenizer.to_json().to_vec()));
            let config = tokenizer.to_config_json(template, spec.max_position_embeddings);
            files.push(("tokenizer_config.json".to_string(), config));
            if let Some(template) = template {
                files.push(("chat_template.jinja".to_string(), template.as_bytes().to_vec()));
            }
            let generation = generation_config(opened, &tokenizer)?;
            files.push(("generation_config.json".to_string(), serde_json::to_vec_pretty(&generation)?));
        }
    }
    if !files.iter().any(|(file, _)| file == "README.md") {
        files.push(("README.md".to_string(), card(opened, name).into_bytes()));
    }
    Ok(files)
}

fn generation_config(opened: &Opened, tokenizer: &Tokenizer) -> Outcome<Value> {
    let spec = opened.source.spec();
    Ok(json!({"bos_token_id": spec.bos_token_id, "eos_token_id": opened.stops(Some(tokenizer))?, "do_sample": true}))
}

/// The model card of a model that has none.
fn card(opened: &Opened, name: &Path) -> String {
    let spec = opened.source.spec();
    let title = name.file_stem().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    format!(
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n# {title}\n\nA model of the family {} with {} parameters, \
         written by `reseek convert`.\n\n```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
         model = AutoModelForCausalLM.from_pretrained(\".\")\ntokenizer = AutoTokenizer.from_pretrained(\".\")\n```\n",
        spec.family.names().1,
        thousands(spec.params().total)
    )
}

fn to_gguf(opened: &Opened, args: &ConvertArgs) -> Outcome<Vec<String>> {
    let kind = match args.dtype {
        None => None,
        Some(StoredAs::F32) => Some(BlockKind::F32),
        Some(StoredAs::F16) => Some(BlockKind::F16),
        Some(StoredAs::Bf16) => Some(BlockKind::Bf16),
        Some(StoredAs::Q8_0) => Some(BlockKind::Q8_0),
        Some(StoredAs::Q4_0) => Some(BlockKind::Q4_0),
        Some(StoredAs::Q4K) => Some(BlockKind::Q4K),
        Some(StoredAs::Fp8) => {
            return fail("A GGUF file has no fp8. Choose f32, f16, bf16, q8_0, q4_0 or q4_k, or name a folder.");
        }
    };
    let tokenizer: GgufTokenizer = match opened.source.gguf() {
        Some(file) => file.tokenizer().clone(),
        None => {
            let Some(tokenizer) = opened.tokenizer()? else {
                return fail(format!(
                    "{} has no tokenizer.json, and a GGUF file holds a tokenizer. Copy it from where the model comes from.",
                    opened.path.display()
                ));
            };
            gguf_text::stored(&tokenizer, &opened.stops(Some(&tokenizer))?, opened.source.spec().vocab_size)?
        }
    };
    let templates = match opened.source.gguf() {
        Some(file) => file.templates().clone(),
        None => {
            let mut sources = ChatTemplate::sources(&opened.path)?;
            GgufTemplates { plain: sources.remove("default"), named: sources.into_iter().collect() }
        }
    };
    let name = args.from.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let contents = GgufContents {
        spec: opened.source.spec(),
        tokenizer: &tokenizer,
        templates: &templates,
        metadata: &[("name", &name)],
    };
    let written = write_gguf(&args.to, &contents, &opened.source, kind)?;
    let mut notes = written.notes;
    if let Some((first, kind)) = written.others.first() {
        notes.push(format!(
            "{} matrices have rows that are no whole blocks of the kind asked for and are stored in another, as {first} in {kind}.",
            written.others.len()
        ));
    }
    Ok(notes)
}
