use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::bf16;
use reseek_spec::{ModelSpec, TensorSpec};
use reseek_store::safetensors_io::TensorFile;
use reseek_store::{FolderOptions, ModelSource, SHARD_BYTES_MAX, StoreError, WeightFormat, verify_dir, write_folder};
use serde_json::{Value, json};

use crate::common::{
    DEEPSEEK_V3, LLAMA, NamedTensor, QWEN2_TIED, Scratch, SplitMix, assert_names, foreign, spec, tensors, tree,
};

fn options(format: WeightFormat) -> FolderOptions<'static> {
    let (shard_bytes_max, meta) = (SHARD_BYTES_MAX, json!({"from": "a test"}));
    FolderOptions { format, shard_bytes_max, config: None, files: &[], source: None, meta }
}

fn write(dir: &Path, spec: &ModelSpec, tensors: &[NamedTensor], options: &FolderOptions) -> Result<(), StoreError> {
    let values: BTreeMap<&str, &[f32]> = tensors.iter().map(|(name, _, values)| (name.as_str(), &values[..])).collect();
    write_folder(dir, spec, |tensor| Ok(Cow::Borrowed(values[tensor.name.as_str()])), options).map(drop)
}

fn read(dir: &Path) -> Vec<NamedTensor> {
    let source = ModelSource::open(dir).unwrap();
    let listed = source.spec().tensors().into_iter();
    listed.map(|t| (t.name.clone(), t.shape, source.values(&t.name).unwrap())).collect()
}

/// Values of every size, none of them special.
fn with_random_values(spec: &ModelSpec, seed: u64) -> Vec<NamedTensor> {
    let mut random = SplitMix(seed);
    let mut value = || f32::from_bits((random.next() as u32 & 0x83ff_ffff) | 0x3c00_0000);
    let mut list = tensors(spec);
    list.iter_mut().for_each(|(.., values)| values.iter_mut().for_each(|v| *v = value()));
    list
}

/// Matrices of several blocks, some cut off at the edges.
fn wide() -> ModelSpec {
    spec(&DEEPSEEK_V3.replace("\"hidden_size\": 16", "\"hidden_size\": 136").replace(
        "\"intermediate_size\": 24, \"moe_intermediate_size\": 8",
        "\"intermediate_size\": 260, \"moe_intermediate_size\": 132",
    ))
}

#[test]
fn every_family_comes_back_in_f32_and_in_bf16() {
    for config in [DEEPSEEK_V3, LLAMA, QWEN2_TIED] {
        let scratch = Scratch::new();
        let spec = spec(config);
        // Exact in bf16.
        let tensors = tensors(&spec);
        for (name, format, dtype) in [("f", WeightFormat::F32, "float32"), ("b", WeightFormat::Bf16, "bfloat16")] {
            let dir = scratch.join(name);
            write(&dir, &spec, &tensors, &options(format)).unwrap();
            assert_eq!(read(&dir), tensors);
            let source = ModelSource::open(&dir).unwrap();
            assert_eq!(source.spec(), &spec);
            assert_eq!(source.config().unwrap()["dtype"], dtype);
            assert_eq!(source.config().unwrap()["torch_dtype"], dtype);
            assert_eq!(verify_dir(&dir).unwrap().manifest.meta["from"], "a test");
            assert_eq!(tree(&dir).len(), 3);
        }
    }
}

#[test]
fn values_are_rounded_once_and_correction_biases_not_at_all() {
    let scratch = Scratch::new();
    let spec = spec(DEEPSEEK_V3);
    let given = with_random_values(&spec, 1);
    write(&scratch.join("f32"), &spec, &given, &options(WeightFormat::F32)).unwrap();
    assert_eq!(read(&scratch.join("f32")), given);
    write(&scratch.join("bf16"), &spec, &given, &options(WeightFormat::Bf16)).unwrap();
    let rounded = read(&scratch.join("bf16"));
    for ((name, _, given), (.., rounded)) in given.iter().zip(&rounded) {
        let is_bias = name.ends_with("e_score_correction_bias");
        let expected = |v: &f32| if is_bias { *v } else { bf16::from_f32(*v).to_f32() };
        assert_eq!(given.iter().map(expected).collect::<Vec<_>>(), *rounded, "{name}");
    }
    // And so once more.
    write(&scratch.join("again"), &spec, &rounded, &options(WeightFormat::Bf16)).unwrap();
    assert_eq!(tree(&scratch.join("again")), tree(&scratch.join("bf16")));
}

