//! The bill against the published figures, and what it refuses.

use reseek_sim::bill::{
    Agreement, Basis, BillError, Catalog, PRICES, Prices, Range, Selection, Source, bill, catalog, compare,
    published_table,
};
use reseek_sim::published;

const V3: &str = "deepseek-v3-r1";

fn at_two(selection: &Selection) -> reseek_sim::bill::Bill {
    bill(V3, &Prices::at_gpu_hour(2.0), selection).unwrap()
}

#[test]
fn the_reports_table_is_exact() {
    let rows = published_table(2.0).unwrap();
    let got: Vec<(f64, f64, f64)> = rows.iter().map(|r| (r.gpu_hours, r.published_usd, r.derived_usd)).collect();
    let expect = [
        (2_664_000.0, 5_328_000.0, 5_328_000.0),
        (119_000.0, 238_000.0, 238_000.0),
        (5_000.0, 10_000.0, 10_000.0),
        (2_788_000.0, 5_576_000.0, 5_576_000.0),
    ];
    assert_eq!(got, expect);
    assert!(rows.iter().all(|r| r.agrees));
    assert!(published_table(2.1).unwrap().iter().all(|r| !r.agrees));
}

#[test]
fn items_and_sentences_have_the_published_figures() {
    let subject = catalog().unwrap().subject(V3).unwrap();
    for (id, figure) in [
        ("v3-pretraining", published::PRE_TRAINING),
        ("v3-extension", published::EXTENSION),
        ("v3-post-training", published::POST_TRAINING),
        ("r1-zero", published::R1_ZERO),
        ("r1-sft-data", published::R1_DATA),
        ("r1-training", published::R1),
    ] {
        assert_eq!(subject.item(id).unwrap().quantity, Range::exact(figure.value), "{id}");
    }
    assert!(subject.item("v3-pretraining").unwrap().title.contains(&format!("{}T", published::TOKENS.value / 1e12)));
    let usd = format!("{}M", published::TRAINING_USD.value / 1e6);
    let preset = |id| catalog().unwrap().preset(id).unwrap();
    assert_eq!(preset("report").figures[0].published_usd, Range::exact(published::TRAINING_USD.value));
    assert!(preset("lambert").figures.iter().any(|figure| figure.source.contains(&usd)));
    assert!(preset("amodei").note.contains(&usd) && preset("olmo-share").figures[0].source.contains(&usd));
}

#[test]
fn known_items_are_exact_at_two_dollars() {
    let check = |items: &[&str], usd: f64| assert_eq!(at_two(&Selection::Items(items)).total.usd.mid, usd, "{items:?}");
    check(&["r1-zero", "r1-sft-data", "r1-training"], 294_000.0);
    check(&["serving-day"], 87_072.0);
    check(&["ablations-disclosed"], 900_000.0);
    check(&["cluster-purchase"], 2048.0 * 25_000.0 * 1.35);
    for line in at_two(&Selection::All).lines.iter().filter(|l| l.item.published_usd.is_some()) {
        assert_eq!(line.usd.mid, line.item.published_usd.unwrap(), "{}", line.item.id);
    }
}

#[test]
fn every_position_is_reproduced_or_refuted() {
    use Agreement::{Agrees, ByConstruction, Disagrees};
    let expect: [(&str, &[Agreement]); 8] = [
        ("report", &[Agrees]),
        ("epoch", &[Agrees, Disagrees]),
        ("semianalysis", &[Agrees, Agrees]),
        ("lambert", &[ByConstruction, Agrees]),
        ("amodei", &[ByConstruction]),
        ("olmo-share", &[ByConstruction]),
        ("owner", &[]),
        ("everything", &[]),
    ];
    let presets = &catalog().unwrap().presets;
    assert_eq!(presets.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), expect.map(|(id, _)| id));
    for (preset, (id, agreements)) in presets.iter().zip(expect) {
        let subject = preset.subject.as_deref().unwrap_or(V3);
        let bill = bill(subject, &Prices::at_gpu_hour(2.0), &Selection::Preset(id)).unwrap();
        let got: Vec<Agreement> = bill.figures.iter().map(|f| f.agreement).collect();
        assert_eq!(
            got,
            agreements,
            "{id}: {:?}",
            bill.figures.iter().map(|f| (f.usd, f.deviation)).collect::<Vec<_>>()
        );
        assert!(!preset.note.is_empty() && preset.figures.iter().all(|f| !f.source.is_empty()));
    }
    let olmo = at_two(&Selection::Preset("olmo-share"));
    assert!((olmo.total.usd.mid / 1e6 - 30.98).abs() < 0.01, "{}", olmo.total.usd.mid);
    // A dearer hour must refute the report's own figure.
    let dear = bill(V3, &Prices::at_gpu_hour(2.5), &Selection::Preset("report")).unwrap();
    assert_eq!(dear.figures[0].agreement, Disagrees);
}

