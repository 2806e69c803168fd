//! Tests of the store on a real disk: kills, full disks, flipped bytes, hostile names, other people's folders.

mod common;

mod atomic;
mod checkpoint;
mod generation_config;
mod gguf;
mod hostile;
mod kill;
mod limits;
mod manifest;
mod metrics;
mod model_files;
mod model_source;
mod run;
mod safetensors_io;
mod state;
mod summary;
mod write_folder;
