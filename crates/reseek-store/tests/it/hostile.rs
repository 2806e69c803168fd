//! Folders that were made to do harm, and such as a broken download leaves.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use reseek_store::{ModelSource, StoreError};

use crate::common::{LLAMA, NamedTensor, Scratch, SplitMix, assert_names, foreign, spec, tensors, write_index};

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

/// A model in two shards.
fn in_shards(dir: &Path) -> Vec<NamedTensor> {
    let tensors = tensors(&spec(LLAMA));
    let (first, second) = tensors.split_at(tensors.len() / 2);
    foreign(dir, LLAMA, ONE, first, "BF16");
    foreign(dir, LLAMA, TWO, second, "BF16");
    write_index(dir, &[(ONE, first), (TWO, second)]);
    tensors
}

fn error(dir: &Path) -> StoreError {
    ModelSource::open(dir).unwrap_err()
}

#[test]
fn shards_that_are_missing_cut_short_or_of_another_model() {
    let scratch = Scratch::new();
    let tensors = in_shards(scratch.path());
    let whole = fs::read(scratch.join(TWO)).unwrap();
    assert_eq!(ModelSource::open(scratch.path()).unwrap().files().len(), 2);

    fs::write(scratch.join(TWO), &whole[..whole.len() - 1]).unwrap();
    assert_names(&error(scratch.path()), &[TWO, "the file has", "cut short"]);
    fs::write(scratch.join(TWO), &whole[..100]).unwrap();
    assert_names(&error(scratch.path()), &[TWO, "a header of", "in a file of 100"]);
    fs::remove_file(scratch.join(TWO)).unwrap();
    assert_names(&error(scratch.path()), &[TWO, "No such file"]);

    // Of a model with the same names and other sizes.
    let mut other = tensors[tensors.len() / 2..].to_vec();
    other.iter_mut().for_each(|(_, shape, values)| {
        shape[0] += 1;
        values.resize(shape.iter().product(), 0.0);
    });
    foreign(scratch.path(), LLAMA, TWO, &other, "BF16");
    assert_names(&error(scratch.path()), &[TWO, "config.json asks for", "different models"]);
    // With a tensor that the first has, and one that the index does not know.
    let twice = [&tensors[tensors.len() / 2..], &tensors[..1]].concat();
    foreign(scratch.path(), LLAMA, TWO, &twice, "BF16");
    assert_names(&error(scratch.path()), &["index.json", &tensors[0].0, ONE, TWO]);
    let odd = [&tensors[tensors.len() / 2..], &[("odd".to_owned(), vec![1], vec![0.0])]].concat();
    foreign(scratch.path(), LLAMA, TWO, &odd, "BF16");
    assert_names(&error(scratch.path()), &["index.json", "odd", "not part of the model"]);
}

