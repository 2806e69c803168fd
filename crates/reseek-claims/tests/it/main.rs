//! The ledger as a whole: complete, and every verdict as expected, and no verdict that its inputs do not make.

mod arithmetic;
mod ledger;
mod runs;
mod simulation;
