//! The conformance suite of Gateway API (`e2e/conformance`) against Genkan, in a cluster of its own.
//!
//! `e2e/conformance/report.yaml` is what the suite last found, and the table in the README tells it. A run may not find
//! less, nor anything else to be claimed. `GENKAN_UPDATE_REPORT=1` rewrites both. `TESTS` names tests, separated by
//! commas, and nothing else is run, whatever is claimed; each of them has to pass, and there is no report then. `RUNS` is
//! how often all of it is done.
//! What the suite and Genkan printed is left in `target/conformance`.

// What fails here fails the test, and the panic says where.
#![allow(clippy::unwrap_used)]

mod output;
mod report;
mod site;

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs};

use self::report::Report;
use self::site::Site;

/// The folder for what is printed.
fn logs() -> PathBuf {
    let folder = genkan_e2e::genkan::binary().with_file_name("../conformance");
    fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e is a folder of the repository")
}

fn committed() -> PathBuf {
    repository().join("e2e/conformance/report.yaml")
}

fn updates() -> bool {
    env::var_os("GENKAN_UPDATE_REPORT").is_some()
}

#[test]
fn the_suite_finds_what_the_report_says() {
    let tests = env::var("TESTS").unwrap_or_default();
    let runs = env::var("RUNS").map_or(1, |runs| runs.parse().expect("RUNS is a number"));
    for run in 1..=runs {
        eprintln!("== run {run} of {runs}");
        let started = Instant::now();
        let found = Site::start(&logs()).run(&tests);
        eprintln!("   {} s in all", started.elapsed().as_secs());
        if !tests.is_empty() {
            let without = found.not_passed(&tests);
            assert!(without.is_empty(), "failed, were skipped, or do not exist: {}", without.join(", "));
            continue;
        }
        let text = found.report.unwrap_or_else(|| panic!("the suite wrote no report: see {}", logs().display()));
        if updates() && run == 1 {
            let before = fs::read_to_string(committed()).map(|text| Report::read(&text));
            let worse = before.map(|before| Report::read(&text).worse_than(&before)).unwrap_or_default();
            worse.iter().for_each(|line| eprintln!("   WORSE than the report that is replaced: {line}"));
            fs::write(committed(), &text).unwrap();
            report::update_readme(&repository().join("README.md"), &Report::read(&text));
        }
        let before = Report::read(&fs::read_to_string(committed()).unwrap());
        let mut worse = Report::read(&text).worse_than(&before);
        worse
            .extend(found.failed.iter().filter(|test| !before.tells_failed(test)).map(|test| format!("{test} failed")));
        assert!(worse.is_empty(), "against e2e/conformance/report.yaml:\n{}", worse.join("\n"));
    }
}

#[test]
fn the_readme_tells_the_report() {
    let report = Report::read(&fs::read_to_string(committed()).unwrap());
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let mend = "run GENKAN_UPDATE_REPORT=1 make conformance";
    assert_eq!(report::table_of(&readme).expect("the README has a place for it"), report.table(), "{mend}");
}