#[test]
fn an_index_that_names_a_tensor_twice_or_too_many_files() {
    let scratch = Scratch::new();
    in_shards(scratch.path());
    let index = |text: &str| fs::write(scratch.join("model.safetensors.index.json"), text).unwrap();
    index(&format!(r#"{{"weight_map": {{"a": "{ONE}", "a": "{TWO}"}}}}"#));
    assert_names(&error(scratch.path()), &["index.json", "tensor a stands there twice"]);
    let many: Vec<String> = (0..1001).map(|i| format!(r#""{i}": "{i}.safetensors""#)).collect();
    index(&format!(r#"{{"weight_map": {{{}}}}}"#, many.join(",")));
    assert_names(&error(scratch.path()), &["index.json", "more than 1000 files"]);
    for name in ["../model.safetensors", "/etc/hostname", "a/../../b", "", "C:\\b", "a/./b"] {
        index(&serde_json::json!({"weight_map": {"a": name}}).to_string());
        assert!(matches!(error(scratch.path()), StoreError::Name { .. }), "{name}");
    }
}

#[test]
fn files_longer_than_such_files_are_name_their_limit() {
    let scratch = Scratch::new();
    in_shards(scratch.path());
    let grow = |name: &str, bytes: u64| File::options().write(true).open(scratch.join(name)).unwrap().set_len(bytes);
    grow("model.safetensors.index.json", 1 << 40).unwrap();
    assert_names(&error(scratch.path()), &["index.json", "1099511627776 bytes", "67108864"]);
    grow("config.json", 5 << 20).unwrap();
    assert_names(&error(scratch.path()), &["config.json", "5242880 bytes", "4194304"]);
}

#[test]
fn a_header_of_a_hundred_megabytes_is_not_read() {
    let scratch = Scratch::new();
    foreign(scratch.path(), LLAMA, "model.safetensors", &tensors(&spec(LLAMA)), "BF16");
    let mut file = File::create(scratch.join("model.safetensors")).unwrap();
    file.write_all(&99_999_992_u64.to_le_bytes()).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_names(&error(scratch.path()), &["model.safetensors", "a header of 99999992 bytes", "such a model needs"]);
}

#[test]
fn weights_of_the_old_kind_are_not_opened() {
    let scratch = Scratch::new();
    fs::write(scratch.join("config.json"), LLAMA).unwrap();
    fs::write(scratch.join("pytorch_model.bin"), b"\x80\x02").unwrap();
    assert_names(&error(scratch.path()), &["model.safetensors", "only pytorch_model.bin", "save_pretrained"]);
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_open_is_an_error() {
    let scratch = Scratch::new();
    let tensors = in_shards(scratch.path());
    let source = ModelSource::open(scratch.path()).unwrap();
    File::options().write(true).open(scratch.join(TWO)).unwrap().set_len(2000).unwrap();
    let error = source.values(&tensors.last().unwrap().0).unwrap_err();
    assert_names(&error, &[TWO, "shorter than when it was opened"]);
    assert_eq!(source.values(&tensors[0].0).unwrap(), tensors[0].2);
}

/// Bytes changed, taken out and put in where the files say what they are; what opens is read whole.
#[test]
fn altered_headers_and_indexes_are_errors_or_models_but_never_a_panic() {
    let scratch = Scratch::new();
    in_shards(scratch.path());
    let mut random = SplitMix(17);
    for name in ["config.json", "model.safetensors.index.json", ONE, TWO] {
        let whole = fs::read(scratch.join(name)).unwrap();
        let told = if name.ends_with(".json") { whole.len() } else { whole.len().min(1200) };
        for _ in 0..250 {
            let mut other = whole.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(told.min(other.len()));
                match random.below(4) {
                    0 => other[at] = random.next() as u8,
                    1 => other[at] = b"0123456789[]{}\",:-"[random.below(18)],
                    2 => drop(other.splice(at..(at + random.below(20)).min(other.len()), [])),
                    _ => other.insert(at, b'9'),
                }
            }
            fs::write(scratch.join(name), other).unwrap();
            if let Ok(source) = ModelSource::open(scratch.path()) {
                for tensor in source.spec().tensors() {
                    assert_eq!(source.values(&tensor.name).unwrap().len(), tensor.shape.iter().product::<usize>());
                }
                assert!(!source.entries().is_empty());
            }
        }
        fs::write(scratch.join(name), whole).unwrap();
    }
    assert!(ModelSource::open(scratch.path()).is_ok());
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_a_device_and_a_folder_are_no_files() {
        let names = ["config.json", "model.safetensors.index.json", TWO];
        for name in names {
            let scratch = Scratch::new();
            in_shards(scratch.path());
            let path = scratch.join(name);
            fs::remove_file(&path).unwrap();
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            assert_names(&error(scratch.path()), &[name, "a named pipe", "a file is needed"]);
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert_names(&error(scratch.path()), &[name, "a folder", "a file is needed"]);
            fs::remove_dir(&path).unwrap();
            symlink("/dev/zero", &path).unwrap();
            let parts: &[&str] = if name == TWO { &[name, "link out of the folder"] } else { &[name, "a device"] };
            assert_names(&error(scratch.path()), parts);
        }
        let scratch = Scratch::new();
        in_shards(scratch.path());
        assert!(Command::new("mkfifo").arg(scratch.join("manifest.json")).status().unwrap().success());
        assert_names(&error(scratch.path()), &["manifest.json", "a named pipe"]);
        assert_names(&error(&scratch.join("manifest.json")), &["manifest.json", "a named pipe"]);
        assert_names(&error(&scratch.join(ONE)), &[ONE, "no model", "GGUF", "folder with config.json"]);
        fs::remove_file(scratch.join("manifest.json")).unwrap();
        assert!(Command::new("mkfifo").arg(scratch.join("model.safetensors")).status().unwrap().success());
        assert_names(&error(scratch.path()), &["model.safetensors", "a named pipe"]);
    }

    /// Moves the shards of `dir` into `to` and leaves links.
    fn link_shards(dir: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for (i, name) in [ONE, TWO].into_iter().enumerate() {
            let moved = to.join(format!("{i}{i}{i}"));
            fs::rename(dir.join(name), &moved).unwrap();
            symlink(&moved, dir.join(name)).unwrap();
        }
    }

    #[test]
    fn links_lead_into_the_folder_or_its_own_caches_blobs() {
        let scratch = Scratch::new();
        let inside = scratch.join("inside");
        let tensors = in_shards(&inside);
        link_shards(&inside, &inside.join("weights"));
        assert_eq!(ModelSource::open(&inside).unwrap().values(&tensors[0].0).unwrap(), tensors[0].2);

        let outside = scratch.join("outside");
        in_shards(&outside);
        link_shards(&outside, &scratch.join("elsewhere"));
        assert_names(&error(&outside), &["index.json", ONE, "link out of the folder"]);

        let cache = scratch.join("hub/models--org--name");
        let snapshot = cache.join("snapshots/0123abcd");
        in_shards(&snapshot);
        link_shards(&snapshot, &cache.join("blobs"));
        assert_eq!(ModelSource::open(&snapshot).unwrap().values(&tensors[0].0).unwrap(), tensors[0].2);

        // Blobs of another model, and blobs beside what is no cache.
        let other = scratch.join("hub/models--org--other/snapshots/0");
        in_shards(&other);
        link_shards(&other, &cache.join("blobs/more"));
        assert_names(&error(&other), &["link out of the folder"]);
        let no_cache = scratch.join("name/snapshots/0");
        in_shards(&no_cache);
        link_shards(&no_cache, &scratch.join("name/blobs"));
        assert_names(&error(&no_cache), &["link out of the folder"]);
    }
}
