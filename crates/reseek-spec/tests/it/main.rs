//! The published numbers, as tests.

mod config;
mod counts;
mod explain;
mod recipes;
mod schedule;
