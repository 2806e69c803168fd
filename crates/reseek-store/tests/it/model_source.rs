use std::fs;
use std::path::Path;
use std::thread;

use reseek_store::{GgufContents, GgufFile, ModelSource, StoreError, is_gguf_name, save_checkpoint, write_gguf};
use serde_json::{Value, json};

use crate::common::{
    DEEPSEEK_V3, LLAMA, NamedTensor, QWEN2_TIED, Raw, Scratch, SplitMix, assert_names, borrowed, foreign, sidecars,
    spec, tensors, values, write_raw,
};
use crate::gguf::builder;

/// Every tensor of a source, by name.
fn all(source: &ModelSource) -> Vec<NamedTensor> {
    let listed = source.spec().tensors().into_iter();
    listed.map(|t| (t.name.clone(), t.shape, source.values(&t.name).unwrap())).collect()
}

#[test]
fn tensors_come_one_at_a_time_and_into_memory_that_is_there() {
    for (config, dtype, bytes) in [(DEEPSEEK_V3, "BF16", 2), (LLAMA, "F16", 2), (QWEN2_TIED, "F32", 4)] {
        let scratch = Scratch::new();
        let tensors = tensors(&spec(config));
        foreign(scratch.path(), config, "model.safetensors", &tensors, dtype);
        let source = ModelSource::open(scratch.path()).unwrap();
        assert_eq!((source.spec(), source.remarks()), (&spec(config), &[][..]));
        assert_eq!(source.config().unwrap()["model_type"], spec(config).family.names().1);
        assert_eq!(all(&source), tensors);
        let (name, shape, expected) = &tensors[1];
        let mut values = vec![7.0; expected.len()];
        source.values_into(name, &mut values).unwrap();
        assert_eq!(&values, expected);
        assert!(source.blocks(name).unwrap().is_none() && source.has(name) && !source.has("odd"));
        assert_names(&source.values("odd").unwrap_err(), &["odd", "missing"]);

        let entries = source.entries();
        let entry = entries.iter().find(|entry| entry.name == *name).unwrap();
        assert_eq!((&entry.shape, entry.format.as_str(), entry.left_out), (shape, dtype, None));
        assert_eq!(entry.bytes, bytes * expected.len() as u64);
        let path = scratch.join("model.safetensors");
        assert_eq!(source.files(), [(path.clone(), fs::metadata(&path).unwrap().len())]);
    }
}

#[test]
fn threads_read_from_one_source() {
    let scratch = Scratch::new();
    let tensors = tensors(&spec(DEEPSEEK_V3));
    foreign(scratch.path(), DEEPSEEK_V3, "model.safetensors", &tensors, "F32");
    let source = ModelSource::open(scratch.path()).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(all(&source), tensors)));
        }
    });
}

#[test]
fn a_flipped_byte_of_ours_is_found_before_use_and_not_by_a_glance() {
    let scratch = Scratch::new();
    let spec = spec(LLAMA);
    save_checkpoint(scratch.path(), &spec, borrowed(&tensors(&spec)), &sidecars(), json!({})).unwrap();
    let path = scratch.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(ModelSource::open(scratch.path()), Err(StoreError::Damaged { .. })));
    assert_eq!(ModelSource::glance(scratch.path()).unwrap().spec(), &spec);
}

/// Tied Qwen2 with the given tensors.
fn tied(tensors: &[NamedTensor]) -> Result<(bool, Vec<NamedTensor>, Vec<String>, usize), StoreError> {
    let scratch = Scratch::new();
    foreign(scratch.path(), QWEN2_TIED, "model.safetensors", tensors, "BF16");
    let source = ModelSource::open(scratch.path())?;
    let left_out = source.entries().iter().filter(|entry| entry.left_out.is_some()).count();
    Ok((source.spec().tie_word_embeddings, all(&source), source.remarks().to_vec(), left_out))
}

