//! Open-loop load on a gateway: see `bench/README.md`.

use std::process::ExitCode;

use clap::Parser;
use tidegate_bench::load::{self, Options};
use tidegate_bench::report;

/// Exit code 0: the load ran and every promise held. 1: it ran and one did not. 2: it could not run.
fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = load::run(&options).and_then(|result| {
        report::publish(&result, options.json.as_deref())?;
        Ok(result)
    });
    match outcome {
        Ok(result) => {
            eprintln!("{}", result.summary());
            if result.is_correct() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(why) => {
            eprintln!("load: {why}");
            ExitCode::from(2)
        }
    }
}
