//! What must hold for the source itself, above all that the adapters hold no policy.
//!
//! Each rule is tried twice: on the whole repository, where it must find nothing, and on violations planted for it, each of
//! which it must find. A rule that cannot fail is no rule.

mod rules;
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rules::Rule;
use source::{Source, has_extension, test_modules};
use tidegate_tests::world::root;

macro_rules! tidy {
    ($($name:ident: $rule:ident;)+) => {$(
        mod $name {
            #[test]
            fn holds() {
                super::holds(&super::rules::$rule);
            }

            #[test]
            fn can_fail() {
                super::can_fail(&super::rules::$rule);
            }
        }
    )+};
}

tidy! {
    adapters_compare_no_status: NO_STATUS;
    adapters_choose_no_duration: NO_DURATION;
    adapters_name_no_vendor_and_no_model: NO_NAMES;
    adapters_read_no_words_of_vendors: NO_RETRY_WORDS;
    core_is_pure: CORE_IS_PURE;
    modules_say_why: MODULES_SAY_WHY;
    files_are_short: FILES_ARE_SHORT;
    functions_are_short: FUNCTIONS_ARE_SHORT;
    nothing_is_put_off: NOTHING_IS_PUT_OFF;
    tests_do_not_sleep: TESTS_DO_NOT_SLEEP;
    no_place_of_ones_own: NO_PLACE_OF_ONES_OWN;
}

/// Larger files are lock files and the like, and hold no code.
const BYTES_MAX: u64 = 1 << 20;

fn holds(rule: &Rule) {
    let mut found = Vec::new();
    for source in repository().iter().filter(|source| (rule.about)(source)) {
        found.extend((rule.find)(source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.path)));
    }
    assert!(repository().iter().any(rule.about), "the rule is about no file: have they moved?");
    assert!(found.is_empty(), "{}:\n  {}", rule.remedy, found.join("\n  "));
}

fn can_fail(rule: &Rule) {
    let finds = |(path, text): &(&str, &str)| {
        let source = Source::new(path, (*text).to_owned(), path.starts_with("tests/"));
        (rule.about)(&source) && !(rule.find)(&source).is_empty()
    };
    assert!(!rule.planted.is_empty());
    for planted in rule.planted {
        assert!(finds(planted), "not found: {planted:?}");
    }
    for spared in rule.spared {
        assert!(!finds(spared), "found, though nothing is wrong with it: {spared:?}");
    }
}

/// Every text file that is in git, or about to be.
fn repository() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let root = root();
        let files: Vec<(String, String)> =
            tracked(&root).into_iter().filter_map(|path| Some((path.clone(), read(&root.join(path))?))).collect();
        assert!(files.len() > 50, "only {} files: is this the repository?", files.len());
        let rust = files.iter().filter(|(path, _)| has_extension(path, "rs"));
        let tests: BTreeSet<String> = rust.flat_map(|(path, text)| test_modules(path, text)).collect();
        let is_test = |path: &str| {
            let module = path.trim_end_matches(".rs");
            // The programs of the bench are no tests, though they live here.
            let of_tests = path.starts_with("tests/") && !path.starts_with("tests/src/bin/");
            of_tests || tests.iter().any(|test| module == test || module.starts_with(&format!("{test}/")))
        };
        files.into_iter().map(|(path, text)| Source::new(&path, text, is_test(&path))).collect()
    })
}

fn tracked(root: &Path) -> Vec<String> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(root).output().expect("git is there");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A file's text; nothing if it is none, or is gone from the working tree.
fn read(path: &Path) -> Option<String> {
    let is_small = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= BYTES_MAX);
    if is_small { fs::read_to_string(path).ok() } else { None }
}
