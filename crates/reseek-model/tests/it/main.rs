//! The models against Hugging Face's transformers, against themselves in other modes, and against slow references.

mod bf16;
mod buffers;
mod decode;
mod families;
mod fixture;
mod fp8;
mod lanes;
mod mtp;
mod parity;
mod pending;
mod prefix;
mod reference;
mod source;