#[test]
fn a_head_beside_tied_embeddings_is_theirs_or_its_own() {
    let listed = tensors(&spec(QWEN2_TIED));
    let head = |values: Vec<f32>| ("lm_head.weight".to_owned(), vec![40, 16], values);
    let with = |head: NamedTensor| listed.iter().cloned().chain([head]).collect::<Vec<_>>();
    let embedding = listed[0].2.clone();
    // Equal: once.
    assert_eq!(tied(&with(head(embedding.clone()))).unwrap(), (true, listed.clone(), vec![], 1));
    // Different: obeyed, and said.
    let mut other = embedding.clone();
    other[639] += 1.0;
    let (is_tied, read, remarks, left_out) = tied(&with(head(other.clone()))).unwrap();
    assert_eq!((is_tied, left_out, remarks.len()), (false, 0, 1));
    assert_names(&remarks[0], &["lm_head.weight", "model.embed_tokens.weight", "not tied"]);
    assert!(read.contains(&head(other)));
    // Alone: it is the embedding.
    let mut alone = listed.clone();
    alone[0] = head(embedding);
    assert_eq!(tied(&alone).unwrap(), (true, listed.clone(), vec![], 0));
    let misshapen = with(("lm_head.weight".to_owned(), vec![16, 40], values(640, 1)));
    assert_names(&tied(&misshapen).unwrap_err(), &["lm_head.weight", "[16, 40]", "[40, 16]"]);
}

#[test]
fn a_gguf_file_of_any_name_is_a_source_too() {
    let scratch = Scratch::new();
    let path = builder::llama().write(&scratch.join("blob"));
    let source = ModelSource::open(&path).unwrap();
    let file = source.gguf().unwrap();
    assert!(source.config().is_none() && source.remarks().is_empty());
    assert_eq!(source.files(), [(path.clone(), fs::metadata(&path).unwrap().len())]);
    for tensor in source.spec().tensors() {
        let values = source.values(&tensor.name).unwrap();
        assert_eq!(values, file.values(&tensor.name).unwrap());
        let mut there = vec![7.0; values.len()];
        source.values_into(&tensor.name, &mut there).unwrap();
        assert_eq!(there, values);
    }
    let entries = source.entries();
    let format = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap().format.clone();
    let (quantised, half) = ("model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.k_proj.weight");
    assert_eq!((format(quantised).as_str(), format(half).as_str()), ("Q8_0", "F16"));
    assert_eq!(source.blocks(quantised).unwrap().unwrap().shape, [32, 64]);
    assert!(source.blocks(half).unwrap().is_none() && source.blocks("odd").unwrap().is_none());
    assert_names(&source.values("odd").unwrap_err(), &["blob", "odd", "missing"]);
}

#[test]
fn a_folder_becomes_a_gguf_file_and_biases_without_values_are_zero_in_both() {
    let scratch = Scratch::new();
    let tokenizer = GgufFile::open(&builder::llama().write(&scratch.join("llama.gguf"))).unwrap().tokenizer().clone();
    let config = DEEPSEEK_V3
        .replace("\"vocab_size\": 40", "\"vocab_size\": 8")
        .replace("\"num_nextn_predict_layers\": 1", "\"num_nextn_predict_layers\": 0");
    let mut listed = tensors(&spec(&config));
    listed.retain(|(name, ..)| !name.ends_with("e_score_correction_bias"));
    foreign(&scratch.join("folder"), &config, "model.safetensors", &listed, "F16");
    let folder = ModelSource::open(&scratch.join("folder")).unwrap();
    let templates = Default::default();
    let contents = GgufContents { spec: folder.spec(), tokenizer: &tokenizer, templates: &templates, metadata: &[] };
    let path = scratch.join("model.GGUF");
    assert!(is_gguf_name(&path) && !is_gguf_name(&scratch.join("folder")));
    write_gguf(&path, &contents, &folder, None).unwrap();
    let file = ModelSource::open(&path).unwrap();
    assert_eq!(all(&file), all(&folder));
    let bias = "model.layers.1.mlp.gate.e_score_correction_bias";
    assert_eq!((file.has(bias), file.values(bias).unwrap()), (false, vec![0.0; 4]));
    let entries = file.entries();
    let expert = entries.iter().find(|entry| entry.name.contains("experts.3.up_proj")).unwrap();
    assert_eq!(expert.format, "F16");
}

