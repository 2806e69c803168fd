//! What can be billed: subjects with their items, and the selections of items by which people arrive at their figures. The data are the
//! TOML files of `items/`; a reader may add a file of the same form.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::error::BillError;
use super::{Basis, Range};

/// Where a number is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Somebody published it, or it follows from what was published.
    Cited(String),
    /// Somebody's guess, with what it rests on.
    Assumption(String),
}

impl Source {
    /// The source in words.
    pub fn text(&self) -> &str {
        match self {
            Self::Cited(text) | Self::Assumption(text) => text,
        }
    }
}

/// One thing that costs something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "WrittenItem")]
pub struct Item {
    /// Short name, by which selections and presets name it.
    pub id: String,
    /// What it is, in words.
    pub title: String,
    /// Such as "published", "excluded: ablations", "R1", "staff", "capital".
    pub group: String,
    /// How the quantity becomes money.
    pub basis: Basis,
    /// In [`Basis::unit`].
    pub quantity: Range,
    /// Times the basis' price: an A100 or an H20 costs less than an H800.
    pub price_factor: Range,
    /// What DeepSeek (or the owner) says the item cost, in USD.
    pub published_usd: Option<f64>,
    /// Items that pay for the same thing; [`super::Selection::All`] leaves this one out.
    pub instead_of: Vec<String>,
    /// Where the quantity is from.
    pub source: Source,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenItem {
    id: String,
    title: String,
    group: String,
    basis: Basis,
    quantity: Range,
    #[serde(default = "one")]
    price_factor: Range,
    published_usd: Option<f64>,
    #[serde(default)]
    instead_of: Vec<String>,
    cited: Option<String>,
    assumption: Option<String>,
}

fn one() -> Range {
    Range::exact(1.0)
}

impl TryFrom<WrittenItem> for Item {
    type Error = String;

    fn try_from(item: WrittenItem) -> Result<Self, String> {
        let source = match (item.cited, item.assumption) {
            (Some(text), None) => Source::Cited(text),
            (None, Some(text)) => Source::Assumption(text),
            _ => return Err(format!("item {} needs exactly one of cited and assumption", item.id)),
        };
        for (what, range) in [("quantity", item.quantity), ("price_factor", item.price_factor)] {
            if let Some(fault) = range.fault(0.0) {
                return Err(format!("item {}: {what}: {fault}", item.id));
            }
        }
        Ok(Self {
            id: item.id,
            title: item.title,
            group: item.group,
            basis: item.basis,
            quantity: item.quantity,
            price_factor: item.price_factor,
            published_usd: item.published_usd,
            instead_of: item.instead_of,
            source,
        })
    }
}

/// A model, or a pair of them, with all that was paid for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Short name, such as deepseek-v3-r1.
    pub id: String,
    /// Its name in words.
    pub title: String,
    /// The accelerator of the published hours; empty where nobody said.
    pub gpu: String,
    /// All that was paid for, or may have been.
    #[serde(rename = "item")]
    pub items: Vec<Item>,
}

/// A figure in the debate, and the items whose sum it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What the figure says.
    pub title: String,
    /// Ids, or "*" for all that replace no other.
    pub items: Vec<String>,
    /// In USD.
    pub published_usd: Range,
    /// How it is meant.
    pub reading: Reading,
    /// How far our middle may be from the published range, as a share.
    pub tolerance: f64,
    /// Who published it, where and when.
    pub source: String,
    /// An item was itself taken from the position, so agreement proves nothing.
    #[serde(default)]
    pub by_construction: bool,
}

/// How a published figure is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// "about": our middle is within the tolerance of the published range.
    About,
    /// "more than": our middle is above.
    Above,
}

/// A position in the debate: the items that it counts, and its published figures. The first figure's items are what it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Short name, such as lambert.
    pub id: String,
    /// Whose position it is, in words.
    pub title: String,
    /// The subject whose items it names; none where it fits every subject.
    pub subject: Option<String>,
    /// Ids, or "*" for all that replace no other.
    pub items: Vec<String>,
    /// What was published, each with the items whose sum it is.
    #[serde(default, rename = "figure")]
    pub figures: Vec<Figure>,
    /// What a reader has to know of the position.
    pub note: String,
}

/// All subjects and presets.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Catalog {
    /// Models with their items.
    pub subjects: Vec<Subject>,
    /// Positions of the debate.
    pub presets: Vec<Preset>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, rename = "subject")]
    subjects: Vec<Subject>,
    #[serde(default, rename = "preset")]
    presets: Vec<Preset>,
}

