//! Damaged and hostile files: an error or a model, in bounded memory and time.

use std::fs;
use std::path::Path;

use reseek_store::{BlockKind, GgufFile, StoreError, write_gguf};

use super::builder::{Builder, F32, count, llama, text, texts};
use super::models::{Memory, contents, models, tokenizer};
use crate::common::{Scratch, SplitMix};

fn refusal(path: &Path) -> String {
    match GgufFile::open(path) {
        Ok(_) => panic!("{} was read", path.display()),
        Err(error) => error.to_string(),
    }
}

fn refuse(path: &Path, bytes: &[u8], parts: &[&str]) {
    fs::write(path, bytes).unwrap();
    let error = refusal(path);
    for part in parts {
        assert!(error.contains(part), "{error:?} lacks {part:?}");
    }
}

/// Reads everything that a file has.
fn read_all(path: &Path) -> Result<usize, StoreError> {
    let file = GgufFile::open(path)?;
    let mut values = 0;
    for entry in file.entries() {
        values += file.values(&entry.name)?.len();
        file.blocks(&entry.name)?;
    }
    Ok(values)
}

#[test]
fn ten_thousand_mutations_are_refused_or_read() {
    let scratch = Scratch::new();
    let path = scratch.join("mutated.gguf");
    // Llama in three kinds of blocks, DeepSeek-V3 with latents and experts, Gemma.
    let written = |index: usize| {
        let spec = &models()[index];
        write_gguf(&path, &contents(spec, &tokenizer()), &Memory::of(spec), Some(BlockKind::Q4_0)).unwrap();
        fs::read(&path).unwrap()
    };
    let files = [llama().bytes(), written(6), written(13)];
    let mut random = SplitMix(10_000);
    let (mut read, mut refused) = (0, 0);
    for variant in 0..10_000 {
        let whole = &files[variant % 3];
        let mut bytes = whole.clone();
        // Most of the file is values, in which nothing is to be found out.
        let header = bytes.len() / 4;
        match random.below(4) {
            0 => bytes.truncate(random.below(whole.len())),
            1 => {
                for _ in 0..1 + random.below(8) {
                    bytes[random.below(header)] ^= 1 << random.below(8);
                }
            }
            2 => {
                let extremes = [0, 1, 32, u64::from(u32::MAX), 1 << 40, 1 << 60, u64::MAX, whole.len() as u64];
                let at = random.below(header);
                bytes[at..at + 8].copy_from_slice(&extremes[random.below(extremes.len())].to_le_bytes());
            }
            _ => {
                let (from, to, len) = (random.below(header), random.below(header), random.below(200));
                bytes.copy_within(from..from + len, to);
            }
        }
        fs::write(&path, &bytes).unwrap();
        match read_all(&path) {
            Ok(values) => {
                assert!(values <= 2 * bytes.len(), "{values} values of {} bytes", bytes.len());
                read += 1;
            }
            Err(error) => {
                let message = error.to_string();
                assert!(message.len() < 2000 && message.contains("mutated.gguf"), "{message}");
                refused += 1;
            }
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read > 100 && refused > 5000);
}

#[test]
fn counts_and_lengths_are_held_against_the_file() {
    let scratch = Scratch::new();
    let path = scratch.join("a.gguf");
    let whole = llama().bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    refuse(&path, b"", &["a.gguf", "cut short"]);
    refuse(&path, &with(0, b"GGML"), &["does not begin with GGUF"]);
    refuse(&path, &with(4, &9_u32.to_le_bytes()), &["version 9"]);
    refuse(&path, &with(4, &3_u32.to_be_bytes()), &["big-endian"]);
    refuse(&path, &with(8, &(1_u64 << 60).to_le_bytes()), &["1152921504606846976 items"]);
    refuse(&path, &with(16, &(1_u64 << 60).to_le_bytes()), &["bytes are left"]);
    refuse(&path, &with(24, &(1_u64 << 60).to_le_bytes()), &["bytes are left"]);
    for kind in [0_u32, 8, 12, 9, 77] {
        let list = [&9_u32.to_le_bytes()[..], &kind.to_le_bytes(), &(1_u64 << 60).to_le_bytes()].concat();
        refuse(&path, &llama().set("general.tags", list).bytes(), &["a.gguf"]);
    }
    for layers in [1 << 31, u32::MAX] {
        refuse(&path, &llama().set("llama.block_count", count(layers)).bytes(), &["block_count"]);
    }
    refuse(&path, &llama().set("llama.block_count", count(0)).bytes(), &["num_hidden_layers = 0"]);
    refuse(&path, &llama().set("general.alignment", count(0)).bytes(), &["general.alignment is 0", "power of 2"]);
    refuse(&path, &llama().set("general.alignment", count(24)).bytes(), &["general.alignment is 24"]);
    refuse(&path, &llama().set("general.alignment", count(1 << 31)).bytes(), &["ends behind the file"]);
    refuse(&path, &llama().set("tokenizer.ggml.tokens", texts(&["a", "a"])).bytes(), &["\"a\" twice"]);
    refuse(&path, &llama().set("tokenizer.ggml.eos_token_id", count(8)).bytes(), &["eos_token_id is 8", "below 8"]);
    let mut twice = llama();
    twice.keys.push(("general.name".to_owned(), text("again")));
    refuse(&path, &twice.bytes(), &["general.name is given twice"]);
}

/// Changes the description of one tensor.
fn described(change: impl Fn(&mut Builder)) -> Vec<u8> {
    let mut file = llama();
    change(&mut file);
    file.bytes()
}

/// Where a tensor's place stands in the file's bytes.
fn place_of(bytes: &[u8], name: &str, dimensions: usize) -> usize {
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    at + name.len() + 4 + 8 * dimensions + 4
}

#[test]
fn tensors_lie_inside_of_the_file_and_each_in_a_place_of_its_own() {
    let scratch = Scratch::new();
    let path = scratch.join("a.gguf");
    let whole = llama().bytes();
    let place = place_of(&whole, "blk.1.ffn_up.weight", 2);
    for (at, part) in [
        (u64::MAX - 31, "ends behind the file"),
        (1 << 60, "ends behind the file"),
        (0, "lie over each other"),
        (17, "no multiple of 32"),
    ] {
        let mut bytes = whole.clone();
        bytes[place..place + 8].copy_from_slice(&at.to_le_bytes());
        refuse(&path, &bytes, &[part, "blk.1.ffn_up.weight"]);
    }
    let name = "blk.1.ffn_up.weight";
    let with_shape = |shape: Vec<u64>| {
        described(move |file| {
            let tensor = file.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
            tensor.shape = shape.clone();
        })
    };
    refuse(&path, &with_shape(vec![1 << 40, 1 << 40]), &[name, "shape"]);
    refuse(&path, &with_shape(vec![0, 32]), &[name]);
    refuse(&path, &with_shape(vec![64, 31]), &[name]);
    refuse(&path, &with_shape(vec![32, 32]), &[name, "[32, 32]", "[64, 32]"]);
    refuse(&path, &with_shape(vec![1; 40]), &["40 dimensions"]);
    refuse(&path, &described(|file| file.tensors[3].name = "token_embd.weight".to_owned()), &["given twice"]);
    refuse(&path, &described(|file| file.tensors[3].name = "blk.7.x".to_owned()), &["attn_k"]);
    refuse(&path, &described(|file| file.tensors[3].kind = 77), &["77"]);
    refuse(&path, &described(|file| file.tensors[3].name = "x".repeat(400)), &["cannot be called"]);
    let spare = described(|file| {
        file.tensor("blk.0.attn_q_norm.weight", &[16], F32, &[0.0; 16]);
    });
    refuse(&path, &spare, &["blk.0.attn_q_norm.weight", "not part of the model"]);
}

#[test]
fn a_header_without_end_is_read_no_further_than_headers_are() {
    let scratch = Scratch::new();
    let path = scratch.join("a.gguf");
    let whole = llama().bytes();
    fs::write(&path, &whole).unwrap();
    // A gigabyte of nothing, whose blocks no disk has to keep.
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, &changed).unwrap();
    };
    with(24, &(900_u64 << 20).to_le_bytes());
    assert!(refusal(&path).contains("943718400 items at byte 32"));
    let architecture = whole.windows(5).position(|window| window == b"llama").unwrap();
    with(architecture - 8, &(900_u64 << 20).to_le_bytes());
    assert!(refusal(&path).contains("943718400 items"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_at_once() {
    let scratch = Scratch::new();
    let pipe = scratch.join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), scratch.path()] {
        assert!(refusal(path).contains(&path.display().to_string()));
    }
    assert!(refusal(&scratch.join("none.gguf")).contains("No such file"));
}

