//! `reseek cost`: the bill.

use reseek_sim::bill::{
    Agreement, Bill, DEEPSEEK, Prices, Range, Selection, bill, compare, positions, published_table,
};
use reseek_sim::published;
use reseek_spec::thousands;
use serde_json::json;

use super::dials;
use crate::cli_full_scale::{CostArgs, CostCommand};
use crate::error::{Outcome, fail};

/// Prints a bill, several side by side, or every position of the debate.
pub fn cost(args: &CostArgs) -> Outcome<()> {
    refuse_dead(args)?;
    let prices = prices(&args.price)?;
    match &args.command {
        Some(CostCommand::Positions(positions)) => return positions_table(&prices, positions.json),
        Some(CostCommand::Serve { port }) => return dials::serve(*port),
        None => {}
    }
    if args.subject.len() > 1 {
        return side_by_side(&args.subject, &prices, args.json);
    }
    let items: Vec<&str> = args.items.iter().map(String::as_str).collect();
    let subject = &args.subject[0];
    // The report's preset is of DeepSeek's items; another subject's bill counts all of its own unless told otherwise.
    let selection = match &args.preset {
        _ if !items.is_empty() => Selection::Items(&items),
        Some(preset) => Selection::Preset(preset),
        None if subject == DEEPSEEK => Selection::Preset("report"),
        None => Selection::All,
    };
    let bill = bill(subject, &prices, &selection)?;
    if args.json {
        crate::say!("{}", serde_json::to_string_pretty(&bill)?);
    } else {
        print_bill(&bill)?;
    }
    Ok(())
}

/// Refuses options that would change nothing of what is asked.
fn refuse_dead(args: &CostArgs) -> Outcome<()> {
    let chooses = args.preset.is_some() || !args.items.is_empty();
    match &args.command {
        Some(CostCommand::Serve { .. }) if chooses || !args.price.is_empty() => fail(
            "The page of `cost serve` has dials of its own, and --preset, --items and --price would change none of them. Leave them out.",
        ),
        Some(CostCommand::Positions(_)) if chooses => {
            fail("`cost positions` shows every preset, and --preset and --items would choose none. Leave them out.")
        }
        None if chooses && args.subject.len() > 1 => fail(format!(
            "--preset and --items choose from one bill, and {} are set side by side with all their items. Leave them out, or name one --subject.",
            args.subject.join(", ")
        )),
        _ => Ok(()),
    }
}

fn prices(settings: &[String]) -> Outcome<Prices> {
    let mut prices = Prices::default();
    for setting in settings {
        let wrong = || fail(format!("--price {setting} cannot be read. Write gpu_hour_usd=3 or gpu_hour_usd=1.5:2:4."));
        let Some((key, values)) = setting.split_once('=') else { return wrong() };
        let numbers: Result<Vec<f64>, _> = values.split(':').map(|value| value.trim().parse()).collect();
        let range = match numbers.as_deref() {
            Ok([value]) => Range::exact(*value),
            Ok([low, mid, high]) => Range::new(*low, *mid, *high),
            _ => return wrong(),
        };
        prices.set(key.trim(), range)?;
    }
    Ok(prices)
}

/// A number of hours, tokens or dollars without its fraction, a comma before every three digits.
pub fn whole(value: f64) -> String {
    match (0.0..1e18).contains(&value) {
        true => thousands(value.round() as u64),
        false => format!("{value:.0}"),
    }
}

/// Dollars in at most four digits.
pub fn usd(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{:.3}B", value / 1e9),
        v if v >= 1e6 => format!("{:.3}M", value / 1e6),
        v if v >= 1e3 => format!("{:.0}K", value / 1e3),
        _ => format!("{value:.0}"),
    }
}

fn print_bill(bill: &Bill) -> Outcome<()> {
    crate::say!("{} by \"{}\"\n", bill.title, bill.selection);
    crate::say!("  {:<64} {:>12} {:>10} {:>10} {:>10}", "item", "GPU-hours", "low $", "mid $", "high $");
    let mut group = "";
    for line in &bill.lines {
        if line.item.group != group {
            group = &line.item.group;
            crate::say!("{group}");
        }
        let mark = if line.counted { '×' } else { ' ' };
        let hours = line.gpu_hours.map_or(String::new(), |hours| whole(hours.mid));
        let title: String = line.item.title.chars().take(62).collect();
        crate::say!("{mark} {title:<64} {hours:>12} {}", columns(line.usd));
    }
    crate::say!("\n  {:<64} {:>12} {}", "counted (×)", whole(bill.total.gpu_hours.mid), columns(bill.total.usd));
    crate::say!("  {:<64} {:>12} {}", "left out", whole(bill.left_out.gpu_hours.mid), columns(bill.left_out.usd));
    for figure in &bill.figures {
        let agreement = agreement(figure.agreement);
        let (ours, published) = (usd(figure.usd.mid), usd(figure.figure.published_usd.mid));
        crate::say!(
            "\n{}: published ${published}, ours ${ours}: {agreement}\n  {}",
            figure.figure.title,
            figure.figure.source
        );
    }
    for note in &bill.notes {
        crate::say!("note: {note}");
    }
    if bill.subject == DEEPSEEK && bill.selection == "report" {
        let rent = published::GPU_HOUR_USD.value;
        crate::say!("\nThe report's own table at ${rent} an hour:");
        for row in published_table(rent)? {
            let same = if row.agrees { "the same" } else { "differs" };
            let (found, published) = (usd(row.derived_usd), usd(row.published_usd));
            crate::say!(
                "  {:<20} {:>10} h  ${found:<8} published ${published:<8} {same}",
                row.title,
                whole(row.gpu_hours)
            );
        }
    }
    Ok(())
}

fn columns(range: Range) -> String {
    format!("{:>10} {:>10} {:>10}", usd(range.low), usd(range.mid), usd(range.high))
}

/// In words.
pub fn agreement(agreement: Agreement) -> &'static str {
    match agreement {
        Agreement::Agrees => "agrees",
        Agreement::Disagrees => "disagrees",
        Agreement::ByConstruction => "agrees, as an item was taken from the position itself",
    }
}

fn side_by_side(subjects: &[String], prices: &Prices, json: bool) -> Outcome<()> {
    let names: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let found = compare(&names, prices)?;
    if json {
        crate::say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    for subject in found {
        crate::say!("{} ({})", subject.title, subject.gpu);
        crate::say!("  {:<50} {}", "published", columns(subject.published.usd));
        for (group, range) in &subject.groups {
            crate::say!("  {group:<50} {}", columns(*range));
        }
        crate::say!("  {:<50} {}\n", "everything", columns(subject.everything.usd));
    }
    Ok(())
}

fn positions_table(prices: &Prices, json: bool) -> Outcome<()> {
    let rows = positions(prices)?;
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(preset, bill)| json!({"preset": preset.id, "title": preset.title, "total": bill.total, "figures": bill.figures}))
            .collect();
        crate::say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    crate::say!("{:<14} {:<46} {:>12} {:>10}  agreement", "preset", "figure", "published $", "ours $");
    for (preset, bill) in &rows {
        if bill.figures.is_empty() {
            crate::say!("{:<14} {:<46} {:>12} {:>10}", preset.id, "", "", usd(bill.total.usd.mid));
        }
        for figure in &bill.figures {
            let title: String = figure.figure.title.chars().take(45).collect();
            let (published, ours) = (usd(figure.figure.published_usd.mid), usd(figure.usd.mid));
            crate::say!("{:<14} {title:<46} {published:>12} {ours:>10}  {}", preset.id, agreement(figure.agreement));
        }
    }
    Ok(())
}