#[test]
fn default_prices_give_the_debated_range_for_the_same_hours() {
    let total = bill(V3, &Prices::default(), &Selection::Preset("report")).unwrap().total.usd;
    assert_eq!(total, Range::new(4_182_000.0, 5_576_000.0, 11_152_000.0));
}

#[test]
fn a_total_is_the_sum_of_its_lines() {
    for subject in &catalog().unwrap().subjects {
        for selection in [Selection::All, Selection::Items(&["*"]), Selection::Preset("everything")] {
            let bill = bill(&subject.id, &Prices::default(), &selection).unwrap();
            let sum: Range = bill.lines.iter().filter(|l| l.counted).map(|l| l.usd).sum();
            assert_eq!(sum, bill.total.usd, "{}", subject.id);
            assert!(sum.low > 0.0 && sum.low <= sum.mid && sum.mid <= sum.high, "{}: {sum:?}", subject.id);
            assert_eq!(bill.left_out.usd, Range::ZERO, "{}", subject.id);
        }
    }
    let one = |id| at_two(&Selection::Items(&[id])).total.usd;
    let two = at_two(&Selection::Items(&["r1-zero", "staff"])).total.usd;
    assert_eq!(one("r1-zero").plus(one("staff")), two);
    // What counts and what is left out are everything.
    let (part, all) = (at_two(&Selection::Preset("report")), at_two(&Selection::All));
    let whole = part.total.usd.plus(part.left_out.usd);
    assert!((whole.mid / all.total.usd.mid - 1.0).abs() < 1e-12, "{whole:?}");
}

#[test]
fn a_bill_rises_with_each_price_and_falls_with_the_years() {
    let ids: Vec<&str> = catalog().unwrap().subject(V3).unwrap().items.iter().map(|i| i.id.as_str()).collect();
    let usd = |prices: &Prices| bill(V3, prices, &Selection::Items(&ids)).unwrap().total.usd.mid;
    let before = usd(&Prices::default());
    for info in &PRICES {
        let mut prices = Prices::default();
        let dearer = Range::new(info.range.low * 1.5, info.range.mid * 1.5, info.range.high * 1.5);
        prices.set(info.key, dearer).unwrap();
        let after = usd(&prices);
        let falls = info.key == "depreciation_years";
        assert!(if falls { after < before } else { after > before }, "{}: {before} to {after}", info.key);
    }
}

#[test]
fn every_number_says_where_it_is_from() {
    for item in catalog().unwrap().subjects.iter().flat_map(|s| &s.items) {
        assert!(item.source.text().len() > 10, "{}", item.id);
        let assumed = matches!(item.source, Source::Assumption(_));
        assert!(!assumed || item.source.text().starts_with("assumption"), "{}", item.id);
    }
    for info in &PRICES {
        assert!(Source::from(info.source).text().len() > 10, "{}", info.key);
    }
    Prices::default().validate().unwrap();
}

#[test]
fn the_excluded_items_are_all_there() {
    let groups: Vec<&str> = catalog().unwrap().subject(V3).unwrap().items.iter().map(|i| i.group.as_str()).collect();
    let needed = ["published", "R1", "excluded: ablations", "excluded: data", "excluded: R1's data and experts"];
    for group in needed.into_iter().chain(["excluded: evaluation", "staff", "capital", "power", "inference"]) {
        assert!(groups.contains(&group), "{group}");
    }
}

#[test]
fn side_by_side() {
    let ids: Vec<&str> = catalog().unwrap().subjects.iter().map(|s| s.id.as_str()).collect();
    let rows = compare(&ids, &Prices::at_gpu_hour(2.0)).unwrap();
    assert_eq!(rows.len(), ids.len());
    assert_eq!(rows[0].published.usd.mid, 5_576_000.0);
    let llama = rows.iter().find(|r| r.subject == "llama-3.1-405b").unwrap();
    assert_eq!((llama.published.gpu_hours.mid, llama.published.usd.mid), (30_840_000.0, 61_680_000.0));
    for row in rows {
        let sum: Range = row.groups.iter().map(|(_, usd)| *usd).sum();
        assert!((sum.mid / row.everything.usd.mid - 1.0).abs() < 1e-12, "{}", row.subject);
    }
}

