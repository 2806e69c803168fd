//! What a claim is.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use reseek_sim::published::Report;
use reseek_sim::rates::Rate;

use crate::{Inputs, SimulatedFacts};

/// A claim in our words, with what it takes to check it.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Short name, which begins with its report's.
    pub id: &'static str,
    /// Who says it.
    pub report: Report,
    /// Section, table or file.
    pub place: &'static str,
    /// In our words, one sentence.
    pub statement: &'static str,
    /// The published value, where the claim is one number.
    pub published: Option<f64>,
    /// Of the published value and of what is found; empty where there is no number.
    pub unit: &'static str,
    /// How far a finding may be from it.
    pub tolerance: Tolerance,
    /// What the verdict stands on besides the check.
    pub basis: Basis,
    /// How it is checked.
    pub check: Check,
}

/// What a verdict stands on besides its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Figures and rates from elsewhere than the claim.
    Independent,
    /// The simulator's rates that were set with the run that the claim is about: agreement is by construction.
    SetWith(&'static [Rate]),
    /// An input that was not read in the report but worked out from what the report says of the result: nothing is checked until it is read.
    Unread(&'static str),
}

/// How a claim can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// From other published numbers.
    Arithmetic,
    /// By the simulator of full-scale runs.
    Simulation,
    /// By training or sampling.
    Experiment,
    /// By nobody outside.
    CannotBeChecked,
}

/// How far a result may be from the published one, and why that far. Stated with the claim, before any check.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tolerance {
    /// In the claim's unit, either way.
    Absolute {
        /// In the unit.
        by: f64,
        /// Why this wide.
        why: &'static str,
    },
    /// As a share of the published value, either way.
    Relative {
        /// As a share: 0.05 is 5 %.
        by: f64,
        /// Why this wide.
        why: &'static str,
    },
    /// Between the published value divided by this and multiplied by this.
    Factor {
        /// At least 1.
        by: f64,
        /// Why this wide.
        why: &'static str,
    },
    /// Less than the published value.
    Below {
        /// Why that is enough.
        why: &'static str,
    },
    /// The rule of an experiment.
    Test {
        /// Statistic and decision.
        rule: &'static str,
    },
    /// Nothing to compare.
    None {
        /// Why not.
        why: &'static str,
    },
}

/// The check as code or, where there is none yet, what it will be.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// From the published inputs.
    Arithmetic(fn(&Inputs) -> Result<Finding, String>),
    /// From what the simulator says.
    Simulation(fn(&SimulatedFacts) -> Result<Finding, String>),
    /// By runs, as planned.
    Experiment(Plan),
    /// Not at all.
    CannotBeChecked {
        /// What nobody outside has.
        reason: &'static str,
    },
}

/// An experiment to be run, stated beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// The difference that a run's summary has to have; nothing where no command of ours answers the claim.
    pub answer: Option<Answer>,
    /// Which way the claim says that the result goes.
    pub direction: &'static str,
    /// Statistic and decision; what satisfies neither side is inconclusive.
    pub test: &'static str,
    /// Fewest seeds that decide.
    pub seeds_min: u32,
}

/// What of a run answers a claim. Its difference is positive where the claim says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A paired difference of the run's summary, by name.
    OneRun(&'static str),
    /// R1-Zero's pass@1 of a run less that of another one, whose recipe differs in one key.
    TwoRuns(&'static str),
}

/// What a check found, in the claim's unit, with the formula and the inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// In the claim's unit.
    pub value: f64,
    /// Ends, where the check has them.
    pub interval: Option<(f64, f64)>,
    /// The formula with its inputs.
    pub working: String,
}

impl Finding {
    pub(crate) fn of(value: f64, working: String) -> Result<Self, String> {
        Ok(Self { value, interval: None, working })
    }
}

