//! Layers of configuration and what they refuse.

use reseek_spec::{Layer, Scale, resolve};

fn layer(text: &str) -> Vec<Layer> {
    vec![Layer { name: "my.toml".to_string(), text: text.to_string() }]
}

#[test]
fn every_scale_resolves_and_its_text_resolves_to_itself() {
    for scale in Scale::ALL {
        let resolved = resolve(scale, &[], &[]).unwrap();
        let again = resolve(scale, &layer(&resolved.toml), &[]).unwrap();
        assert_eq!(resolved, again);
    }
}

#[test]
fn later_layers_win() {
    let set = ["zero.lr=1".to_string(), "zero.steps = 7".to_string()];
    let resolved = resolve(Scale::Nano, &layer("[zero]\nsteps = 9\ngroup = 8"), &set).unwrap();
    assert_eq!((resolved.recipe.zero.steps, resolved.recipe.zero.group), (7, 8));
    assert_eq!(resolved.recipe.zero.lr, 1.0);
    assert_ne!(resolved.config_hash, resolve(Scale::Nano, &[], &[]).unwrap().config_hash);
}

#[test]
fn mistakes_name_layer_key_and_mend() {
    let check = |text: &str, settings: &[&str], expect: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|s| s.to_string()).collect();
        let error = resolve(Scale::Nano, &layer(text), &settings).unwrap_err().to_string();
        for part in expect {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    };
    check("[zero]\nstep = 9", &[], &["my.toml", "zero.step", "Did you mean zero.steps?"]);
    check("[zeros]\nsteps = 9", &[], &["no key zeros.steps", "Did you mean zero.steps?"]);
    check("[zero]\nsteps = \"many\"", &[], &["zero.steps", "integer"]);
    check("[zero\n", &[], &["my.toml", "TOML"]);
    check("", &["zero.grop=3"], &["--set zero.grop=3", "Did you mean zero.group?"]);
    check("", &["zero.group=1"], &["zero.group = 1", "2 or more"]);
    check("", &["novalue"], &["no ="]);
    check("", &["=3"], &["--set =3"]);
    check("", &["pretrain.fim_rate=1.5"], &["pretrain.fim_rate = 1.5", "0 or more, at most 1", "share"]);
    check("", &["pretrain.seq_len=0"], &["pretrain.seq_len = 0"]);
    check("", &["zero.steps=-3"], &["zero.steps = -3", "0 or more"]);
    check("", &["pretrain.lr_peak=nan"], &["pretrain.lr_peak = NaN", "0 or more"]);
    check("", &["r1.cold_start_lr=-inf"], &["r1.cold_start_lr = -inf", "0 or more"]);
    check("", &["pretrain.tokens=9223372036854775807"], &["pretrain.tokens", "at most 1000000000000000"]);
    check("", &["pretrain.lanes=1000000000"], &["pretrain.lanes", "at most 4096"]);
    check("", &["r1.rl.kl_beta=-1"], &["r1.rl.kl_beta = -1"]);
    check("", &["eval.top_p=0"], &["eval.top_p = 0", "above 0, at most 1"]);
    check("", &["tasks.levels=[1, 2]"], &["tasks.levels = [1.0, 2.0]", "three"]);
    check("", &["tasks.levels=[0, 0, 0]"], &["tasks.levels = [0.0, 0.0, 0.0]", "not all 0"]);
    check("", &["zero.max_new_tokens=1024"], &["zero.max_new_tokens = 1024", "1024 tokens"]);
    check("", &["distil.rl.max_new_tokens=256"], &["distil.rl.max_new_tokens = 256", "256 tokens"]);
    check("", &["zero.minibatches=257"], &["zero.minibatches = 257", "256 samples"]);
    check("", &["compute=\"fp4\""], &["fp4", "bf16"]);
    check("", &["scale=\"micro\""], &["scale", "micro", "nano", "--scale"]);
    check("scale = \"micro\"", &[], &["my.toml", "--scale"]);
}

/// Which rewards there are is the table's of another room to say; a weight is a number from 0 on whatever its name.
#[test]
fn rewards_have_open_names_and_weights_in_range() {
    let with = |setting: &str| resolve(Scale::Nano, &[], &[setting.to_string()]);
    let rewards = |setting: &str| with(setting).unwrap().recipe.r1.rl.rewards;
    assert_eq!(rewards("r1.rl.rewards.brevity=1")["brevity"], 1.0);
    assert_eq!(rewards("r1.rl.rewards.format=0.5")["format"], 0.5);
    assert_eq!(rewards("zero.rewards.format=0.5")["format"], 1.0, "each stage has its own");
    for (setting, part) in [
        ("zero.rewards.format=-1", "0 or more"),
        ("zero.rewards.brevity=-1", "0 or more"),
        ("zero.rewards.brevity=yes", "float"),
        ("zero.rewards=3", "table"),
        ("zero.brevity=1", "no key zero.brevity"),
    ] {
        let error = with(setting).unwrap_err().to_string();
        assert!(error.contains(part), "{setting}: {error}");
    }
}

/// Recipes in the folders of runs that were made before rewards had a section of their own.
#[test]
fn former_names_of_weights_are_read() {
    let former = "[zero]\naccuracy_weight = 2.0\nlanguage_weight = 0.25\n[r1.rl_all]\npreference_weight = 3.0";
    let recipe = resolve(Scale::Nano, &layer(former), &["zero.format_weight=4".to_string()]).unwrap().recipe;
    let weights = ["accuracy", "format", "language", "preference"].map(|name| recipe.zero.rewards[name]);
    assert_eq!((weights, recipe.r1.rl_all.rewards["preference"]), ([2.0, 4.0, 0.25, 0.0], 3.0));
}