#[test]
fn bad_prices_are_refused_by_name_and_value() {
    let refused = |key: &str, range: Range, words: &[&str]| {
        let before = Prices::default();
        let mut prices = before;
        let message = prices.set(key, range).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(prices, before);
    };
    refused("gpu_hour_usd", Range::exact(-2.0), &["gpu_hour_usd", "-2", "positive"]);
    refused("gpu_hour_usd", Range::exact(0.0), &["0 makes no sense"]);
    refused("gpu_hour_usd", Range::exact(f64::NAN), &["NaN"]);
    refused("gpu_hour_usd", Range::exact(f64::INFINITY), &["inf"]);
    refused("gpu_hour_usd", Range::new(3.0, 2.0, 4.0), &["low 3, mid 2, high 4 do not rise"]);
    refused("depreciation_years", Range::new(0.0, 4.0, 6.0), &["depreciation_years", "0 makes no sense"]);
    refused("pue", Range::exact(0.9), &["pue", "0.9 is below 1", "at least 1"]);
    refused("server_overhead", Range::exact(0.0), &["0 is below 1"]);
    refused("gpu_huor_usd", Range::exact(2.0), &["gpu_huor_usd", "Did you mean gpu_hour_usd?"]);
    Prices::default().set("power_usd_per_kwh", Range::exact(0.0)).unwrap();
    let broken = Prices { gpu_watts: Range::exact(f64::NAN), ..Prices::default() };
    assert!(bill(V3, &broken, &Selection::All).unwrap_err().to_string().contains("gpu_watts"));
}

#[test]
fn unknown_names_give_the_nearest() {
    let message =
        |subject: &str, selection: &Selection| bill(subject, &Prices::default(), selection).unwrap_err().to_string();
    assert!(message("deepseek-v3", &Selection::All).contains("Did you mean deepseek-v3-r1?"));
    assert!(message(V3, &Selection::Preset("lamber")).contains("Did you mean lambert?"));
    assert!(message(V3, &Selection::Items(&["r1-zreo"])).contains("Did you mean r1-zero?"));
    assert!(message("gpt-4", &Selection::Preset("report")).to_lowercase().contains("report is about deepseek-v3-r1"));
    let long = "x".repeat(10_000);
    assert!(message(&long, &Selection::All).len() < 1_000);
}

#[test]
fn paying_twice_is_noted() {
    let twice = at_two(&Selection::Items(&["v3-pretraining", "cluster-purchase"]));
    assert!(
        twice.notes.iter().any(|n| n.contains("cluster-purchase pays again for what v3-pretraining")),
        "{:?}",
        twice.notes
    );
    let once = at_two(&Selection::All);
    assert!(once.notes.iter().all(|n| !n.contains("pays again")), "{:?}", once.notes);
    assert!(once.lines.iter().filter(|l| l.counted).all(|l| !matches!(l.item.basis, Basis::Purchase | Basis::Power)));
}

#[test]
fn a_readers_own_items_are_added_and_checked() {
    let own = |text: &str| catalog().unwrap().clone().with("mine.toml", text);
    let good = r#"
        [[subject]]
        id = "mine"
        title = "Mine"
        gpu = "H100"
        [[subject.item]]
        id = "run"
        title = "A run"
        group = "published"
        basis = "rent"
        quantity = 1000
        cited = "my own log of the run"
    "#;
    let added: Catalog = own(good).unwrap();
    let total = added.bill("mine", &Prices::at_gpu_hour(2.0), &Selection::Preset("everything")).unwrap().total;
    assert_eq!(total.usd, Range::exact(2000.0));
    let check = |from: &str, to: &str, words: &[&str]| {
        let message = own(&good.replace(from, to)).unwrap_err().to_string();
        assert!(message.starts_with("mine.toml") && words.iter().all(|word| message.contains(word)), "{message}");
    };
    check("cited = \"my own log of the run\"", "", &["run needs exactly one of cited and assumption"]);
    check("1000", "-1000", &["run: quantity: -1000 is below 0"]);
    check("quantity = 1000", "", &["quantity"]);
    check("quantity", "quantitty", &["quantitty"]);
    check("\"rent\"", "\"rnet\"", &["rnet", "rent"]);
    check("\"mine\"", "\"gpt-4\"", &["gpt-4 is there twice"]);
    assert!(matches!(own("= nonsense").unwrap_err(), BillError::Data { .. }));
}
