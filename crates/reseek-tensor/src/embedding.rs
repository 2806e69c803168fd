//! Token embedding: rows of a table `[vocab, d]`.

use crate::buffer::{View, ViewMut};
use crate::permute::{gather_rows, scatter_add_rows};
use crate::profile::{Op, span};

/// `y[t] = table[tokens[t]]`.
///
/// # Panics
/// If a token is outside the table, or if `y` is not `tokens.len()` rows of `d`.
pub fn embedding_forward<'m>(y: impl Into<ViewMut<'m>>, table: &[f32], tokens: &[u32], d: usize) {
    let y = y.into().0;
    let _span = span(Op::Embedding, 0, 2 * y.len());
    gather_rows(y, table, tokens, d);
}

/// Gradient of the table: `dtable[tokens[t]] += dy[t]`, in the order of t.
///
/// # Panics
/// If a token is outside the table, or if `dy` is not `tokens.len()` rows of `d`.
pub fn embedding_backward<'m, 'v>(dtable: impl Into<ViewMut<'m>>, dy: impl Into<View<'v>>, tokens: &[u32], d: usize) {
    let (dtable, dy) = (dtable.into().0, dy.into().0);
    let _span = span(Op::Embedding, dy.len(), 3 * dy.len());
    scatter_add_rows(dtable, dy, tokens, d);
}
