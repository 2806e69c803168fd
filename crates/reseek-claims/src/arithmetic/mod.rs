//! Claims that follow, or do not, from other published numbers.

mod counts;
mod money;
mod network;

use reseek_sim::published::Report;

use crate::claim::{Basis, Check, Claim, Finding, Tolerance};
use crate::inputs::Inputs;

pub(crate) use counts::COUNTS;
pub(crate) use money::MONEY;
pub(crate) use network::NETWORK;

/// Printed to a digit: half a unit of it, in the claim's unit.
const fn printed(by: f64) -> Tolerance {
    Tolerance::Absolute { by, why: "half a unit of the last printed digit" }
}

const fn arithmetic(
    id: &'static str,
    place: (Report, &'static str),
    statement: &'static str,
    published: (f64, &'static str),
    tolerance: Tolerance,
    check: fn(&Inputs) -> Result<Finding, String>,
) -> Claim {
    Claim::number(id, place, statement, published, tolerance, Check::Arithmetic(check))
}

/// A claim of which an input was worked out from the published result.
const fn unread(claim: Claim, what: &'static str) -> Claim {
    Claim { basis: Basis::Unread(what), ..claim }
}