#[test]
fn deepseeks_fp8_form_has_its_tensors_and_its_configuration() {
    let scratch = Scratch::new();
    let spec = wide();
    write(scratch.join("m").as_path(), &spec, &with_random_values(&spec, 2), &options(WeightFormat::Fp8)).unwrap();
    let config: Value = serde_json::from_slice(&fs::read(scratch.join("m/config.json")).unwrap()).unwrap();
    let expected =
        json!({"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]});
    assert_eq!((&config["quantization_config"], &config["dtype"]), (&expected, &json!("bfloat16")));
    // As in DeepSeek-V3's index: which tensors have scales.
    let in_fp8 = [
        "self_attn.q_a_proj",
        "self_attn.q_b_proj",
        "self_attn.kv_a_proj_with_mqa",
        "self_attn.kv_b_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
        "mlp.experts.0.gate_proj",
        "mlp.experts.3.up_proj",
        "mlp.experts.1.down_proj",
        "mlp.shared_experts.gate_proj",
        "mlp.shared_experts.up_proj",
        "mlp.shared_experts.down_proj",
    ];
    let in_bf16 = ["model.embed_tokens", "lm_head", "eh_proj", "mlp.gate", "norm", "layernorm", "hnorm"];
    let file = TensorFile::open(&scratch.join("m/model.safetensors")).unwrap();
    let entries = ModelSource::open(&scratch.join("m")).unwrap().entries();
    for entry in &entries {
        let name = entry.name.strip_suffix(".weight").unwrap_or(&entry.name);
        let format = entry.format.as_str();
        if in_fp8.iter().any(|part| name.ends_with(part)) {
            assert_eq!(format, "F8_E4M3 in blocks of 128x128", "{name}");
            let blocks: Vec<usize> = entry.shape.iter().map(|n| n.div_ceil(128)).collect();
            assert_eq!(file.shape(&format!("{}_scale_inv", entry.name)), Some(&blocks[..]));
        } else if in_bf16.iter().any(|part| name.ends_with(part)) {
            assert_eq!(format, "BF16", "{name}");
        }
    }
    let count = |format: &str| entries.iter().filter(|entry| entry.format == format).count();
    // Three layers of five matrices of attention; one dense network, two times four experts and a shared one, of three.
    assert_eq!(count("F8_E4M3 in blocks of 128x128"), 3 * 5 + 3 + 2 * 5 * 3);
    assert_eq!((count("F32"), count("BF16")), (2, entries.len() - 48 - 2));
}

#[test]
fn fp8_is_near_and_the_same_again_when_it_is_written_again() {
    let scratch = Scratch::new();
    let spec = wide();
    let given = with_random_values(&spec, 3);
    write(&scratch.join("once"), &spec, &given, &options(WeightFormat::Fp8)).unwrap();
    let back = read(&scratch.join("once"));
    for ((name, _, given), (.., back)) in given.iter().zip(&back) {
        let greatest = given.iter().fold(0.0, |greatest: f32, v| greatest.max(v.abs()));
        // Half a step: 2⁻⁴ of the value, or 2⁻¹⁰ scales where values are subnormal.
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > (a.abs() / 16.0).max(greatest / 448.0 / 1024.0) * 1.0001;
        assert_eq!(given.iter().zip(back).position(far), None, "{name}");
    }
    write(&scratch.join("twice"), &spec, &back, &options(WeightFormat::Fp8)).unwrap();
    assert_eq!(tree(&scratch.join("twice")), tree(&scratch.join("once")));
    // What it stands for has a place in f32 too.
    write(&scratch.join("f32"), &spec, &back, &options(WeightFormat::F32)).unwrap();
    assert_eq!(read(&scratch.join("f32")), back);
}

#[test]
fn shards_are_as_large_as_asked_and_all_tensors_aligned() {
    let scratch = Scratch::new();
    let spec = wide();
    let given = with_random_values(&spec, 4);
    for (name, format) in [("fp8", WeightFormat::Fp8), ("bf16", WeightFormat::Bf16)] {
        let dir = scratch.join(name);
        write(&scratch.join("whole"), &spec, &given, &options(format)).unwrap();
        let expected = read(&scratch.join("whole"));
        fs::remove_dir_all(scratch.join("whole")).unwrap();
        const BYTES_MAX: u64 = 50_000;
        write(&dir, &spec, &given, &FolderOptions { shard_bytes_max: BYTES_MAX, ..options(format) }).unwrap();
        assert_eq!(read(&dir), expected);

        let index: Value =
            serde_json::from_slice(&fs::read(dir.join("model.safetensors.index.json")).unwrap()).unwrap();
        let map = index["weight_map"].as_object().unwrap();
        assert!(map.keys().is_sorted());
        let files = ModelSource::open(&dir).unwrap().files();
        assert!(files.len() > 3);
        let mut total = 0;
        for (number, (path, _)) in files.iter().enumerate() {
            let mut names: Vec<String> =
                files.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into()).collect();
            names.sort();
            assert_eq!(names[number], format!("model-{:05}-of-{:05}.safetensors", number + 1, files.len()));
            let bytes = fs::read(path).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let tensors: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
            for (name, tensor) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
                let size = if tensor["dtype"] == "F32" {
                    4
                } else if tensor["dtype"] == "BF16" {
                    2
                } else {
                    1
                };
                let place = 8 + header as u64 + tensor["data_offsets"][0].as_u64().unwrap();
                assert!(place.is_multiple_of(size), "{name}");
                assert_eq!(map[name], *path.file_name().unwrap().to_string_lossy());
            }
            let data = (bytes.len() - 8 - header) as u64;
            assert!(data <= BYTES_MAX || tensors.len() <= 3, "{} has {data} bytes", path.display());
            total += data;
        }
        assert_eq!(index["metadata"]["total_size"], total);
        let parameters: usize = given.iter().filter(|t| !t.0.ends_with("bias")).map(|t| t.2.len()).sum();
        assert_eq!(index["metadata"]["total_parameters"], parameters);
    }
}

