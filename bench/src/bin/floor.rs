//! The bare-kernel floor of the load generator's work: see `bench/README.md`.

use std::process::ExitCode;

use clap::Parser;
use tidegate_bench::floor::{self, Options};
use tidegate_bench::report;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = floor::run(&options).and_then(|result| {
        report::publish(&result, options.json.as_deref())?;
        Ok(result)
    });
    match outcome {
        Ok(result) => {
            eprintln!("{}", result.summary());
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("floor: {why}");
            ExitCode::from(2)
        }
    }
}