/// E4M3 by its definition.
fn e4m3(code: u8) -> f32 {
    let (sign, exponent, mantissa) = (code >> 7, i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = if exponent == 0 { mantissa / 512.0 } else { (1.0 + mantissa / 8.0) * 2_f32.powi(exponent - 7) };
    if sign == 0 { magnitude } else { -magnitude }
}

/// DeepSeek-V3's form with blocks of `block`: what is in the file, and the values that it stands for.
fn in_fp8(block: [usize; 2]) -> (Vec<Raw>, Vec<NamedTensor>) {
    let mut random = SplitMix(11);
    let (mut raw, mut expected) = (Vec::new(), Vec::new());
    for tensor in tensors(&spec(DEEPSEEK_V3)) {
        let (name, shape, _) = &tensor;
        if !name.ends_with("_proj.weight") || name.ends_with("eh_proj.weight") {
            raw.push(Raw::of(&tensor, if name.ends_with("bias") { "F32" } else { "BF16" }));
            expected.push(tensor);
            continue;
        }
        let codes: Vec<u8> = (0..shape[0] * shape[1]).map(|_| (random.next() as u8) & 0xbf).collect();
        let scales_shape = vec![shape[0].div_ceil(block[0]), shape[1].div_ceil(block[1])];
        let scales: Vec<f32> = (0..scales_shape[0] * scales_shape[1]).map(|i| 0.001 + 0.1 * i as f32).collect();
        let scale = |i: usize| scales[i / shape[1] / block[0] * scales_shape[1] + i % shape[1] / block[1]];
        let values = codes.iter().enumerate().map(|(i, &code)| e4m3(code) * scale(i)).collect();
        raw.push(Raw::of(&(format!("{name}_scale_inv"), scales_shape, scales), "F32"));
        raw.push(Raw { name: name.clone(), dtype: "F8_E4M3", shape: shape.clone(), bytes: codes });
        expected.push((name.clone(), shape.clone(), values));
    }
    (raw, expected)
}

fn with_quantisation(quantisation: Value) -> String {
    let mut config: Value = serde_json::from_str(DEEPSEEK_V3).unwrap();
    config["quantization_config"] = quantisation;
    config.to_string()
}

fn write_folder(dir: &Path, config: &str, raw: &[Raw]) {
    fs::write(dir.join("config.json"), config).unwrap();
    write_raw(&dir.join("model.safetensors"), raw);
}

#[test]
fn fp8_is_codes_times_the_scales_of_their_blocks() {
    for block in [[128, 128], [16, 4], [5, 7]] {
        let scratch = Scratch::new();
        let (raw, expected) = in_fp8(block);
        let config = with_quantisation(json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": block}));
        write_folder(scratch.path(), &config, &raw);
        let source = ModelSource::open(scratch.path()).unwrap();
        assert!(all(&source) == expected, "{block:?}");
        let name = "model.layers.0.mlp.up_proj.weight";
        let entry = source.entries().into_iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(entry.format, format!("F8_E4M3 in blocks of {}x{}", block[0], block[1]));
        assert_eq!(entry.bytes, (24 * 16 + 4 * 24_usize.div_ceil(block[0]) * 16_usize.div_ceil(block[1])) as u64);
        assert!(source.entries().iter().all(|entry| !entry.name.contains("scale_inv")));
    }
}

#[test]
fn fp8_without_its_scales_is_refused() {
    let scratch = Scratch::new();
    let name = "model.layers.0.mlp.up_proj.weight";
    let scales = format!("{name}_scale_inv");
    let refused = |config: &str, change: &dyn Fn(&mut Vec<Raw>)| {
        let mut raw = in_fp8([128, 128]).0;
        change(&mut raw);
        write_folder(scratch.path(), config, &raw);
        ModelSource::open(scratch.path()).unwrap_err()
    };
    let error = refused(DEEPSEEK_V3, &|raw| raw.retain(|tensor| tensor.name != scales));
    assert_names(&error, &[name, "F8_E4M3", &scales, "BF16 form"]);
    let error = refused(DEEPSEEK_V3, &|raw| raw.retain(|tensor| tensor.name != name));
    assert_names(&error, &[name, "is missing"]);
    let error = refused(&with_quantisation(json!({"quant_method": "fp8", "weight_block_size": [8, 8]})), &|_| ());
    assert_names(&error, &["q_a_proj.weight_scale_inv", "[1, 1]", "[1, 2]"]);
    let of_bf16 =
        |raw: &mut Vec<Raw>| raw.push(Raw::of(&("lm_head.weight_scale_inv".into(), vec![1, 1], vec![1.0]), "F32"));
    assert_names(&refused(DEEPSEEK_V3, &of_bf16), &["lm_head.weight_scale_inv", "not part of the model"]);
    for (quantisation, parts) in [
        (json!({"quant_method": "awq"}), ["quantization_config.quant_method = awq", "fp8"]),
        (json!({}), ["config.json", "quantization_config.quant_method"]),
        (json!({"quant_method": "fp8", "weight_block_size": [0, 128]}), ["weight_block_size", "[128, 128]"]),
        (json!({"quant_method": "fp8", "weight_block_size": 128}), ["weight_block_size", "128"]),
    ] {
        assert_names(&refused(&with_quantisation(quantisation), &|_| ()), &parts);
    }
}

/// Puts the experts of each layer into one tensor, as transformers 5 has them in memory.
fn fuse(tensors: &[NamedTensor]) -> Vec<NamedTensor> {
    let is_expert = |name: &str| name.contains(".experts.");
    let mut out: Vec<NamedTensor> = tensors.iter().filter(|tensor| !is_expert(&tensor.0)).cloned().collect();
    for layer in 0..3 {
        let of = |expert: usize, part: &str| {
            let name = format!("model.layers.{layer}.mlp.experts.{expert}.{part}.weight");
            tensors.iter().find(|tensor| tensor.0 == name)
        };
        let (mut gate_up, mut down) = (Vec::new(), Vec::new());
        for expert in 0..4 {
            let Some(gate) = of(expert, "gate_proj") else { continue };
            gate_up.extend([&gate.2[..], &of(expert, "up_proj").unwrap().2].concat());
            down.extend(&of(expert, "down_proj").unwrap().2);
        }
        if !down.is_empty() {
            out.push((format!("model.layers.{layer}.mlp.experts.gate_up_proj"), vec![4, 16, 16], gate_up));
            out.push((format!("model.layers.{layer}.mlp.experts.down_proj"), vec![4, 16, 8], down));
        }
    }
    out
}

#[test]
fn experts_in_one_tensor_are_read_in_parts() {
    let scratch = Scratch::new();
    let listed = tensors(&spec(DEEPSEEK_V3));
    let mut fused = fuse(&listed);
    assert!(fused.len() < listed.len());
    foreign(scratch.path(), DEEPSEEK_V3, "model.safetensors", &fused, "BF16");
    assert_eq!(all(&ModelSource::open(scratch.path()).unwrap()), listed);

    let last = fused.last_mut().unwrap();
    last.1 = vec![4, 8, 16];
    let name = last.0.clone();
    foreign(scratch.path(), DEEPSEEK_V3, "model.safetensors", &fused, "BF16");
    assert_names(&ModelSource::open(scratch.path()).unwrap_err(), &[&name, "[4, 8, 16]", "[4, 16, 8]"]);
}

#[test]
fn biases_that_nobody_saved_are_zero_and_said() {
    let scratch = Scratch::new();
    let mut listed = tensors(&spec(DEEPSEEK_V3));
    let is_bias = |name: &str| name.ends_with("e_score_correction_bias");
    let saved: Vec<NamedTensor> = listed.iter().filter(|tensor| !is_bias(&tensor.0)).cloned().collect();
    foreign(scratch.path(), DEEPSEEK_V3, "model.safetensors", &saved, "F32");
    let source = ModelSource::open(scratch.path()).unwrap();
    listed.iter_mut().filter(|tensor| is_bias(&tensor.0)).for_each(|tensor| tensor.2.fill(0.0));
    assert_eq!(all(&source), listed);
    assert!(!source.has("model.layers.1.mlp.gate.e_score_correction_bias"));
    assert_names(&source.remarks()[0], &["correction bias", "0."]);
}

#[test]
fn what_is_left_out_says_why() {
    let scratch = Scratch::new();
    let mut listed = tensors(&spec(DEEPSEEK_V3));
    let count = listed.len();
    let copies = ["model.layers.2.embed_tokens.weight", "model.layers.2.shared_head.head.weight"];
    listed.extend(copies.map(|name| (name.to_owned(), vec![40, 16], vec![0.5; 640])));
    listed.push(("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), vec![2], vec![1.0; 2]));
    foreign(scratch.path(), DEEPSEEK_V3, "model.safetensors", &listed, "BF16");
    let source = ModelSource::open(scratch.path()).unwrap();
    let left_out = |name: &str| source.entries().iter().find(|entry| entry.name == name).unwrap().left_out.unwrap();
    copies.iter().for_each(|name| assert_names(&left_out(name), &["shares the model's own"]));
    assert_names(&left_out("model.layers.0.self_attn.rotary_emb.inv_freq"), &["follows from config.json"]);
    assert_eq!(source.entries().iter().filter(|entry| entry.left_out.is_none()).count(), count);
}

#[test]
fn a_model_that_also_sees_is_refused_by_name() {
    let scratch = Scratch::new();
    let mut listed = tensors(&spec(LLAMA));
    listed.iter_mut().for_each(|tensor| tensor.0 = format!("language_model.{}", tensor.0));
    foreign(scratch.path(), LLAMA, "model.safetensors", &listed, "BF16");
    let error = ModelSource::open(scratch.path()).unwrap_err();
    assert_names(&error, &["language_model.", "more than text", "text alone"]);
}
