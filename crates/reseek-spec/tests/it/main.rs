//! The published numbers, as tests.

mod config;
mod counts;
mod explain;
mod families;
mod recipes;
mod schedule;
