//! GGUF files, llama.cpp's form of a model: configuration, tokenizer, template and weights in one file.
//!
//! Read are models of the architectures llama, qwen2, qwen2moe, qwen3, qwen3moe, deepseek2 and gemma3. Tensors are read one at a time, a
//! quantised one as it is, for kernels that multiply with it, or as the f32 values that it stands for. Names and the order of the rows
//! are Hugging Face's in the result: the file's names are its own, llama's rows of q and k are put back where `rotate_half` has them,
//! Gemma's norms lose the 1 that is added to them, experts come one by one, and MLA's maps of keys and values as the one that they were.
//!
//! Every key of a header is obeyed, known to be without effect, or refused with its name (`architecture.rs` has the list). Names, defaults
//! and meanings are those of llama.cpp (src/llama-model.cpp, src/models/, src/llama-vocab.cpp).
//!
//! Written are the same architectures: [`write_gguf`] streams, and gives the tensors back the file's names and order.
//!
//! A file may be hostile: each count and length is held against what is left of the file before anything of that size is made.

mod architecture;
mod blocks;
mod config;
mod file;
mod fits;
mod header;
mod metadata;
mod names;
mod rope;
mod source;
mod tokenizer;
mod write;
mod write_keys;

use std::path::Path;

use crate::StoreError;
pub use blocks::{BlockKind, CodeBlock, CodeForm, ScaleForm};
pub use file::{GgufEntry, GgufFile};
pub use tokenizer::{GgufTemplates, GgufTokenizer, TokenKind, TokenizerModel};
pub use write::{GgufContents, GgufSource, GgufWritten, write_gguf};

/// A tensor in the file's own blocks along a row.
#[derive(Clone, Debug)]
pub struct QuantisedTensor {
    /// Hugging Face's name.
    pub name: String,
    /// [rows, columns].
    pub shape: [usize; 2],
    /// The form of the blocks.
    pub kind: BlockKind,
    /// The blocks of all rows, in row order.
    pub bytes: Vec<u8>,
}

fn damaged(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::malformed(path, reason, "the file is cut short or damaged, fetch it again")
}
