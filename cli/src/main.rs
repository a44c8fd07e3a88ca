//! The one binary, `larder`: flags and configuration in, a running world or an answer out. It composes the other crates
//! and decides nothing itself.

mod args;
mod banner;
mod explain;
mod outcome;
mod serve;
mod token;

use std::process::ExitCode;

use clap::Parser;
use larder_node::allocator::{self, Allocator};

use args::{Cli, Command, PolicyCommand, TokenCommand};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    allocator::start();
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or(Command::Up(cli.up)) {
        Command::Up(flags) => serve::up(&flags),
        Command::Gateway(flags) => serve::gateway(&flags),
        Command::Node(flags) => serve::node(&flags),
        Command::Check(flags) => serve::check(&flags),
        Command::Policy(PolicyCommand::Explain(flags)) => explain::run(&flags),
        Command::Token(TokenCommand::Mint(flags)) => token::mint(&flags),
        Command::Token(TokenCommand::Inspect { token }) => token::inspect(&token),
        Command::Sim { words } => {
            return ExitCode::from(larder_sim::cli(&words, &mut std::io::stdout(), &mut std::io::stderr()));
        }
    };
    outcome::exit(result)
}
