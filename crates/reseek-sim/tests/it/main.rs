//! The simulator and the bill, as tests.

mod bill;
mod search;
mod steps;
mod timeline;