/// Folders that transformers wrote, of every family: reseek-model's fixtures.
fn of_every_family() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reseek-model/tests/fixtures");
    let mut folders: Vec<PathBuf> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("model.safetensors").exists());
    folders.sort();
    folders
}

#[test]
fn folders_of_transformers_come_back_in_every_format() {
    let folders = of_every_family();
    assert!(folders.len() > 15);
    for from in folders {
        let scratch = Scratch::new();
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        let source = ModelSource::open(&from).unwrap();
        let expected = read(&from);
        let copy = |to: &str, config: Option<&Value>, format: WeightFormat| {
            let dir = scratch.join(to);
            write(&dir, source.spec(), &expected, &FolderOptions { config, ..options(format) }).unwrap();
            assert_eq!(ModelSource::open(&dir).unwrap().spec(), source.spec(), "{name}: {to}");
            read(&dir)
        };
        // With a config.json of ours and with its own.
        assert!(copy("f32", None, WeightFormat::F32) == expected, "{name}");
        assert!(copy("f32-own", source.config(), WeightFormat::F32) == expected, "{name}");
        let rounded = copy("bf16", source.config(), WeightFormat::Bf16);
        let is_bf16 = |tensor: &NamedTensor| tensor.2.iter().all(|v| bf16::from_f32(*v).to_f32() == *v);
        assert!(rounded.iter().all(|tensor| is_bf16(tensor) || tensor.0.ends_with("bias")), "{name}");
        let coarse = copy("fp8", source.config(), WeightFormat::Fp8);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 15.0 + 0.01;
        assert!(expected.iter().zip(&coarse).all(|(a, b)| a.2.iter().zip(&b.2).all(near)), "{name}");
    }
}

