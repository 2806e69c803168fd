//! The published numbers, as tests.

mod config;
mod counts;
mod recipes;
mod schedule;
