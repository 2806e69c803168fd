//! Claims about the network that follow from bandwidths and routing.

use reseek_sim::published::Report;

use super::{arithmetic, printed, unread};
use crate::claim::{Claim, Finding, Tolerance};
use crate::inputs::Inputs;

pub(crate) static NETWORK: &[Claim] = &[
    arithmetic(
        "v3-experts-per-node",
        (Report::V3, "section 3.2.2"),
        "While a token crosses InfiniBand once, NVLink can hand it to 3.2 experts of a node.",
        (3.2, "experts"),
        printed(0.05),
        |i| Finding::of(i.nvlink_gb_s / i.ib_gb_s, format!("{} GB/s / {} GB/s", i.nvlink_gb_s, i.ib_gb_s)),
    ),
    arithmetic(
        "v3-experts-max",
        (Report::V3, "section 3.2.2"),
        "At the same cost of communication a token could choose up to 13 experts.",
        (13.0, "experts"),
        printed(0.5),
        |i| {
            let nodes = i.v3.moe.as_ref().ok_or("V3 without experts")?.topk_group;
            let a_node = i.nvlink_gb_s / i.ib_gb_s;
            let found = nodes as f64 * a_node;
            Finding::of(
                found,
                format!("{nodes} nodes · {a_node} experts = {found}; 13 is rounded up, whole experts are 12"),
            )
        },
    ),
    arithmetic(
        "insights-node-limit",
        (Report::Insights, "section 4.3"),
        "Sending a token to at most 4 of 8 nodes, once to each, halves its InfiniBand traffic at worst.",
        (0.5, "of the traffic"),
        printed(0.005),
        node_limit,
    ),
    unread(
        arithmetic(
            "insights-mpft-mrft",
            (Report::Insights, "table 4"),
            "Training on the multi-plane network is as fast as on a multi-rail one.",
            (1.0, "ratio of tokens a day"),
            Tolerance::Relative { by: 0.005, why: "assumption: steps on one network vary by as much" },
            |i| {
                let day = |step_s: f64| i.step_tokens() * 86_400.0 / step_s / 1e9;
                let (plane, rail) = (day(i.step_s), day(i.step_mrft_s));
                let working = format!(
                    "{plane:.2}B on planes, {rail:.2}B on rails, from steps of {} and {} s",
                    i.step_s, i.step_mrft_s
                );
                Finding::of(plane / rail, working)
            },
        ),
        "the step on the multi-rail network was worked out from the tokens a day that table 4 gives for it, so their ratio is the table's own; the step \
         is yet to be read there",
    ),
];

/// Nodes with the limit over nodes without it, at worst; and on average of even draws.
fn node_limit(i: &Inputs) -> Result<Finding, String> {
    let moe = i.v3.moe.as_ref().ok_or("V3 without experts")?;
    let (chosen, groups, kept) = (moe.num_experts_per_tok, moe.n_group, moe.topk_group);
    let worst = chosen.min(groups) as f64;
    let experts = moe.n_routed_experts;
    let group = experts / groups.max(1);
    // Share of draws in which one node gets nothing: C(n − g, k) / C(n, k).
    let none: f64 = (0..chosen).map(|j| (experts - group).saturating_sub(j) as f64 / (experts - j) as f64).product();
    let even = groups as f64 * (1.0 - none);
    let working = format!(
        "at most {kept} nodes of {worst} without the limit; even draws of {chosen} of {experts} experts would reach {even:.2} nodes on average, so \
         there the limit saves {:.0} %",
        100.0 * (1.0 - kept as f64 / even)
    );
    Finding::of(kept as f64 / worst, working)
}
