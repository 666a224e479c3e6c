//! `tidegate`: the command line.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tidegate::access::{Identity, Keys, secret_of};
use tidegate::config::{Config, DriverChoice};
use tidegate::doctor::{Facts, Verdict, checks};
use tidegate::driver::read_clocks;
use tidegate_storage::embedded::inspect;
use tidegate_wire::{DeviceId, UserId};

/// A chat gateway: every message is durable before anyone is told about it.
#[derive(Parser)]
#[command(name = "tidegate", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway (the default). Prints one line of JSON when it accepts clients; SIGTERM drains it.
    Serve(ServeArgs),
    /// Print an access token signed with the data directory's secret.
    Token(TokenArgs),
    /// Say what this machine lacks for so many connections, why it matters, and what mends it; exit 1 if it blocks.
    Doctor {
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        connections: u64,
        /// As `serve` will be started [default: one per core].
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=128))]
        shards: Option<u64>,
    },
    /// Look into the embedded log without the gateway.
    Log {
        #[command(subcommand)]
        what: LogCommand,
    },
}

#[derive(Args, Default)]
struct ServeArgs {
    /// TOML file with settings; flags win over it.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: ServeFlags,
}

#[derive(Args, Default, Serialize)]
struct ServeFlags {
    /// Address for clients [default: 127.0.0.1:9000]; port 0 takes a free one.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Address of the chat page and the metrics [default: 127.0.0.1:9001].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    /// Directory of the log and the store [default: ./tidegate-data].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Worker threads, each with its own sockets and conversations [default: one per core].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<u16>,
    /// How sockets are driven [default: auto].
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<DriverChoice>,
    /// Offer the subprotocol tidegate.echo, which returns every message; for conformance suites.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    echo: bool,
    /// Start although the log is damaged in the middle, WITHOUT everything behind the damage.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncate_damaged_log: bool,
}

#[derive(Args)]
struct TokenArgs {
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    user: u64,
    #[arg(long, default_value_t = 1)]
    device: u64,
    /// Such as 90s, 15m, 1h, 7d.
    #[arg(long, default_value = "1h", value_parser = parse_ttl)]
    ttl: Duration,
    #[arg(long, default_value = "tidegate-data")]
    data_dir: PathBuf,
}

#[derive(Subcommand)]
enum LogCommand {
    /// Check every group; exit 1 if something is damaged.
    Verify {
        #[arg(long, default_value = "tidegate-data")]
        data_dir: PathBuf,
    },
    /// Print every record.
    Dump {
        #[arg(long, default_value = "tidegate-data")]
        data_dir: PathBuf,
    },
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or_else(|| Command::Serve(ServeArgs::default())) {
        Command::Serve(ServeArgs { config, flags }) => {
            tidegate::serve::serve(Config::load(config.as_deref(), flags)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Token(args) => {
            println!("{}", token(&args)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { connections, shards } => Ok(doctor(connections, shards)),
        Command::Log { what: LogCommand::Verify { data_dir } } => verify(&data_dir),
        Command::Log { what: LogCommand::Dump { data_dir } } => {
            inspect::dump(&data_dir, &mut std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn token(args: &TokenArgs) -> anyhow::Result<String> {
    let (secret, _) = secret_of(&args.data_dir)
        .with_context(|| format!("the secret in {} cannot be used", args.data_dir.display()))?;
    let expires_at = (read_clocks().wall_ms / 1000).saturating_add(args.ttl.as_secs());
    let identity = Identity { user: UserId(args.user), device: DeviceId(args.device), expires_at };
    Keys::hs256(secret.as_bytes()).sign(identity)
}

fn doctor(connections: u64, shards: Option<u64>) -> ExitCode {
    let mut facts = Facts::read();
    facts.shards = shards.unwrap_or(facts.shards);
    println!("{connections} connections on {} shards\n", facts.shards);
    println!("        {:<29} {:<26} wanted", "what", "found");
    let checks = checks(&facts, connections);
    for check in &checks {
        println!("{check}");
    }
    let blocked = checks.iter().any(|check| check.verdict == Verdict::Blocks);
    if blocked {
        println!("\n{connections} connections are not possible here: see BLOCKS.");
        return ExitCode::FAILURE;
    }
    println!("\nNothing here stands in the way of {connections} connections.");
    ExitCode::SUCCESS
}

fn verify(data_dir: &std::path::Path) -> anyhow::Result<ExitCode> {
    let report = inspect::verify(data_dir)?;
    println!("{report}");
    Ok(if report.damage.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is no duration: write 90s, 15m, 1h or 7d"))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        unit => return Err(format!("{unit:?} is no unit: use s, m, h or d")),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("{text:?} is too long"))
}
