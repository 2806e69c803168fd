//! Tests of the room.

use std::fs;
use std::path::{Path, PathBuf};

use reseek_hub::{HubCache, HubError, HubModel};

const COMMIT: &str = "12fd25f77366fa6b3b4b768ec3050bf629380bac";

fn model(text: &str) -> HubModel {
    text.parse().unwrap()
}

/// A cache with one model, in a folder of this test.
fn cache(test: &str) -> (HubCache, PathBuf) {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&base);
    let folder = base.join("models--org--a-model");
    fs::create_dir_all(folder.join("refs/refs/pr")).unwrap();
    fs::create_dir_all(folder.join("snapshots").join(COMMIT)).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    fs::write(folder.join("refs/refs/pr/1"), format!("{COMMIT}\n")).unwrap();
    (HubCache::new(base), folder)
}

#[test]
fn a_revision_leads_to_its_files() {
    let (cache, folder) = cache("revision");
    let expected = folder.join("snapshots").join(COMMIT);
    for name in ["hf://org/a-model", "hf://org/a-model@main", "hf://org/a-model@refs/pr/1"] {
        assert_eq!(cache.snapshot(&model(name)).unwrap(), expected, "{name}");
    }
    assert_eq!(cache.snapshot(&model(&format!("hf://org/a-model@{COMMIT}"))).unwrap(), expected);
}

#[test]
fn what_is_absent_is_named_with_what_to_place_where() {
    let (cache, folder) = cache("absent");
    for (name, missing) in [("hf://org/a-model@v2", "refs/v2"), ("hf://org/other", "refs/main")] {
        let said = cache.snapshot(&model(name)).unwrap_err().to_string();
        for part in [name, missing, "hf download org/", "models--org--"] {
            assert!(said.contains(part), "{said} lacks {part}");
        }
    }
    fs::remove_dir(folder.join("snapshots").join(COMMIT)).unwrap();
    let said = cache.snapshot(&model("hf://org/a-model")).unwrap_err();
    assert!(matches!(said, HubError::Absent { .. }) && said.to_string().contains(COMMIT), "{said}");
}

#[test]
fn a_damaged_ref_leads_nowhere() {
    let (cache, folder) = cache("damaged");
    for content in ["../../../etc", "", "/etc", &"a".repeat(1 << 20), "a\nb"] {
        fs::write(folder.join("refs/main"), content).unwrap();
        assert!(matches!(cache.snapshot(&model("hf://org/a-model")), Err(HubError::Damaged { .. })), "{content:.20}");
    }
    fs::write(folder.join("refs/main"), [0xff, 0xfe]).unwrap();
    assert!(matches!(cache.snapshot(&model("hf://org/a-model")), Err(HubError::Damaged { .. })));
}

#[test]
fn names_that_climb_or_say_nothing_are_refused() {
    let wrong = [
        "org/model",
        "hf://model",
        "hf://org/",
        "hf:///model",
        "hf://../model",
        "hf://org/..",
        "hf://org/a/b",
        "hf://org/m@",
        "hf://org/m@..",
        "hf://org/m@a/../../b",
        "hf://org/m@/etc",
        "hf://o rg/m",
        "hf://org/m\0",
        "hf://org/m@a@b",
    ];
    for name in wrong {
        let said = name.parse::<HubModel>().unwrap_err();
        assert!(matches!(said, HubError::Name { .. }), "{name}: {said}");
    }
    assert!(format!("hf://org/{}", "m".repeat(1000)).parse::<HubModel>().is_err());
}
