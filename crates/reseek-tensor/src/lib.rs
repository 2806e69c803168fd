//! f32, bf16 and emulated fp8 arithmetic on the CPU: the ops of a transformer with their derivatives, random streams and
//! the thread pool. The only crate with `unsafe`.
//!
//! Ops are functions on [`buffer::View`]s of values in row-major order, which slices and buffers become by
//! themselves, and run on the calling thread; callers cut a batch into a fixed number of lanes and run those with [`pool::map_lanes`]. Instruction sets are
//! chosen at run time ([`dispatch`]). **Invariant:** the bits of a result depend neither on the
//! number of threads nor on the other rows of the batch (see [`matmul`] for the rule).
//!
//! ```
//! use reseek_tensor::dtype::Dtype;
//! use reseek_tensor::linear::{Linear, linear_forward};
//!
//! let w = [1.0, 2.0, 3.0, -1.0, 0.0, 1.0]; // [out 2, in 3]
//! let layer = Linear::pack(&w, 2, 3, Dtype::F32);
//! let x = [1.0, 1.0, 1.0, 0.5, 0.0, 2.0]; // two rows
//! let mut y = [0.0; 4];
//! linear_forward(&mut y, &x, &layer);
//! assert_eq!(y, [6.0, 0.0, 6.5, 1.5]);
//! ```

#![deny(missing_docs, clippy::too_many_arguments)]

pub mod adamw;
pub mod attention;
pub mod buffer;
pub mod compute;
pub mod cross_entropy;
pub mod dispatch;
pub mod dtype;
pub mod elementwise;
pub mod embedding;
pub mod env;
pub mod fp8;
pub mod glu;
pub mod heads;
pub mod linear;
pub mod matmul;
pub mod memory;
pub mod mla;
pub mod numeric;
pub mod operand;
pub mod peak;
pub mod permute;
pub mod pool;
pub mod profile;
pub mod quantised;
pub mod random;
pub mod rmsnorm;
pub mod rope;
pub mod routing;
pub mod slots;
pub mod tensor;

mod aligned;
mod exp;
mod scratch;
mod simd;
mod team;
