//! Training, from outside the crate.

mod common;
mod lanes;
mod objective;
mod optimizer;
mod schedule;
mod session;
mod step;