#[test]
fn keys_of_a_models_own_configuration_stay() {
    let scratch = Scratch::new();
    let spec = spec(DEEPSEEK_V3);
    let mut config: Value = serde_json::from_str(DEEPSEEK_V3).unwrap();
    config["attention_dropout"] = json!(0.25);
    config["auto_map"] = json!({"AutoConfig": "configuration_deepseek.DeepseekV3Config"});
    config["quantization_config"] = json!({"quant_method": "fp8", "weight_block_size": [128, 128]});
    let files = [("README.md".to_owned(), b"A card.".to_vec()), ("tokenizer.json".to_owned(), b"{}".to_vec())];
    let options = FolderOptions { config: Some(&config), files: &files, ..options(WeightFormat::Bf16) };
    write(&scratch.join("m"), &spec, &tensors(&spec), &options).unwrap();
    let source = ModelSource::open(&scratch.join("m")).unwrap();
    let written = source.config().unwrap();
    assert_eq!((&written["attention_dropout"], &written["eos_token_id"]), (&json!(0.25), &json!(1)));
    assert!(written.get("auto_map").is_none() && written.get("quantization_config").is_none());
    assert_eq!(fs::read(scratch.join("m/README.md")).unwrap(), b"A card.");
    assert!(verify_dir(&scratch.join("m")).unwrap().vouches_for("tokenizer.json"));
}

