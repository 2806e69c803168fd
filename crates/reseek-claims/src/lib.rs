//! The ledger: every claim of DeepSeek's reports that can be stated as one sentence, how it can be checked from outside, the tolerance
//! stated before the check, and the verdict. Pure, no I/O.
//!
//! ```
//! let evidence = reseek_claims::verify_one("insights-kv-ratio-llama", None)?;
//! assert_eq!(evidence.verdict, reseek_claims::Verdict::Fails);
//! # Ok::<(), reseek_claims::ClaimError>(())
//! ```
//!
//! Arithmetic is checked from the published inputs ([`Inputs`]), simulation from [`SimulatedFacts`], experiments from
//! [`RunFacts`] of runs. An experiment that no run answers is open: this crate never calls one verified.

#![deny(missing_docs)]

mod arithmetic;
mod claim;
mod experiments;
mod facts;
mod inputs;
mod simulation;
mod unknowable;
mod verify;

pub use claim::{Answer, Basis, Check, Claim, Class, Finding, Plan, Tolerance};
pub use facts::SimulatedFacts;
pub use inputs::{Inputs, Serving};
pub use reseek_sim::published::Report;
pub use verify::{
    ClaimError, Difference, Evidence, RunFacts, Verdict, answered_by_a_run, evidence, find, list, verify, verify_one,
    verify_runs, verify_with,
};
