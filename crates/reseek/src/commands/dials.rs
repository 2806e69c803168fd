//! `reseek cost serve`: V3's run with dials, on this machine only.

use std::collections::BTreeMap;

use reseek_report::render_dials;
use reseek_sim::bill::{DEEPSEEK, PRICES, Prices, Range, Selection, bill, catalog};
use reseek_sim::recipe::v3;
use reseek_sim::run::run;
use reseek_sim::uncertainty::INPUTS;
use reseek_sim::{Plan, Rates, published};
use reseek_spec::{ClusterSpec, ModelSpec, preset, thousands};
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

use super::cost::usd;
use super::sim::first_step;
use crate::error::{Failure, Outcome, fail};

/// Longest request line that is read.
const URL_MAX: usize = 4096;

/// Serves until it is stopped.
pub fn serve(port: u16) -> Outcome<()> {
    // Pages of other sites cannot read the answers, and other machines cannot ask.
    let server = match Server::http(("127.0.0.1", port)) {
        Ok(server) => server,
        Err(error) => {
            return fail(format!(
                "cannot listen on 127.0.0.1:{port}: {error}. Choose another --port, or 0 for a free one."
            ));
        }
    };
    let address = server.server_addr().to_string();
    crate::say!("open http://{address}/ (Ctrl-C ends it)");
    let desk = Desk { model: preset("v3-671b")?, cluster: ClusterSpec::h800x2048() };
    let page = render_dials(&dials()?)?;
    for request in server.incoming_requests() {
        let (status, kind, body) = desk.reply(&request, &page);
        let mut response = Response::from_string(body).with_status_code(status);
        for (name, value) in [
            ("Content-Type", kind),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            (
                "Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
            ),
        ] {
            response.add_header(Header::from_bytes(name, value).expect("a constant header"));
        }
        // Whoever hung up does not want the answer.
        let _ = request.respond(response);
    }
    Ok(())
}

struct Desk {
    model: ModelSpec,
    cluster: ClusterSpec,
}

impl Desk {
    fn reply(&self, request: &Request, page: &str) -> (u16, &'static str, String) {
        const JSON: &str = "application/json";
        let error = |status, text: &str| (status, JSON, json!({"error": text}).to_string());
        let host =
            request.headers().iter().find(|header| header.field.equiv("Host")).map(|header| header.value.as_str());
        // A name that somebody else resolves to this machine would carry another site's rights.
        let is_local =
            host.is_some_and(|host| ["127.0.0.1", "localhost"].contains(&host.split(':').next().unwrap_or("")));
        if !is_local {
            return error(403, "this server answers to 127.0.0.1 and localhost only");
        }
        if *request.method() != Method::Get {
            return error(405, "only GET is answered");
        }
        if request.url().len() > URL_MAX {
            return error(414, "the address is too long");
        }
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        match path {
            "/" => (200, "text/html; charset=utf-8", page.to_string()),
            "/answer" => match self.answer(query) {
                Ok(answer) => (200, JSON, answer.to_string()),
                Err(Failure::Error(text)) => error(400, &text),
                Err(_) => error(500, "no answer"),
            },
            _ => error(404, "there are / and /answer"),
        }
    }

    /// The run and the bill by the dials in `query`.
    fn answer(&self, query: &str) -> Outcome<Value> {
        let mut settings: BTreeMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let mut number = |key: &str, default: f64, low: f64, high: f64| match settings.remove(key) {
            None => Ok(default),
            Some(text) => match text.parse::<f64>() {
                Ok(value) if (low..=high).contains(&value) => Ok(value),
                _ => fail(format!("{key} {text} will not do: it takes a number from {low} to {high}. Turn its dial.")),
            },
        };
        let mut rates = Rates::of(&self.cluster.gpu);
        for input in &INPUTS {
            input.apply(&mut rates, number(input.key, 1.0, input.low, input.high)?);
        }
        let mut prices = Prices::default();
        for price in &PRICES {
            let Range { low, mid, high } = price.range;
            let value = number(price.key, mid, low, high)?;
            prices.set(price.key, Range::exact(value))?;
        }
        let tokens = 1e12 * number("tokens", v3_tokens(), TOKENS.0, TOKENS.1)?;
        let selection = settings.remove("preset").unwrap_or("report");
        if let Some(unknown) = settings.keys().next() {
            return fail(format!("there is no dial {unknown}. The page shows them all."));
        }
        let whole = run(&self.model, &self.cluster, &v3(&Plan::v3(), tokens), &rates, prices.gpu_hour_usd.mid)?;
        let one = first_step(&whole);
        let bill = bill(DEEPSEEK, &prices, &Selection::Preset(selection))?;
        let says = |value: String, what: &str| json!({"value": value, "what": what});
        let lines = bill.lines.iter().filter(|line| line.counted).map(
            |line| json!({"title": line.item.title, "low": line.usd.low, "mid": line.usd.mid, "high": line.usd.high}),
        );
        Ok(json!({
            "headline": [
                says(format!("{:.2} s", one.step_s), &format!("a step of {} sequences", thousands(Plan::v3().global_batch as u64))),
                says(format!("{:.1} %", 100.0 * one.mfu_causal), "MFU of the bf16 peak, causal"),
                says(format!("{:.3} M", whole.gpu_hours / 1e6), "GPU-hours of pre-training and extensions"),
                says(format!("{:.1}", whole.days), &format!("days on {} GPUs, failures included", thousands(self.cluster.gpus as u64))),
                says(format!("${}", usd(whole.cost_usd)), "rent of that run"),
                says(format!("${}", usd(bill.total.usd.mid)), "the bill by the items that count"),
            ],
            "step_s": one.step_s, "gpu_hours": whole.gpu_hours, "cost_usd": whole.cost_usd, "bill_usd": bill.total.usd.mid,
            "bill": lines.collect::<Vec<_>>(),
        }))
    }
}

/// Trillions of tokens that the dial reaches.
const TOKENS: (f64, f64) = (1.0, 40.0);

/// Trillions of tokens that V3 had.
fn v3_tokens() -> f64 {
    published::TOKENS.value / 1e12
}

fn dials() -> Outcome<Value> {
    let dial = |key: &str, title: &str, source: &str, (low, mid, high): (f64, f64, f64)| {
        let step = 10f64.powf(((high - low) / 100.0).log10().floor());
        json!({"key": key, "title": title, "source": source, "min": low, "value": mid, "max": high, "step": step})
    };
    let prices = PRICES.iter().map(|price| {
        let title = price.key.replace('_', " ").replace("usd", "(USD)");
        dial(price.key, &title, price.unit, (price.range.low, price.range.mid, price.range.high))
    });
    let rates = INPUTS.iter().map(|input| dial(input.key, input.title, input.source, (input.low, 1.0, input.high)));
    let source = format!("10¹²; V3 had {}", v3_tokens());
    let tokens = dial("tokens", "tokens of pre-training", &source, (TOKENS.0, v3_tokens(), TOKENS.1));
    let presets = catalog()?.presets.iter().filter(|p| p.subject.as_deref().is_none_or(|s| s == DEEPSEEK));
    Ok(json!({
        "groups": [
            {"title": "Prices", "dials": prices.collect::<Vec<_>>()},
            {"title": "The run", "dials": [tokens]},
            {"title": "Rates, over the table's", "dials": rates.collect::<Vec<_>>()},
        ],
        "presets": presets.map(|p| json!({"id": p.id, "title": p.title})).collect::<Vec<_>>(),
    }))
}
