//! Sampling and scoring, from outside the crate.

mod common;
mod refusals;
mod same_bits;
mod sampling;
