//! Drawings of one person's values as HTML, each with its numbers as a table beside it. Plots stretch to their box;
//! dots are round line ends, which do not stretch with it.

use super::{compare::Pair, trend::Trend};
use leptos::prelude::*;

/// A metric over time.
pub(super) fn trend(t: Trend, others: bool) -> AnyView {
    let [top, middle, bottom] = t.scale;
    let switches = !t.switched.is_empty();
    view! {
        <div class="plot tall">
            <div class="plot-scale wide" aria-hidden="true"><span class="at-100">{top}</span><span class="at-50">{middle}</span><span class="at-0">{bottom}</span></div>
            <svg class="plot-area" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=t.spoken>
                <path class="plot-grid" d="M0 0.3H1000M0 50H1000M0 99.7H1000"></path>
                <path class="own-band" d=t.band></path>
                <path class="switches" d=t.switches></path>
                <path class="dots others" d=t.others></path>
                <path class="plot-line thin" d=t.line></path>
                <path class="dots" d=t.dots></path>
                <path class="dots doubted" d=t.doubted.clone()></path>
                <path class="dots doubted-heart" d=t.doubted></path>
            </svg>
            <div class="plot-ticks" aria-hidden="true">{t.ticks.into_iter().map(|t| view! { <span>{t}</span> }).collect_view()}</div>
        </div>
        <ul class="legend flat" aria-label="Marks">
            <li>{key("M4 8h0.01", "dots")}"value taken"</li>
            {others.then(|| view! { <li>{key("M4 8h0.01", "dots others")}"another source"</li> })}
            <li>{key("M8 8h0.01", "dots doubted")}"doubted (below 40); at the edge when outside the scale"</li>
            <li>{key("M0 2h16v12h-16Z", "own-band")}"own band: median ± 2 spreads of 28 days"</li>
            {switches.then(|| view! { <li>{key("M8 0v16", "switches")}"device changed"</li> })}
        </ul>
        {switches.then(|| view! {
            <ul class="switched">{t.switched.into_iter().map(|(day, what)| view! { <li><span class="soft">{day}</span>" "{what}</li> }).collect_view()}</ul>
        })}
    }
    .into_any()
}

/// A small mark for a legend.
fn key(d: &'static str, class: &'static str) -> AnyView {
    view! { <svg class="key" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path class=class d=d></path></svg> }.into_any()
}

/// Two devices: differences over means, with the usual offset and the limits of agreement, and the days as a table.
pub(super) fn bland_altman(p: Pair) -> AnyView {
    let spoken =
        format!("Differences of {} and {} over their means on {} days. {}", p.first, p.second, p.agreement.n, p.sentences.join(" "));
    let [top, bottom] = p.scale;
    let [left, right] = p.means;
    let line = |at: f64| format!("M0 {at}H1000");
    view! {
        <ul class="sentences">{p.sentences.into_iter().map(|s| view! { <li>{s}</li> }).collect_view()}</ul>
        <div class="plot">
            <div class="plot-scale wide" aria-hidden="true"><span class="at-100">{top}</span><span class="at-0">{bottom}</span></div>
            <svg class="plot-area" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=spoken>
                {p.zero.map(|at| view! { <path class="plot-grid" d=line(at)></path> })}
                <path class="limit" d=format!("{}{}", line(p.upper), line(p.lower))></path>
                <path class="offset" d=line(p.bias)></path>
                <path class="dots" d=p.dots></path>
            </svg>
            <div class="plot-ticks" aria-hidden="true"><span>{left}</span><span>"mean of both"</span><span>{right}</span></div>
        </div>
        <ul class="legend flat" aria-label="Lines">
            <li>{key("M0 8h16", "offset")}{format!("usual offset: {} − {}", p.first, p.second)}</li>
            <li>{key("M0 8h16", "limit")}"limits of agreement"</li>
        </ul>
        <details class="twin">
            <summary>"Show as table"</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="Days with both devices">
                <table>
                    <caption class="sr-only">"Days with both devices, newest first"</caption>
                    <thead><tr><th scope="col">"Day"</th><th scope="col" class="num">{p.first}</th><th scope="col" class="num">{p.second}</th><th scope="col" class="num">"Difference"</th></tr></thead>
                    <tbody>{p.rows.into_iter().map(|[day, a, b, d]| view! {
                        <tr><th scope="row">{day}</th><td class="num">{a}</td><td class="num">{b}</td><td class="num">{d}</td></tr>
                    }).collect_view()}</tbody>
                </table>
            </div>
        </details>
    }
    .into_any()
}

/// How current a value is: a bar of how far it still speaks for today.
pub(super) fn currency(share: f64, spoken: String) -> AnyView {
    let width = (share.clamp(0.0, 1.0) * 100.0).round() as u32;
    view! {
        <span class="currency">
            <svg class="currency-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
                <rect class="share-rest" width="100" height="6"></rect><rect class="currency-fill" width=width height="6"></rect>
            </svg>
            <span class="soft small">{spoken}</span>
        </span>
    }
    .into_any()
}
