//! Integration tests of the tensor crate, in one binary.

mod fp8;
mod matmul;
mod ops_adamw;
mod ops_attention;
mod ops_cross_entropy;
mod ops_elementwise;
mod ops_glu;
mod ops_heads;
mod ops_norm;
mod ops_rope;
mod ops_routing;
mod ops_rows;
mod ops_support;
mod quantised;
mod random;
mod special_values;
