//! Charts as SVG that the server draws. Geometry is made here from numbers, rounded to a tenth, and travels as text:
//! server and browser show the same bytes. A day without data is a gap in the line, never a zero. Plots stretch to
//! their box; labels are ordinary text beside them, so they keep their size on any screen.

use super::BadgeMark;
use crate::model::Badge;
use leptos::prelude::*;

/// A confidence over days, ready to draw, with the same numbers as a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plot {
    /// The line in a 1000 × 100 box.
    pub line: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// Labels below, evenly spread from the first day to the last.
    pub ticks: Vec<String>,
    /// Day, average, number of values; a gap has no average.
    pub rows: Vec<(String, String, String)>,
    /// Whether there is anything to draw.
    pub empty: bool,
}

/// One row of a share chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarRow {
    /// Which tier.
    pub badge: Badge,
    /// How many, as text.
    pub count: String,
    /// Share, as text.
    pub share: String,
    /// Share in thousandths, for the bar.
    pub permille: u32,
    /// Who is behind it.
    pub href: String,
}

/// Bars over time, ready to draw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bar {
    /// All bars in a 1000 × 100 box.
    pub path: String,
    /// The highest bar, as text.
    pub peak: String,
    /// What it shows.
    pub description: String,
    /// Labels below, evenly spread.
    pub ticks: Vec<String>,
    /// Time and count, the newest first: the same numbers as a table.
    pub rows: Vec<[String; 2]>,
}

/// A small line without axes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spark {
    /// The line in a 100 × 20 box.
    pub line: String,
    /// What it shows.
    pub description: String,
}

/// The path of a line through evenly spaced values of 0 to `top` in a box; a missing value breaks it, and a value
/// alone between two gaps is a dot.
pub fn line(values: &[Option<f64>], width: f64, height: f64, top: f64) -> String {
    let step = if values.len() > 1 { width / (values.len() - 1) as f64 } else { 0.0 };
    let mut path = String::new();
    let mut pen_down = false;
    for (i, value) in values.iter().enumerate() {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let x = step * i as f64;
        let y = height - (value / top).clamp(0.0, 1.0) * height;
        let alone = !pen_down && values.get(i + 1).copied().flatten().is_none();
        path.push_str(&format!("{}{x:.1} {y:.1}", if pen_down { "L" } else { "M" }));
        if alone {
            path.push_str("h0.1");
        }
        pen_down = true;
    }
    path
}

/// The path of bars of 0 to `top` in a box, each leaving a fifth of its place empty. More than nothing is visible.
pub fn bars(values: &[i64], width: f64, height: f64, top: i64) -> String {
    let place = width / values.len().max(1) as f64;
    let mut path = String::new();
    for (i, value) in values.iter().enumerate().filter(|(_, v)| **v > 0) {
        let tall = (*value as f64 / top.max(1) as f64 * height).clamp(1.5, height);
        path.push_str(&format!("M{:.1} {height:.1}v-{tall:.1}h{:.1}v{tall:.1}Z", place * (i as f64 + 0.1), place * 0.8));
    }
    path
}