/// The error of writing LLAMA, which leaves nothing.
fn refused(options: &FolderOptions, change: impl FnOnce(&mut Vec<NamedTensor>)) -> StoreError {
    let scratch = Scratch::new();
    let spec = spec(LLAMA);
    let mut tensors = tensors(&spec);
    change(&mut tensors);
    let error = write(&scratch.join("new/m"), &spec, &tensors, options).unwrap_err();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{error}");
    error
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let in_fp8 = options(WeightFormat::Fp8);
    let spoil = |list: &mut Vec<NamedTensor>| list.iter_mut().for_each(|(.., v)| *v.last_mut().unwrap() = f32::NAN);
    assert_names(&refused(&in_fp8, spoil), &["new/m: value", "is NaN", "FP8 has no such value", "bf16"]);
    let with_file = |name: &str| {
        let files = [(name.to_owned(), vec![])];
        refused(&FolderOptions { files: &files, ..in_fp8.clone() }, |_| ())
    };
    assert_names(&with_file("config.json"), &["config.json", "written from the model"]);
    assert!(matches!(with_file("../up"), StoreError::Name { .. }));
    let other: Value = serde_json::from_str(&LLAMA.replace("\"vocab_size\": 40", "\"vocab_size\": 41")).unwrap();
    let error = refused(&FolderOptions { config: Some(&other), ..in_fp8.clone() }, |_| ());
    assert_names(&error, &["config.json", "another model"]);

    let scratch = Scratch::new();
    let spec = spec(LLAMA);
    let mut left = 5;
    let fail = |tensor: &reseek_spec::TensorSpec| {
        left -= 1;
        let len = tensor.shape.iter().product();
        let broken = StoreError::NoManifest { path: "source".into() };
        if left > 0 { Ok(vec![0.5; len].into()) } else { Err(broken) }
    };
    let error = write_folder(&scratch.join("m"), &spec, fail, &options(WeightFormat::Bf16)).unwrap_err();
    assert!(matches!(error, StoreError::NoManifest { .. }));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn what_is_there_and_the_source_are_left_alone() {
    let scratch = Scratch::new();
    let (from, spec) = (scratch.join("from"), spec(LLAMA));
    let tensors = tensors(&spec);
    foreign(&from, LLAMA, "model.safetensors", &tensors, "BF16");
    let before = tree(scratch.path());
    let options = FolderOptions { source: Some(&from), ..options(WeightFormat::Bf16) };
    assert_names(
        &write(&from, &spec, &tensors, &options).unwrap_err(),
        &["from is there already", "Choose a new folder"],
    );
    let inside = write(&from.join("m"), &spec, &tensors, &options).unwrap_err();
    assert_names(&inside, &["in its original", "outside of it"]);
    assert_eq!(tree(scratch.path()), before);

    let source = ModelSource::open(&from).unwrap();
    let read_one = |tensor: &reseek_spec::TensorSpec| source.values(&tensor.name).map(Cow::Owned);
    write_folder(&scratch.join("to"), &spec, read_one, &options).unwrap();
    assert_eq!(read(&scratch.join("to")), tensors);
    assert!(before.iter().all(|(name, bytes)| tree(scratch.path())[name] == *bytes));
}

#[test]
fn what_a_kill_left_is_removed_by_the_next_attempt() {
    let scratch = Scratch::new();
    let spec = spec(LLAMA);
    fs::create_dir_all(scratch.join(".m.reseek-tmp/sub")).unwrap();
    fs::write(scratch.join(".m.reseek-tmp/model.safetensors"), b"half").unwrap();
    write(&scratch.join("m"), &spec, &tensors(&spec), &options(WeightFormat::Bf16)).unwrap();
    assert_eq!(
        tree(scratch.path()).keys().collect::<Vec<_>>(),
        ["m/config.json", "m/manifest.json", "m/model.safetensors"]
    );
}

#[test]
fn of_two_writers_of_one_folder_the_second_is_refused() {
    let scratch = Scratch::new();
    let (spec, dir) = (spec(LLAMA), scratch.join("above/m"));
    let all = tensors(&spec);
    let mut refused = 0;
    let values = |tensor: &TensorSpec| Ok(Cow::Owned(all.iter().find(|t| t.0 == tensor.name).unwrap().2.clone()));
    let outer = |tensor: &TensorSpec| {
        let error = write(&dir, &spec, &all, &options(WeightFormat::F32)).unwrap_err();
        assert_names(&error, &["another process", "above/m", "Wait"]);
        refused += 1;
        values(tensor)
    };
    write_folder(&dir, &spec, outer, &options(WeightFormat::Bf16)).unwrap();
    assert_eq!((refused, read(&dir).len()), (all.len(), all.len()));
    let left: Vec<String> = tree(scratch.path()).into_keys().collect();
    assert_eq!(left, ["above/m/config.json", "above/m/manifest.json", "above/m/model.safetensors"]);
}

#[test]
fn a_matrix_without_multiples_of_four_is_refused_in_fp8_alone() {
    let scratch = Scratch::new();
    let spec = spec(&LLAMA.replace("\"hidden_size\": 16", "\"hidden_size\": 17").replace("size\": 24", "size\": 25"));
    let tensors = tensors(&spec);
    let error = write(&scratch.join("m"), &spec, &tensors, &options(WeightFormat::Fp8)).unwrap_err();
    assert_names(&error, &["[25, 17]", "multiple of 4", "bf16"]);
    write(&scratch.join("m"), &spec, &tensors, &options(WeightFormat::Bf16)).unwrap();
    assert_eq!(read(&scratch.join("m")), tensors);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_disk_without_room_is_said_before_anything_is_read() {
    let scratch = Scratch::new();
    let spec = spec(
        &LLAMA
            .replace("\"hidden_size\": 16", "\"hidden_size\": 1048576")
            .replace("\"vocab_size\": 40", "\"vocab_size\": 16777216"),
    );
    let error = write_folder(&scratch.join("a/m"), &spec, |_| unreachable!(), &options(WeightFormat::F32)).unwrap_err();
    assert_names(&error, &["a/m needs 1407", "bytes", "left", "Free some space"]);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
