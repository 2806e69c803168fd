//! What a run takes, from first principles and measured kernel rates. Pure functions, no I/O.

#![deny(missing_docs)]

pub mod bill;
pub mod choice;
pub mod comm;
pub mod deepseek;
mod error;
pub mod laptop;
pub mod layout;
pub mod memory;
pub mod ops;
pub mod plan;
pub mod published;
pub mod rates;
pub mod recipe;
pub mod rollout;
pub mod run;
pub mod step;
mod step_report;
pub mod sweep;
pub mod timeline;
pub mod uncertainty;
pub mod validate;

pub use error::SimError;
pub use plan::{Kernels, Plan, Precision, Recompute};
pub use rates::Rates;
pub use step::{Simulated, StepReport, pair, step};