#[test]
fn parts_of_a_model_are_read_as_one_and_refused_if_they_are_not() {
    let scratch = Scratch::new();
    let parts = |counts: [u32; 2], total: u32| {
        let mut first = llama();
        let second_tensors = first.tensors.split_off(7);
        let mut second = Builder::new();
        second.tensors = second_tensors;
        for (no, file) in [&mut first, &mut second].into_iter().enumerate() {
            file.set("split.no", count(no as u32)).set("split.count", count(counts[no]));
            file.set("split.tensors.count", count(total));
            file.write(&scratch.join(&format!("m-{:05}-of-00002.gguf", no + 1)));
        }
    };
    let n = llama().tensors.len() as u32;
    let [first, second] = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"].map(|name| scratch.join(name));
    parts([2, 2], n);
    let whole = GgufFile::open(&llama().write(&scratch.join("whole.gguf"))).unwrap();
    let of_parts = GgufFile::open(&first).unwrap();
    for entry in whole.entries() {
        assert_eq!(whole.values(&entry.name).unwrap(), of_parts.values(&entry.name).unwrap(), "{}", entry.name);
    }
    assert!(refusal(&second).contains("part 2 of 2") && refusal(&second).contains("-00001-of-00002.gguf"));
    parts([2, 2], n + 1);
    assert!(refusal(&first).contains("split.tensors.count"));
    parts([2, 3], n);
    assert!(refusal(&first).contains("part 2 of 3"));
    fs::remove_file(&second).unwrap();
    assert!(refusal(&first).contains("m-00002-of-00002.gguf"));
    fs::rename(&first, scratch.join("renamed.gguf")).unwrap();
    assert!(refusal(&scratch.join("renamed.gguf")).contains("split.count is 2"));
}
