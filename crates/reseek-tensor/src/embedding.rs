//! Token embedding: rows of a table `[vocab, d]`.

use crate::buffer::{View, ViewMut};
use crate::linear::Linear;
use crate::permute::{gather_rows, scatter_add_rows};
use crate::profile::{Op, span};

/// A table `[vocab, d]` of rows to look up.
#[derive(Clone, Copy)]
pub enum Table<'a> {
    /// In f32, row after row.
    Values(&'a [f32]),
    /// The rows of a matrix that products read, because it is the head as well: put together when they are asked for.
    Rows(&'a Linear),
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for Table<'a> {
    fn from(values: &'a T) -> Self {
        Self::Values(values.as_ref())
    }
}

/// `y[t] = table[tokens[t]]`.
///
/// # Panics
/// If a token is outside the table, if `y` is not `tokens.len()` rows of `d`, or a matrix has rows of another width.
pub fn embedding_forward<'m, 't>(y: impl Into<ViewMut<'m>>, table: impl Into<Table<'t>>, tokens: &[u32], d: usize) {
    let y = y.into().0;
    let _span = span(Op::Embedding, 0, 2 * y.len());
    match table.into() {
        Table::Values(values) => gather_rows(y, values, tokens, d),
        Table::Rows(table) => {
            assert_eq!(y.len(), tokens.len() * d, "room for {} rows of {d}", tokens.len());
            y.chunks_exact_mut(d.max(1)).zip(tokens).for_each(|(y, &token)| table.row(token as usize, y));
        }
    }
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
