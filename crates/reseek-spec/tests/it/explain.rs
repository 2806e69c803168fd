//! The guide to the recipe, and what a name leads to.

use reseek_spec::{Scale, explain, resolve};

fn page(about: Option<&str>) -> Result<String, String> {
    explain(&resolve(Scale::Nano, &[], &[]).unwrap(), about).map_err(|error| error.to_string())
}

#[test]
fn the_guide_is_what_the_program_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/config.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let page = page(None).unwrap();
    let differs = page.lines().zip(guide.lines()).find(|(printed, kept)| printed != kept);
    assert!(guide == page, "run `reseek config --explain > docs/guide/config.md`; first difference: {differs:?}");
}

#[test]
fn a_key_a_section_and_a_name_of_others_are_explained() {
    let count = |about: &str| page(Some(about)).unwrap().matches("\n- `").count();
    assert_eq!(count("zero.lr"), 1);
    assert_eq!(count("pretrain.lr_peak"), 1);
    assert!(count("r1") > count("r1.rl") && count("r1.rl") > 15);
    let known = page(Some("learning_rate")).unwrap();
    for part in ["`zero.lr` = 0.0003", "`pretrain.lr_peak` = 0.004", "Paper: 2.2e-4", "Paper: 3e-6", "`extend.lr`"] {
        assert!(known.contains(part), "{known}");
    }
    assert!(!known.contains("kl_beta"));
    let one = page(Some("zero.num_generations")).unwrap();
    assert!(one.contains("`zero.group` = 16\n") && !one.contains("`r1.rl.group`"), "{one}");
}

#[test]
fn what_is_not_there_is_an_error_that_leads_on() {
    let error = page(Some("zero.grop")).unwrap_err();
    assert_eq!(error, "--explain: no key is called zero.grop. Did you mean zero.group?");
    let error = page(Some("num_hidden_layers")).unwrap_err();
    assert!(error.contains("No key stands for num_hidden_layers: a model's shape follows from --scale."), "{error}");
}
