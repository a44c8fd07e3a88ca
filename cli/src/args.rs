//! The words and flags of `larder` (contract section 3).

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use larder_node::server::listen_address;

/// HTTP cache gateway, Redis-compatible cache nodes, and the cloud around them, in one binary.
#[derive(Debug, Parser)]
#[command(name = "larder", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) up: Up,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine, with development defaults for what is not configured
    Up(Up),
    /// Start only the HTTP gateway, in front of backends that exist
    Gateway(Gateway),
    /// Start one cache node
    Node(Node),
    /// Check a configuration and print what is in force; every mistake is listed at once
    Check(Check),
    /// Ask about policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Make and read signed-policy tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Simulate Lambda and API Gateway over a session cache: `larder sim --help`
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say why a command of a principal or user is allowed or denied
    Explain(Explain),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Mint a token offline, with an access key or a private key; or narrow one that you hold
    Mint(Box<Mint>),
    /// Print what a token says, without checking its signature
    Inspect {
        /// The token; `-` reads it from standard input
        token: String,
    },
}

/// What every server takes.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen here for health and metrics [default: 127.0.0.1:4567]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) admin: Option<String>,
    /// Worker threads; 0 means one per core
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u16>,
    /// Log events of this level and above: off, error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    /// Log as text or json
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Seconds a stop waits for requests under way [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain_timeout: Option<u64>,
    /// Write the addresses to this file, as JSON, once every listener accepts
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Print the effective configuration and start nothing
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Not built yet
    #[arg(long, hide = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What every HTTP server takes.
#[derive(Debug, Args)]
pub(crate) struct Http {
    /// Listen here for HTTP [default: 127.0.0.1:8079]; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) http: Option<String>,
    /// Listen here for AWS-shaped APIs (not built yet) and the pages of /_larder/ [default of up: 127.0.0.1:4566]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) aws: Option<String>,
    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// What every server with TLS takes.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Speak TLS with this certificate chain, PEM: HTTPS, and RESP with clients that begin with a handshake
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate for localhost made at the start
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) tls_generated: bool,
    /// The authorities whose certificates RESP clients may show, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) serve: Serve,
    #[command(flatten)]
    pub(crate) http: Http,
    /// Listen here for the Redis protocol of the cache `default` [default: 127.0.0.1:6379]
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) resp: Option<String>,
    /// Listen for it at this Unix socket too
    #[arg(long, value_name = "PATH")]
    pub(crate) unix_socket: Option<String>,
    /// Not built yet
    #[arg(long, hide = true)]
    pub(crate) memcached: Option<String>,
    /// Not built yet
    #[arg(long, hide = true)]
    pub(crate) node_ports: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    pub(crate) serve: Serve,
    #[command(flatten)]
    pub(crate) http: Http,
    /// Answer everything with a constant: the floor that benches compare with
    #[arg(long)]
    pub(crate) echo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Listen here for the Redis protocol [default: 127.0.0.1:6379]; `--port`, as redis-server has it, is the same
    #[arg(long, alias = "port", value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) listen: Option<String>,
    /// Listen at this Unix socket too
    #[arg(long, value_name = "PATH")]
    pub(crate) unix_socket: Option<String>,
    #[command(flatten)]
    pub(crate) tls: Tls,
    /// The cache to serve, when the configuration has several
    #[arg(long, value_name = "NAME")]
    pub(crate) cache: Option<String>,
    /// Without a configuration: take callers that do not log in, from this machine only
    #[arg(long, conflicts_with = "config")]
    pub(crate) anonymous: bool,
    /// Answer everything with a constant: the floor that benches compare with
    #[arg(long)]
    pub(crate) echo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// A principal or user of the configuration, by name or ARN
    #[arg(long, value_name = "NAME")]
    pub(crate) principal: String,
    /// The cache
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) cache: String,
    /// The caller's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub(crate) source: IpAddr,
    /// The listener's port, for security groups [default: that of the HTTP gateway]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// The call comes over TLS
    #[arg(long)]
    pub(crate) tls: bool,
    /// The remaining TTL of the command's key, for commands that keep it; the key has none without this
    #[arg(long, value_name = "MS")]
    pub(crate) key_ttl_ms: Option<u64>,
    /// The command and its arguments: `-- SET tenant-a:1 v EX 60`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// The key's id: an access key, or the `kid` of a registered public key
    #[arg(long, value_name = "ID", env = "AWS_ACCESS_KEY_ID", required_unless_present = "narrow")]
    pub(crate) key: Option<String>,
    /// The access key's secret
    #[arg(long, value_name = "SECRET", env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// The Ed25519 private key, PEM, instead of a secret
    #[arg(long, value_name = "FILE")]
    pub(crate) private_key: Option<PathBuf>,
    /// The key's principal: a user's name, `root`, or an ARN
    #[arg(long, value_name = "NAME", required_unless_present = "narrow")]
    pub(crate) principal: Option<String>,
    /// The cache the token is for
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) cache: String,
    /// The account
    #[arg(long, value_name = "DIGITS", default_value = "000000000000")]
    pub(crate) account: String,
    /// The region
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// The policy: a file, or the JSON document itself
    #[arg(long, value_name = "FILE|JSON")]
    pub(crate) policy: String,
    /// How long the token is good: 90s, 15m, 1h; 12h at most
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = lifetime)]
    pub(crate) ttl: u64,
    /// By what the token can be revoked (`jti`)
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Narrow this token instead of minting one
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["principal", "private_key"])]
    pub(crate) narrow: Option<String>,
}

/// `ADDR:PORT`, `NAME:PORT`, or a port of 127.0.0.1.
fn address(text: &str) -> Result<String, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    listen_address(text).map(|address| address.to_string())
}

/// Seconds, in ms.
fn seconds(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    let good = number.filter(|number| (0.0..=600.0).contains(number));
    good.map(|number| (number * 1000.0).round() as u64)
        .ok_or_else(|| "is not a number of seconds from 0 to 600".to_owned())
}

/// A time in seconds.
fn lifetime(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("is a number with s, m or h behind it".to_owned()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).filter(|s| *s > 0);
    seconds.ok_or_else(|| "is a number with s, m or h behind it".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
        let up = Cli::try_parse_from(["larder", "--http", "0"]).unwrap();
        assert!(up.command.is_none());
        assert_eq!(up.up.http.http.as_deref(), Some("127.0.0.1:0"));
        let sim = Cli::try_parse_from(["larder", "sim", "run", "--seed", "3", "f"]).unwrap();
        assert!(matches!(sim.command, Some(Command::Sim { words }) if words.len() == 4));
        assert!(Cli::try_parse_from(["larder", "up", "--http", "nowhere"]).is_err());
        assert!(Cli::try_parse_from(["larder", "up", "--tls-cert", "a"]).is_err());
    }

    #[test]
    fn times_and_addresses() {
        assert_eq!((seconds("2.5"), seconds("10s"), seconds("600")), (Ok(2500), Ok(10_000), Ok(600_000)));
        assert!(seconds("-1").is_err() && seconds("601").is_err() && seconds("NaN").is_err());
        assert_eq!((lifetime("90"), lifetime("15m"), lifetime("12h")), (Ok(90), Ok(900), Ok(43_200)));
        assert!(lifetime("0").is_err() && lifetime("1d").is_err() && lifetime("h").is_err());
        assert_eq!(address("[::1]:5").as_deref(), Ok("[::1]:5"));
        assert!(address("65536").is_err() && address("::1:5").is_err());
        assert_eq!(address("localhost:5").as_deref(), Ok("127.0.0.1:5"));
    }
}
