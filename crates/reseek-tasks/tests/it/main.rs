//! The room's tests against its public face.

mod adversarial;
mod general;
mod generators;
mod harness;
mod language;
mod mix;
mod oracle;
mod render;
mod user;
mod verify;
