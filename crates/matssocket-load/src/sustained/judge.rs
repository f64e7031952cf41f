//! Compares the slowest window with the median, and the disk usage with that at the start.

use super::args::Wanted;
use super::window::Window;
use crate::mix::{Kind, Mix};
use crate::verdict::Verdict;

/// Judges each kind separately if they took turns, otherwise all together.
pub fn judge(verdict: &mut Verdict, mix: &Mix, wanted: &Wanted, windows: &[Window]) {
    if mix.is_mixed() {
        let rates = windows.iter().map(Window::per_second).collect();
        let times = windows.iter().flat_map(|window| &window.done);
        let p99s = times.map(|done| done.p99).fold(0.0, f64::max);
        tell(verdict, "all", rates, p99s, wanted);
        for kind in mix.kinds() {
            let (rates, p99) = of(kind, windows);
            verdict.tell(
                format!("{}: median window, per second", kind.name()),
                median(rates),
            );
            verdict.tell(format!("{}: highest p99 of a window, ms", kind.name()), p99);
        }
        return;
    }
    for kind in mix.kinds() {
        let (rates, p99) = of(kind, windows);
        tell(verdict, kind.name(), rates, p99, wanted);
    }
}

/// The rates of all windows in which this kind had its turn, and the highest p99.
fn of(kind: Kind, windows: &[Window]) -> (Vec<f64>, f64) {
    let done = || windows.iter().filter_map(|window| window.of(kind));
    let p99 = done().map(|done| done.p99).fold(0.0, f64::max);
    (done().map(|done| done.per_second).collect(), p99)
}

fn tell(verdict: &mut Verdict, what: &str, rates: Vec<f64>, p99: f64, wanted: &Wanted) {
    if rates.is_empty() {
        verdict.none(format!("{what}: no window"), 1);
        return;
    }
    let worst = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let median = median(rates);
    verdict.tell(format!("{what}: median window, per second"), median);
    verdict.tell(format!("{what}: slowest window, per second"), worst);
    let share = 100.0 * worst / median.max(1e-6);
    verdict.at_least(
        format!("{what}: slowest window, % of the median"),
        share,
        wanted.worst.map(|share| 100.0 * share),
    );
    let most = wanted.p99.map(|most| most.as_secs_f64() * 1e3);
    verdict.figure(format!("{what}: highest p99 of a window, ms"), p99, most);
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    match rates.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => rates[middle],
        _ => (rates[middle - 1] + rates[middle]) / 2.0,
    }
}

/// How much the tables have grown on disk, at the end and at most.
pub fn disk(verdict: &mut Verdict, most: Option<f64>, before: u64, windows: &[Window]) {
    let disks = windows.iter().filter_map(|window| window.inside.as_ref());
    let disks: Vec<_> = disks.map(|inside| inside.disk).collect();
    let grown = |disk: &u64| (*disk as f64 - before as f64) / 1e6;
    if let (Some(last), Some(highest)) = (disks.last(), disks.iter().max()) {
        verdict.tell("tables grown in the end, MB", grown(last));
        verdict.figure("tables grown at most, MB".to_owned(), grown(highest), most);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::inside::Inside;
    use super::super::window::tests::window;
    use super::*;

    fn kept(wanted: Wanted, windows: &[Window]) -> bool {
        let mut verdict = Verdict::new(true);
        judge(&mut verdict, &Mix::only(Kind::Requests), &wanted, windows);
        verdict.close("test").0
    }

    fn worst(worst: f64) -> Wanted {
        Wanted {
            worst: Some(worst),
            ..Wanted::default()
        }
    }

    #[test]
    fn the_slowest_window_is_held_against_the_median() {
        let rates = [900.0, 1000.0, 1100.0, 700.0];
        let windows = rates.map(|rate| window(1.0, rate, 5.0));
        // The median is 950.
        assert!(kept(worst(0.73), &windows));
        assert!(!kept(worst(0.74), &windows));
        assert!(kept(Wanted::default(), &windows));
    }

    #[test]
    fn the_slowest_hundredth_of_every_window_counts() {
        let windows = [1.0, 60.0, 2.0].map(|p99| window(1.0, 1000.0, p99));
        let p99 = |millis| Wanted {
            p99: Some(Duration::from_millis(millis)),
            ..Wanted::default()
        };
        assert!(kept(p99(60), &windows));
        assert!(!kept(p99(59), &windows));
    }

    #[test]
    fn a_run_without_a_window_keeps_nothing() {
        assert!(!kept(Wanted::default(), &[]));
    }

    #[test]
    fn growth_is_that_of_the_worst_moment() {
        let windows = [110, 190, 120].map(|megabytes: u64| {
            let mut window = window(1.0, 1.0, 1.0);
            window.inside = Some(Inside {
                disk: megabytes * 1_000_000,
                ..Inside::default()
            });
            window
        });
        for (most, is_kept) in [(90.0, true), (89.0, false)] {
            let mut verdict = Verdict::new(true);
            disk(&mut verdict, Some(most), 100_000_000, &windows);
            assert_eq!(verdict.close("test").0, is_kept, "at most {most}");
        }
    }
}
