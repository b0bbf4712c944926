//! The report as Markdown tables, for docs/SCORING.md and the command line.

use super::baselines;
use super::bootstrap::Estimate;
use super::lines::Line;
use super::report::{Report, SEEN};
use std::fmt::{Result, Write};

/// A figure with its interval, or a dash.
fn figure(of: Option<Estimate>) -> String {
    of.map_or_else(|| "–".to_owned(), |e| e.to_string())
}

impl Report {
    /// The report as Markdown tables.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> Result {
        writeln!(
            out,
            "Scorer {}, registry {}; {} persons, {} values. In brackets: 90 % interval from {} draws of persons.\n",
            self.scorer_version, self.registry_version, self.persons, self.values, self.draws
        )?;
        writeln!(
            out,
            "Expected calibration error {}; of metrics and devices with a study {}, of those whose error is an assumption {}.",
            figure(self.calibration_error),
            figure(self.calibration_error_studied),
            figure(self.calibration_error_assumed)
        )?;
        if let Some(b) = self.brier {
            writeln!(
                out,
                "Brier score {} = miscalibration {} \u{2212} discrimination {} + uncertainty {}.",
                b.score, b.miscalibration, b.discrimination, b.uncertainty
            )?;
        }
        writeln!(out, "Rank correlation of score and error {}.", figure(self.spearman))?;
        let deciles: Vec<String> = self.error_by_decile.iter().map(|e| format!("{e:.2}")).collect();
        writeln!(out, "Mean error in tolerances by tenth of the score, lowest first: {}.\n", deciles.join(", "))?;
        writeln!(out, "| figure | n | ours | {} |\n|---|---|---|---|---|---|", baselines::NAMES.join(" | "))?;
        for line in [&self.overall, &self.precision].into_iter().chain(&self.faults).chain(&self.wear) {
            line.write(out)?;
        }
        if self.mended > 0 {
            writeln!(out, "\nUndone before it was stored: {} values (a fraction that normalisation reads as per cent).", self.mended)?;
        }
        self.write_silence(out)?;
        self.write_unseen(out)?;
        writeln!(out, "| metric | n | forecast | observed | calibration error | AUROC |\n|---|---|---|---|---|---|")?;
        for m in &self.metrics {
            let area = figure(m.auroc);
            writeln!(out, "| {} | {} | {:.3} | {:.3} | {} | {area} |", m.metric.key(), m.n, m.forecast, m.observed, m.calibration_error)?;
        }
        if !self.independent.is_empty() {
            writeln!(out, "\n| independent truth, AUROC | n | ours | {} |\n|---|---|---|---|---|---|", baselines::NAMES.join(" | "))?;
            for line in &self.independent {
                line.write(out)?;
            }
        }
        Ok(())
    }

    fn write_silence(&self, out: &mut String) -> Result {
        let Some(s) = self.silence else { return Ok(()) };
        writeln!(
            out,
            "\nSources that fall silent for some days ({} silences): noticed before data came again {}, on average {} days after the first \
             silent day. Of {} noons of sources that were not silent, the share at which silence was said of a day whose data came later is \
             {}, and of a day on which the device was not worn {}.",
            s.spells,
            figure(s.noticed),
            s.delay_days.map_or_else(|| "–".to_owned(), |d| format!("{d:.1}")),
            s.noons,
            figure(s.too_soon),
            figure(s.not_worn)
        )
    }

    fn write_unseen(&self, out: &mut String) -> Result {
        let unseen = self.unseen();
        let named = if unseen.is_empty() { "none".to_owned() } else { unseen.join(", ") };
        writeln!(out, "\nNot seen reliably (below {SEEN}): {named}.\n")?;
        if self.not_seen.is_empty() {
            return Ok(());
        }
        writeln!(out, "| not seen | oracle on the number alone | within each metric: faulty values | why |\n|---|---|---|---|")?;
        for u in &self.not_seen {
            writeln!(out, "| {} | {} | {} | {} |", u.name, figure(u.ceiling), u.within(), u.why)?;
        }
        writeln!(out)
    }
}

impl super::report::Unseen {
    /// How well it is seen within each metric, and of how many faulty values.
    pub fn within(&self) -> String {
        let one = |l: &Line| Some(format!("{} {:.2}: {}", l.name.replace('_', " "), l.ours?, l.n));
        self.by_metric.iter().filter_map(one).collect::<Vec<_>>().join(", ")
    }
}

impl Line {
    fn write(&self, out: &mut String) -> Result {
        let others = self.baselines.map(figure);
        writeln!(out, "| {} | {} | {} | {} |", self.name, self.n, figure(self.ours), others.join(" | "))
    }
}
