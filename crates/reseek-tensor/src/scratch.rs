//! Memory that an op needs while it runs: kept by the thread, grown when a larger call comes,
//! never given back, so that no op allocates in the steady state.

use crate::aligned::Line;

/// A growing buffer, aligned to cache lines.
#[derive(Default)]
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// `len` floats with whatever values earlier calls left.
    pub(crate) fn floats(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() * Line::VALUES < len {
            self.0 = Line::zeros(len);
        }
        &mut Line::flatten_mut(&mut self.0)[..len]
    }
}
