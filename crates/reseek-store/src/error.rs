//! What can go wrong with files, each with the place, the clashing values and the mend.

use std::io;
use std::path::{Path, PathBuf};

use reseek_spec::sentence;

/// An error of this room. Every message names the file, and its last sentence says what to do.
#[derive(Debug, thiserror::Error)]
// Each message says what its fields are.
#[allow(missing_docs)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}. {}", path.display(), sentence(io_hint(source)))]
    Io { operation: &'static str, path: PathBuf, source: io::Error },

    /// A file's bytes are not those that its manifest vouches for.
    #[error(
        "{} is damaged: the manifest says {expected_bytes} bytes with sha256 {expected}, the file has \
         {found_bytes} bytes with sha256 {found}. Restore the file from a copy, or remove the folder \
         {} and run the same command again to make it anew.", path.display(), folder(path)
    )]
    Damaged { path: PathBuf, expected_bytes: u64, expected: String, found_bytes: u64, found: String },

    /// A manifest lists a file that is not there.
    #[error(
        "{} is missing, though the manifest lists it with sha256 {expected}. Restore it from a copy, or \
         remove the folder {} and run the same command again.", path.display(), folder(path)
    )]
    MissingFile { path: PathBuf, expected: String },

    /// A file that would be read lies in a verified folder, but the manifest does not vouch for it.
    #[error(
        "{} is not listed in the folder's manifest, yet it would be read. Move it out of the folder.",
        path.display()
    )]
    UnlistedFile { path: PathBuf },

    /// The manifest is written last, so a folder without one was never finished.
    #[error(
        "{} has no manifest.json, so it was never finished. Run the same command again, or name a finished \
         folder.", path.display()
    )]
    NoManifest { path: PathBuf },

    /// A name that could lead out of its folder, or that this room keeps for itself.
    #[error(
        "{}: the name {name:?} is refused: {reason}. Names are relative, with / between plain parts.",
        path.display()
    )]
    Name { path: PathBuf, name: String, reason: &'static str },

    /// A file whose content is not what its name promises.
    #[error("{}: {reason}. {}", path.display(), sentence(mend))]
    Malformed { path: PathBuf, reason: String, mend: String },

    /// A pipe, a device or a folder in a file's place.
    #[error("{} is {kind}, and a file is needed. Put the file itself in its place.", path.display())]
    NoFile { path: PathBuf, kind: &'static str },

    /// A file that is longer than such a file ever is.
    #[error(
        "{} has {bytes} bytes or more, and of such a file at most {bytes_max} are read. It is damaged or no file of that kind: fetch it again.",
        path.display()
    )]
    TooLarge { path: PathBuf, bytes: u64, bytes_max: u64 },

    /// config.json does not describe a model that reseek knows.
    #[error("{}: {source}", path.display())]
    Spec { path: PathBuf, source: reseek_spec::SpecError },

    /// The specification needs a tensor that is not there.
    #[error(
        "{}: tensor {name} of shape {shape:?} is missing. {}", path.display(), sentence(missing_tensor_hint(name))
    )]
    MissingTensor { path: PathBuf, name: String, shape: Vec<usize> },

    /// A tensor that the specification does not have.
    #[error(
        "{}: tensor {name} of shape {shape:?} is not part of the model that config.json describes. Check \
         num_hidden_layers, the expert counts and model_type in config.json.", path.display()
    )]
    ExtraTensor { path: PathBuf, name: String, shape: Vec<usize> },

    /// A tensor given twice.
    #[error("{}: tensor {name} is given twice. Give each tensor once.", path.display())]
    DuplicateTensor { path: PathBuf, name: String },

    /// A tensor of another shape than the specification's.
    #[error(
        "{}: tensor {name} has shape {found:?}, config.json asks for {expected:?}. Weights and config.json \
         belong to different models, take both from the same folder.", path.display()
    )]
    TensorShape { path: PathBuf, name: String, expected: Vec<usize>, found: Vec<usize> },

    /// A number format that this room does not read.
    #[error(
        "{}: tensor {name} is stored as {dtype}, readable are F32, BF16 and F16, and matrices in F8_E4M3 with scales. Convert the file to \
         BF16 first.", path.display()
    )]
    TensorDtype { path: PathBuf, name: String, dtype: String },

    /// A kind of block that this room does not read.
    #[error(
        "{}: tensor {name} is of GGUF kind {number}, readable are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, \
         IQ4_NL and IQ4_XS. Convert the model to one of these, for example with llama-quantize.", path.display()
    )]
    TensorKind { path: PathBuf, name: String, number: u32 },

    /// Another live process works in the run directory.
    #[error(
        "{} is in use by process {pid}. Wait for it or stop it, or choose another folder with --out.",
        path.display()
    )]
    Locked { path: PathBuf, pid: String },

    /// Another process makes the same file or folder.
    #[error("another process is writing {}. Wait until it is done, or name another place.", path.display())]
    BeingWritten { path: PathBuf },

    /// The directory belongs to a run with other settings.
    #[error(
        "{} was made with {what} {found}, this command has {what} {wanted}. Choose another folder with --out, \
         go back to the first {what}, or remove the folder.", path.display()
    )]
    OtherRun { path: PathBuf, what: &'static str, found: String, wanted: String },

    /// A copy would write over what is there.
    #[error("{} is there already. Choose a new folder, or move this one away.", path.display())]
    TargetIsThere { path: PathBuf },

    /// The disk would be full before a model is written.
    #[error(
        "{} needs {bytes} bytes, and its disk has {free} left. Free some space, choose another disk, or write the model in a smaller format.",
        path.display()
    )]
    NoRoom { path: PathBuf, bytes: u64, free: u64 },

    /// States were saved, but none of them is whole.
    #[error(
        "{}: no saved state is whole: {}. Restore one from a copy, or remove {} to begin this stage again.",
        path.display(), join(damaged), path.display()
    )]
    NoWholeState { path: PathBuf, damaged: Vec<StoreError> },

    /// A number in summary.json that cannot be.
    #[error("{}: {field} is {value}, and it must be {expected}. {}", path.display(), sentence(mend))]
    Summary { path: PathBuf, field: String, value: String, expected: String, mend: &'static str },
}

