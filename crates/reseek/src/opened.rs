//! A model that someone named: a Hugging Face folder, a GGUF file or a name on the Hub. The one place that says how it is found and what
//! belongs to it, for every command that takes a model.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reseek_hub::{HubModel, SCHEME};
use reseek_model::{Model, ReadError, Tensors, Weights};
use reseek_store::{BlockKind, CodeBlock, GenerationConfig, ModelSource, QuantisedTensor, ScaleForm};
use reseek_tensor::compute::Compute;
use reseek_tensor::quantised::{Bits, Block, Form, Quantised, Scales};
use reseek_text::{ChatTemplate, Special, Tokenizer};

use crate::error::{Outcome, fail};
use crate::gguf_text;
use crate::inside::refuse_run;
use crate::memory::bounded;

/// Where the model called `name` lies: of a name on the Hub in its cache, else at that path.
///
/// # Errors
/// A run's own folder, and a name on the Hub that is not at hand.
pub fn place(name: &Path) -> Outcome<PathBuf> {
    let on_hub = name.to_str().filter(|name| name.starts_with(SCHEME));
    let path = match on_hub {
        Some(name) => name.parse::<HubModel>()?.locate()?,
        None => name.to_path_buf(),
    };
    refuse_run(&path)?;
    Ok(path)
}

/// An open model: its headers are read and checked, no weight is.
pub struct Opened {
    /// Where it lies.
    pub path: PathBuf,
    pub source: ModelSource,
}

/// A model to sample from and to score with, and what turns text into its tokens.
pub struct Loaded {
    pub model: Model,
    pub tokenizer: Arc<Tokenizer>,
    /// Tokens that end an answer, each of them.
    pub stops: Vec<u32>,
    pub advice: Advice,
}

/// How a model's generation_config.json would have it sampled, of what can be obeyed here.
#[derive(Default)]
pub struct Advice {
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
}

/// [`Opened::new`] and [`Opened::load`].
pub fn load(name: &Path, dtype: Option<Compute>) -> Outcome<Loaded> {
    Opened::new(name)?.load(dtype)
}

/// What a model's own template makes of something, in bounded memory.
pub fn render<T>(work: impl FnOnce() -> T) -> T {
    const BEYOND: &str =
        "the chat template makes a text of more than 1 GiB in memory. Take the template from the model's publisher.";
    bounded(1 << 30, BEYOND, work)
}

impl Opened {
    /// Opens the model called `name`.
    pub fn new(name: &Path) -> Outcome<Self> {
        let path = place(name)?;
        let source = ModelSource::open(&path)?;
        Ok(Self { path, source })
    }

    /// [`Opened::new`] to look at: bytes that a manifest vouches for are not read to check it.
    pub fn glance(name: &Path) -> Outcome<Self> {
        let path = place(name)?;
        let source = ModelSource::glance(&path)?;
        Ok(Self { path, source })
    }

    /// What turns text into its tokens; none in a folder without a tokenizer.json.
    pub fn tokenizer(&self) -> Outcome<Option<Tokenizer>> {
        match self.source.gguf() {
            Some(file) => Ok(Some(gguf_text::tokenizer(file.tokenizer(), &self.path)?)),
            None if self.path.join("tokenizer.json").symlink_metadata().is_err() => Ok(None),
            None => Ok(Some(Tokenizer::from_folder(&self.path)?)),
        }
    }

    /// [`Opened::tokenizer`], where there must be one.
    pub fn needed_tokenizer(&self) -> Outcome<Tokenizer> {
        match self.tokenizer()? {
            Some(tokenizer) => Ok(tokenizer),
            None => fail(format!(
                "{} has no tokenizer.json, which turns text into its tokens. Copy it from where the model comes from.",
                self.path.display()
            )),
        }
    }

    /// Its chat template, where there is one.
    pub fn template(&self) -> Outcome<Option<ChatTemplate>> {
        match self.source.gguf() {
            Some(file) => Ok(file.chat_template().map(ChatTemplate::new).transpose()?),
            None => Ok(ChatTemplate::from_folder(&self.path)?),
        }
    }

    /// generation_config.json, where there is one.
    pub fn generation_config(&self) -> Outcome<Option<GenerationConfig>> {
        match self.source.gguf() {
            Some(_) => Ok(None),
            None => Ok(GenerationConfig::read(&self.path)?),
        }
    }

