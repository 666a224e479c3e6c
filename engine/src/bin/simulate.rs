//! Runs the simulator over many seeds: `simulate N [--seed S] [--sabotage FAULT]`. The exit code is 1 if a promise was
//! broken; what it prints then replays it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use tidegate::simulated::{Sabotage, Summary, replay, simulate};

/// Tries to break the gateway: simulated network, disk, clock and crashes around the production code.
#[derive(Parser, Debug)]
struct Arguments {
    /// How many seeds to run.
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Plants this fault, to see whether it is found (see FAULTS.md beside the simulator).
    #[arg(long)]
    sabotage: Option<String>,
    /// Says what each seed did.
    #[arg(long)]
    verbose: bool,
}

/// For the panic hook: an assertion of the gateway is as much a finding as a broken promise, and in a release build the
/// process ends with it.
static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sabotage = match arguments.sabotage.as_deref().map(|name| (name, Sabotage::by_name(name))) {
        None => Sabotage::None,
        Some((_, Some(sabotage))) => sabotage,
        Some((name, None)) => {
            eprintln!("there is no fault {name}; these can be planted: {:?}", Sabotage::ALL);
            return ExitCode::from(2);
        }
    };
    std::panic::set_hook(Box::new(move |panic| {
        let seed = SEED.load(Ordering::Relaxed);
        eprintln!("seed {seed}: {panic}");
        eprintln!("  replay: {}", replay(seed, sabotage));
    }));
    let (mut passed, mut failed) = (0, 0);
    let mut messages = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        SEED.store(seed, Ordering::Relaxed);
        match std::panic::catch_unwind(|| simulate(seed, sabotage)) {
            Ok(Ok(summary)) => {
                passed += 1;
                messages += summary.messages;
                if arguments.verbose {
                    let Summary { messages, crashes, steps, trace } = summary;
                    println!(
                        "seed {seed}: {messages} messages, {crashes} crashes, {steps} steps, trace {trace:016x}"
                    );
                }
            }
            Ok(Err(violation)) => {
                failed += 1;
                eprintln!("{violation}");
            }
            Err(_shown_by_the_hook) => failed += 1,
        }
        let done = passed + failed;
        if done % 100 == 0 {
            println!("{done} seeds, {failed} failed, {messages} messages");
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
