//! The fuzz targets (tests/fuzz) on stable Rust: each takes its seeds, what comes of changing them, and any bytes.
//!
//! A seed is either a plain example or an input that broke a rule once. `FUZZ_CASES=100000` runs more, and goes where
//! nobody was; `tests/run fuzz` lets libFuzzer look for what is new.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::fuzz_targets::{api_answer, api_request, aws_config, config_toml, timestamps, token_file};

/// One step away from an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// So many bytes from one place again in another.
    Repeat(Index, usize, Index),
    /// The rest becomes that of another seed.
    Splice(Index, Index, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, new)| Self::Insert(at, new)),
            (any::<Index>(), 1..40usize).prop_map(|(at, count)| Self::Remove(at, count)),
            (any::<Index>(), 1..80usize, any::<Index>()).prop_map(|(from, n, to)| Self::Repeat(from, n, to)),
            any::<(Index, Index, Index)>().prop_map(|(seed, from, at)| Self::Splice(seed, from, at)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = |at: &Index, bytes: &[u8]| at.index(bytes.len() + 1);
        match self {
            Self::Set(at, byte) => {
                let at = place(at, bytes);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Self::Insert(at, new) => {
                let at = place(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = place(at, bytes);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Self::Repeat(from, count, to) => {
                let (from, to) = (place(from, bytes), place(to, bytes));
                let again = bytes[from..bytes.len().min(from + count)].to_vec();
                bytes.splice(to..to, again);
            }
            Self::Splice(seed, from, at) => {
                let seed = seed.get(seeds);
                let at = place(at, bytes);
                bytes.truncate(at);
                bytes.extend_from_slice(&seed[place(from, seed)..]);
            }
        }
    }
}

/// The committed inputs of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 3, "there are few seeds in {}", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn run(target: &str, check: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| check(seed));
    let more = std::env::var("FUZZ_CASES").ok().and_then(|n| n.parse().ok());
    let config = Config { cases: more.unwrap_or(300), failure_persistence: None, ..Config::default() };
    let mut runner = match more {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    };
    let changed = (any::<Index>(), prop::collection::vec(Change::any(), 1..8)).prop_map({
        let seeds = seeds.clone();
        move |(seed, changes)| {
            let mut bytes = seed.get(&seeds).clone();
            changes.iter().for_each(|change| change.apply(&mut bytes, &seeds));
            bytes
        }
    });
    let input = prop_oneof![7 => changed.boxed(), 1 => prop::collection::vec(any::<u8>(), 0..400).boxed()];
    let result = runner.run(&input, |bytes| {
        check(&bytes);
        Ok(())
    });
    result.unwrap_or_else(|problem| panic!("{target}: {problem}"));
}

#[test]
fn fuzz_api_answer() {
    run("api_answer", api_answer::check);
}

#[test]
fn fuzz_api_request() {
    run("api_request", api_request::check);
}

#[test]
fn fuzz_aws_config() {
    run("aws_config", aws_config::check);
}

#[test]
fn fuzz_config_toml() {
    run("config_toml", config_toml::check);
}

#[test]
fn fuzz_timestamps() {
    run("timestamps", timestamps::check);
}

#[test]
fn fuzz_token_file() {
    run("token_file", token_file::check);
}