    /// The tokens that end an answer: those of generation_config.json, or where it is silent of config.json or the GGUF file, and the
    /// tokenizer's end token.
    pub fn stops(&self, tokenizer: Option<&Tokenizer>) -> Outcome<Vec<u32>> {
        let named = match (self.source.gguf(), self.generation_config()?) {
            (Some(file), _) => file.tokenizer().eog.iter().map(|&id| id as u32).collect(),
            (None, Some(config)) if !config.eos_token_ids.is_empty() => config.eos_token_ids,
            (None, _) => self.source.spec().eos_token_ids(),
        };
        let own = tokenizer.and_then(|tokenizer| tokenizer.special(Special::Eos).ok());
        let mut stops: Vec<u32> = named.into_iter().chain(own).collect();
        let mut seen = BTreeSet::new();
        stops.retain(|stop| seen.insert(*stop));
        Ok(stops)
    }

    /// All that answering takes.
    pub fn load(&self, dtype: Option<Compute>) -> Outcome<Loaded> {
        let tokenizer = self.needed_tokenizer()?;
        let (stops, rows) = (self.stops(Some(&tokenizer))?, self.source.spec().vocab_size);
        if let Some(beyond) = stops.iter().find(|&&stop| stop as usize >= rows) {
            return fail(format!(
                "{}: the end token {beyond} is none of the model's {rows}. Correct eos_token_id in generation_config.json or config.json.",
                self.path.display()
            ));
        }
        Ok(Loaded { model: self.model(dtype)?, tokenizer: Arc::new(tokenizer), stops, advice: self.advice()? })
    }

    /// What generation_config.json advises. A model that shall not sample takes the likeliest token.
    fn advice(&self) -> Outcome<Advice> {
        let Some(config) = self.generation_config()? else { return Ok(Advice::default()) };
        let greedy = (config.do_sample == Some(false)).then_some(0.0);
        Ok(Advice {
            temperature: greedy.or(config.temperature.map(|t| t as f32)),
            top_k: config.top_k,
            top_p: config.top_p.map(|p| p as f32),
        })
    }

    /// The model, to sample from and to score with: in `dtype`, or without one in f32 but for matrices that are stored quantised, which
    /// are multiplied with as they are.
    pub fn model(&self, dtype: Option<Compute>) -> Outcome<Model> {
        let tensors = Stored { source: &self.source, quantised: dtype.is_none() };
        Ok(Model::open(self.source.spec().clone(), &tensors, dtype.unwrap_or_default())?)
    }

    /// Its weights in f32, to train.
    pub fn weights(&self) -> Outcome<Weights> {
        let read = |name: &str, values: &mut [f32]| Ok(self.source.values_into(name, values)?);
        Ok(Weights::read(self.source.spec().clone(), |tensor, values| read(&tensor.name, values))?)
    }
}

/// A source as a model's parts read it.
struct Stored<'a> {
    source: &'a ModelSource,
    /// Whether quantised matrices stay so.
    quantised: bool,
}

impl Tensors for Stored<'_> {
    fn values(&self, name: &str) -> Result<Cow<'_, [f32]>, ReadError> {
        Ok(Cow::Owned(self.source.values(name)?))
    }

    fn quantised(&self, name: &str) -> Result<Option<Quantised>, ReadError> {
        if !self.quantised {
            return Ok(None);
        }
        Ok(self.source.blocks(name)?.as_ref().map(quantised))
    }
}

/// How products hold the values of a kind, if these are quantised.
pub fn form_of(kind: BlockKind) -> Option<Form> {
    let of = kind.code_form()?;
    let bits = Bits::of_count(of.bits)?;
    let scales = match of.scales {
        ScaleForm::Halves => Scales::Halves,
        ScaleForm::Bytes => Scales::Bytes,
        ScaleForm::Nibbles => Scales::Nibbles,
    };
    Some(Form { bits, group: of.group, scales, has_least: of.has_least, zero: of.zero, table: of.table })
}

/// The file's blocks in the order in which products read them.
fn quantised(tensor: &QuantisedTensor) -> Quantised {
    let block = |CodeBlock { codes, scale, least, scales, leasts }| Block { codes, scale, least, scales, leasts };
    let form = form_of(tensor.kind).expect("a tensor in blocks has codes");
    let [n, k] = tensor.shape;
    let packed = Quantised::pack(form, n, k, |panel| {
        panel.rows().for_each(|row| panel.set_row(row, tensor.row(row).map(block)));
        Ok::<(), Infallible>(())
    });
    let Ok(packed) = packed;
    packed
}