impl Claim {
    /// A claim about one number, checked by `check` from figures that have nothing to do with it.
    pub(crate) const fn number(
        id: &'static str,
        (report, place): (Report, &'static str),
        statement: &'static str,
        (published, unit): (f64, &'static str),
        tolerance: Tolerance,
        check: Check,
    ) -> Self {
        let basis = Basis::Independent;
        Self { id, report, place, statement, published: Some(published), unit, tolerance, basis, check }
    }

    /// A claim in words.
    pub(crate) const fn words(
        id: &'static str,
        (report, place): (Report, &'static str),
        statement: &'static str,
        tolerance: Tolerance,
        check: Check,
    ) -> Self {
        let basis = Basis::Independent;
        Self { id, report, place, statement, published: None, unit: "", tolerance, basis, check }
    }

    /// How it is checked.
    pub fn class(&self) -> Class {
        match self.check {
            Check::Arithmetic(_) => Class::Arithmetic,
            Check::Simulation(_) => Class::Simulation,
            Check::Experiment(_) => Class::Experiment,
            Check::CannotBeChecked { .. } => Class::CannotBeChecked,
        }
    }

    /// The command that answers an experiment, where there is one.
    pub fn command(&self) -> Option<String> {
        let command = format!("reseek claims verify {} --run DIR", self.id);
        match self.plan()?.answer? {
            Answer::OneRun(_) => Some(command),
            Answer::TwoRuns(_) => Some(format!("{command} --beside DIR")),
        }
    }

    /// What an experiment will be run by.
    pub fn plan(&self) -> Option<&Plan> {
        match &self.check {
            Check::Experiment(plan) => Some(plan),
            _ => None,
        }
    }
}

impl Tolerance {
    /// Why this wide, or the rule.
    pub fn why(&self) -> &'static str {
        match self {
            Self::Absolute { why, .. } | Self::Relative { why, .. } | Self::Factor { why, .. } => why,
            Self::Below { why } | Self::None { why } => why,
            Self::Test { rule } => rule,
        }
    }

    /// Distance of `found` from `published` in the tolerance's own terms: the claim's unit, or a share.
    pub fn deviation(&self, published: f64, found: f64) -> f64 {
        match self {
            Self::Absolute { .. } => found - published,
            _ => found / published - 1.0,
        }
    }

    /// Whether a finding is near enough to the published value; nothing where it is an interval of which only a part is.
    pub fn judge(&self, published: f64, finding: &Finding) -> Option<bool> {
        let Some((low, high)) = finding.interval else { return Some(self.allows(published, finding.value)) };
        // Ends on both sides of the published value reach what is allowed somewhere between them.
        let straddles = (low <= published && published <= high) && !matches!(self, Self::Below { .. });
        let allowed = [low, finding.value, high].map(|value| self.allows(published, value));
        if allowed == [true; 3] {
            Some(true)
        } else if allowed == [false; 3] && !straddles {
            Some(false)
        } else {
            None
        }
    }

    fn allows(&self, published: f64, found: f64) -> bool {
        // Room for the rounding of our own sums, a billionth of the value.
        let slack = 1e-9 * published.abs();
        match *self {
            Self::Absolute { by, .. } => (found - published).abs() <= by + slack,
            Self::Relative { by, .. } => (found - published).abs() <= by * published.abs() + slack,
            Self::Factor { by, .. } => found >= published / by && found <= published * by,
            Self::Below { .. } => found < published,
            Self::Test { .. } | Self::None { .. } => false,
        }
    }
}

impl Basis {
    /// In words, where there is something to say.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Independent => None,
            Self::SetWith(rates) => Some(format!("rates set with this run: {}", Rate::names(rates))),
            Self::Unread(what) => Some(what.to_string()),
        }
    }
}

impl std::fmt::Display for Tolerance {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Absolute { by, why } => write!(f, "±{by} ({why})"),
            Self::Relative { by, why } => write!(f, "±{} % ({why})", (by * 1e6).round() / 1e4),
            Self::Factor { by, why } => write!(f, "within a factor of {by} ({why})"),
            Self::Below { why } => write!(f, "below ({why})"),
            Self::Test { rule } => write!(f, "{rule}"),
            Self::None { why } => write!(f, "none ({why})"),
        }
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut claim = serializer.serialize_struct("Claim", 11)?;
        claim.serialize_field("id", self.id)?;
        claim.serialize_field("report", &self.report)?;
        claim.serialize_field("place", self.place)?;
        claim.serialize_field("statement", self.statement)?;
        claim.serialize_field("class", &self.class())?;
        claim.serialize_field("published", &self.published)?;
        claim.serialize_field("unit", self.unit)?;
        claim.serialize_field("tolerance", &self.tolerance)?;
        claim.serialize_field("basis", &self.basis.words())?;
        claim.serialize_field("plan", &self.plan())?;
        claim.serialize_field("command", &self.command())?;
        claim.end()
    }
}