const FILES: [(&str, &str); 4] = [
    ("deepseek-v3-r1.toml", include_str!("items/deepseek-v3-r1.toml")),
    ("llama-3.1-405b.toml", include_str!("items/llama-3.1-405b.toml")),
    ("others.toml", include_str!("items/others.toml")),
    ("presets.toml", include_str!("items/presets.toml")),
];

static EMBEDDED: LazyLock<Result<Catalog, BillError>> =
    LazyLock::new(|| FILES.iter().try_fold(Catalog::default(), |catalog, (file, text)| catalog.with(file, text)));

/// The catalog that comes with the crate.
///
/// # Errors
/// Only if the crate's own data are broken; a test holds that they are not.
pub fn catalog() -> Result<&'static Catalog, BillError> {
    EMBEDDED.as_ref().map_err(Clone::clone)
}

impl Catalog {
    /// This catalog and what the TOML `text` adds; `file` is its name in errors.
    ///
    /// # Errors
    /// No TOML of this form, an id used twice, or a preset that names what is not there.
    pub fn with(mut self, file: &str, text: &str) -> Result<Self, BillError> {
        let written: Written = toml::from_str(text)
            .map_err(|e| BillError::Data { file: file.to_string(), message: e.message().to_string() })?;
        self.subjects.extend(written.subjects);
        self.presets.extend(written.presets);
        self.check(file)?;
        Ok(self)
    }

    /// # Errors
    /// If there is none, with the nearest.
    pub fn subject(&self, id: &str) -> Result<&Subject, BillError> {
        let known = || self.subjects.iter().map(|s| s.id.as_str());
        self.subjects.iter().find(|s| s.id == id).ok_or_else(|| BillError::unknown("subject", id, known()))
    }

    /// # Errors
    /// If there is none, with the nearest.
    pub fn preset(&self, id: &str) -> Result<&Preset, BillError> {
        let known = || self.presets.iter().map(|p| p.id.as_str());
        self.presets.iter().find(|p| p.id == id).ok_or_else(|| BillError::unknown("preset", id, known()))
    }

    fn check(&self, file: &str) -> Result<(), BillError> {
        let wrong = |message: String, hint: &str| {
            Err(BillError::Catalog { file: file.to_string(), message, hint: hint.to_string() })
        };
        if let Some(id) = twice(self.subjects.iter().map(|s| &s.id)).or(twice(self.presets.iter().map(|p| &p.id))) {
            return wrong(format!("{id} is there twice"), "give each subject and preset its own id");
        }
        for subject in &self.subjects {
            if let Some(id) = twice(subject.items.iter().map(|i| &i.id)) {
                return wrong(format!("{}: item {id} is there twice", subject.id), "give each item its own id");
            }
            for item in &subject.items {
                subject.resolve(&item.instead_of)?;
            }
        }
        for preset in &self.presets {
            let Some(subject) = &preset.subject else { continue };
            let subject = self.subject(subject)?;
            for items in preset.figures.iter().map(|f| &f.items).chain([&preset.items]) {
                subject.resolve(items)?;
            }
            for figure in &preset.figures {
                let fault = figure.published_usd.fault(0.0);
                if let Some(fault) = fault.or((!figure.tolerance.is_finite()).then(|| "no tolerance".to_string())) {
                    return wrong(
                        format!("{}, {}: {fault}", preset.id, figure.title),
                        "give published_usd and tolerance",
                    );
                }
            }
        }
        Ok(())
    }
}

impl Subject {
    /// # Errors
    /// If there is none, with the nearest.
    pub fn item(&self, id: &str) -> Result<&Item, BillError> {
        let known = || self.items.iter().map(|i| i.id.as_str());
        self.items.iter().find(|i| i.id == id).ok_or_else(|| BillError::unknown("item", id, known()))
    }

    /// The ids that `names` stand for; "*" is every item that replaces no other.
    ///
    /// # Errors
    /// An unknown id, with the nearest.
    pub fn resolve(&self, names: &[String]) -> Result<BTreeSet<String>, BillError> {
        let mut ids = BTreeSet::new();
        for name in names {
            if name == "*" {
                ids.extend(self.items.iter().filter(|i| i.instead_of.is_empty()).map(|i| i.id.clone()));
            } else {
                ids.insert(self.item(name)?.id.clone());
            }
        }
        Ok(ids)
    }
}

fn twice<'a>(ids: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    let mut ids = ids;
    ids.find(|id| !seen.insert(*id))
}
