//! Settings: built-in defaults, then the file, then `TIDEGATE_…` environment variables, then flags.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};

/// Which driver runs the workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DriverChoice {
    /// io_uring where the kernel permits it, else epoll.
    Auto,
    Uring,
    Epoll,
}

/// Everything an operator can set. Unknown names in the file are errors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the chat page and the metrics are.
    pub http: SocketAddr,
    pub data_dir: PathBuf,
    /// 0: one per core.
    pub shards: u16,
    pub driver: DriverChoice,
    /// Offer the `tidegate.echo` subprotocol, for conformance suites.
    pub echo: bool,
    /// This box in message ids, 0 to 127.
    pub node: u16,
    /// Secret of HS256 tokens. Without one, a random secret is made in the data directory.
    pub token_secret: Option<String>,
    /// Go on although the log is damaged, without what is behind the damage.
    pub truncate_damaged_log: bool,
    /// Connections of each shard; the process's file descriptor limit is another bound.
    pub connections_per_shard_max: u32,
    pub group_members_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 9000).into(),
            http: ([127, 0, 0, 1], 9001).into(),
            data_dir: "tidegate-data".into(),
            shards: 0,
            driver: DriverChoice::Auto,
            echo: false,
            node: 0,
            token_secret: None,
            truncate_damaged_log: false,
            connections_per_shard_max: 1 << 20,
            group_members_max: 256,
        }
    }
}

impl Config {
    /// `flags` holds only what was given on the command line.
    pub fn load(file: Option<&Path>, flags: impl Serialize) -> anyhow::Result<Self> {
        let defaults = Serialized::defaults(Self::default());
        let names = setting_names();
        let mut figment = Figment::from(defaults);
        if let Some(file) = file {
            anyhow::ensure!(file.exists(), "there is no configuration file {}", file.display());
            figment = figment.merge(Toml::file(file));
        }
        let config: Self = figment
            .merge(
                Env::prefixed("TIDEGATE_")
                    .filter(move |name| names.iter().any(|known| name == known.as_str())),
            )
            .merge(Serialized::globals(flags))
            .extract()
            .context("the configuration cannot be used")?;
        config.checked()
    }

    fn checked(mut self) -> anyhow::Result<Self> {
        if self.shards == 0 {
            self.shards = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(128) as u16);
        }
        let most = tidegate_shard::snowflake::SHARDS_MAX;
        anyhow::ensure!(
            self.shards <= most,
            "shards is {}: use 1 to {most}, or 0 for one per core",
            self.shards
        );
        let nodes = tidegate_shard::snowflake::NODES_MAX;
        anyhow::ensure!(self.node < nodes, "node is {}: use 0 to {}", self.node, nodes - 1);
        if let Some(secret) = &self.token_secret {
            anyhow::ensure!(
                secret.len() >= 32,
                "token_secret has {} bytes: use at least 32 (RFC 7518 section 3.2), such as `openssl rand -hex 32`",
                secret.len()
            );
        }
        anyhow::ensure!(
            self.group_members_max >= 1,
            "group_members_max is 0: a group has at least its creator"
        );
        Ok(self)
    }
}

/// Other variables with our prefix are not ours to judge: scripts have their own.
fn setting_names() -> Vec<String> {
    match serde_json::to_value(Config::default()) {
        Ok(serde_json::Value::Object(settings)) => settings.into_iter().map(|(name, _)| name).collect(),
        other => unreachable!("settings are a map of names, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Flags {
        #[serde(skip_serializing_if = "Option::is_none")]
        shards: Option<u16>,
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tidegate.toml");
        std::fs::write(&file, "listen = \"0.0.0.0:7000\"\nshards = 3\n").unwrap();
        let config = Config::load(Some(&file), Flags { shards: Some(5) }).unwrap();
        assert_eq!((config.shards, config.listen.port(), config.http.port()), (5, 7000, 9001));
        let config = Config::load(Some(&file), Flags { shards: None }).unwrap();
        assert_eq!(config.shards, 3);
    }

    #[test]
    fn every_setting_can_come_from_the_environment() {
        assert!(setting_names().contains(&"data_dir".to_owned()), "{:?}", setting_names());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tidegate.toml");
        std::fs::write(&file, "lissten = \"0.0.0.0:7000\"\n").unwrap();
        let error = format!("{:#}", Config::load(Some(&file), Flags { shards: None }).unwrap_err());
        assert!(error.contains("lissten"), "{error}");
        let error = format!("{:#}", Config::load(None, Flags { shards: Some(500) }).unwrap_err());
        assert!(error.contains("500"), "{error}");
        let error =
            format!("{:#}", Config::load(Some(Path::new("/nowhere")), Flags { shards: None }).unwrap_err());
        assert!(error.contains("/nowhere"), "{error}");
    }
}
