//! Training, from outside the crate.

mod common;
mod lanes;
mod optimizer;
mod schedule;
mod session;
mod step;