/// Confidence over time on the scale of the tiers, with its numbers as a table below.
#[component]
pub fn LineChart(
    /// What to draw.
    plot: Plot,
    /// Heading of the table.
    #[prop(into)]
    caption: String,
    /// What the three columns of the table hold.
    heads: [&'static str; 3],
) -> impl IntoView {
    let tiers = [Badge::Excellent, Badge::Good, Badge::Fair, Badge::Poor];
    view! {
        <div class="plot">
            <div class="plot-scale" aria-hidden="true">
                {["100", "80", "60", "40", "0"].map(|y| view! { <span class=format!("at-{y}")>{y}</span> }).into_iter().collect_view()}
            </div>
            <svg class="plot-area" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=plot.description>
                <rect class="band tier-excellent" x="0" y="0" width="1000" height="20"></rect>
                <rect class="band tier-good" x="0" y="20" width="1000" height="20"></rect>
                <rect class="band tier-fair" x="0" y="40" width="1000" height="20"></rect>
                <rect class="band tier-poor" x="0" y="60" width="1000" height="40"></rect>
                <path class="plot-grid" d="M0 20H1000M0 40H1000M0 60H1000M0 100H1000"></path>
                <path class="plot-line" d=plot.line></path>
            </svg>
            <div class="plot-names" aria-hidden="true">
                {tiers.map(|badge| view! { <span class=format!("name-{}", badge.key())>{badge.word()}</span> }).into_iter().collect_view()}
            </div>
            <div class="plot-ticks" aria-hidden="true">{plot.ticks.into_iter().map(|t| view! { <span>{t}</span> }).collect_view()}</div>
        </div>
        {twin(caption, heads, plot.rows.into_iter().map(|(day, average, n)| [day, average, n]).collect())}
    }
    .into_any()
}

/// A drawing's numbers as a table below it: the first column names the row, the others are numbers.
pub fn twin<const N: usize>(caption: String, heads: [&'static str; N], rows: Vec<[String; N]>) -> AnyView {
    let row = |cells: [String; N]| {
        let mut cells = cells.into_iter();
        view! { <tr><th scope="row">{cells.next().unwrap_or_default()}</th>{cells.map(|c| view! { <td class="num">{c}</td> }).collect_view()}</tr> }
    };
    let [first, others @ ..] = heads.as_slice() else { return ().into_any() };
    view! {
        <details class="twin">
            <summary>"Show as table"</summary>
            <div class="scroll" tabindex="0" role="region" aria-label="The chart's numbers">
                <table>
                    <caption class="sr-only">{caption}</caption>
                    <thead><tr><th scope="col">{*first}</th>{others.iter().map(|h| view! { <th scope="col" class="num">{*h}</th> }).collect_view()}</tr></thead>
                    <tbody>{rows.into_iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </details>
    }
    .into_any()
}

/// Counts over time as bars.
#[component]
pub fn BarChart(
    /// What to draw.
    bar: Bar,
    /// Heading of the table.
    #[prop(into)]
    caption: String,
) -> impl IntoView {
    view! {
        <div class="bars">
            <span class="bars-peak" aria-hidden="true">{bar.peak}</span>
            <svg class="bars-area" viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label=bar.description>
                <path class="plot-grid" d="M0 0.5H1000M0 50H1000M0 99.5H1000"></path>
                <path class="bars-fill" d=bar.path></path>
            </svg>
            <div class="plot-ticks" aria-hidden="true">{bar.ticks.into_iter().map(|t| view! { <span>{t}</span> }).collect_view()}</div>
        </div>
        {twin(caption, ["Time", "Count"], bar.rows)}
    }
    .into_any()
}

/// How many values fall into each tier; each row leads to who is behind it.
#[component]
pub fn ShareBars(
    /// Best tier first.
    rows: Vec<BarRow>,
) -> impl IntoView {
    view! {
        <ul class="shares">
            {rows.into_iter().map(|row| view! {
                <li class=format!("share tier-{}", row.badge.key())>
                    <a href=row.href><BadgeMark badge=row.badge/><span>{row.badge.word()}</span></a>
                    <svg class="share-bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">
                        <rect class="share-rest" width="1000" height="10"></rect>
                        <rect class="share-fill" width=row.permille height="10"></rect>
                    </svg>
                    <span class="num share-count">{row.count}</span>
                    <span class="num soft">{row.share}</span>
                </li>
            }).collect_view()}
        </ul>
    }
    .into_any()
}

/// A confidence over days in the height of a line of text.
#[component]
pub fn Sparkline(
    /// What to draw.
    spark: Spark,
) -> impl IntoView {
    view! {
        <svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label=spark.description>
            <path class="plot-grid" d="M0 20H100"></path>
            <path class="plot-line" d=spark.line></path>
        </svg>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_day_is_a_gap_and_a_lone_day_a_dot() {
        assert_eq!(line(&[Some(100.0), Some(50.0), None, Some(0.0)], 30.0, 100.0, 100.0), "M0.0 0.0L10.0 50.0M30.0 100.0h0.1");
        assert_eq!(line(&[None, None], 30.0, 100.0, 100.0), "");
        assert_eq!(line(&[], 30.0, 100.0, 100.0), "");
    }

    #[test]
    fn what_is_drawn_can_be_read_as_a_table() {
        let html = twin("Arrivals".into(), ["Time", "Count"], vec![["12:01".into(), "7".into()], ["12:00".into(), "0".into()]])
            .to_html()
            .replace("<!>", "");
        for part in
            ["<details", "<th scope=\"row\">12:01</th><td class=\"num\">7</td>", "<th scope=\"col\" class=\"num\">Count</th>", "Arrivals"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_bar_of_one_among_thousands_can_be_seen_and_none_of_nothing() {
        assert_eq!(bars(&[0, 1, 1000], 30.0, 100.0, 1000), "M11.0 100.0v-1.5h8.0v1.5ZM21.0 100.0v-100.0h8.0v100.0Z");
    }
}