impl StoreError {
    /// Wraps what the operating system said; for `map_err`.
    pub(crate) fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { operation, path: path.to_path_buf(), source }
    }

    pub(crate) fn malformed(path: &Path, reason: impl ToString, mend: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_path_buf(), reason: reason.to_string(), mend: mend.into() }
    }
}

/// The mend for what the operating system said. Nothing finished is lost by any of these, which the user wants
/// to hear.
fn io_hint(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded => {
            "the disk or quota is full: free some space and run the same command again, nothing finished is lost"
        }
        Kind::FileTooLarge => {
            "a file-size limit is in force: raise it (ulimit -f) and run the same command again, \
             nothing finished is lost"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => "give this user the right to it, or choose another place",
        Kind::NotADirectory | Kind::AlreadyExists => {
            "a file stands where a folder is needed: name the folder itself, or move the file away"
        }
        Kind::NotFound => "check the path for a typing error",
        Kind::UnexpectedEof => "the file is shorter than when it was opened: make or fetch it again",
        _ => "check the disk, then run the same command again, nothing finished is lost",
    }
}

fn missing_tensor_hint(name: &str) -> &'static str {
    if name == "lm_head.weight" {
        "if the model shares its embedding with the head, set tie_word_embeddings to true in config.json"
    } else {
        "the weights are incomplete or config.json belongs to another model; take both from the same folder"
    }
}

fn folder(path: &Path) -> std::path::Display<'_> {
    path.parent().unwrap_or(path).display()
}

fn join(errors: &[StoreError]) -> String {
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    messages.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_path_operation_reason_and_mend() {
        const ENOSPC: i32 = 28;
        let error =
            StoreError::io("write", Path::new("runs/a/model.safetensors"))(io::Error::from_raw_os_error(ENOSPC))
                .to_string();
        for part in ["write", "runs/a/model.safetensors", "No space left", "free some space"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}
